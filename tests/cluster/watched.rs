//! What is left when a pod, a node and an incident have gone: Events, log lines, metrics.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use node_termination_operator::api::termination::Phase;
use serde_json::json;
use testbed::cluster::{PodOptions, await_count, delete_node};

use crate::budgets::{keep, web};
use crate::scene::{Corner, something_else_is_drained, status, within};

fn of_pod(pod: &Pod, reason: &str) -> watcher::Config {
    let name = pod.name_any();
    watcher::Config::default().fields(&format!("involvedObject.name={name},reason={reason}"))
}

#[tokio::test]
async fn a_pod_that_was_deleted_past_its_budget_or_cut_short_still_tells_why_when_it_has_gone() {
    let corner = Corner::new("farewell", 1, json!({})).await;
    let node = &corner.nodes[0];
    let held = corner.make_pods(node, 1, web().grace(5)).await;
    let slow = PodOptions::default().grace(600);
    let slow = corner.make_pods(node, 1, slow).await;
    let plain = PodOptions::default().grace(5);
    let plain = corner.make_pods(node, 1, plain).await;
    keep(&corner, "pdb", 1).await;
    corner.interrupt_at(node, Timestamp::now() - SignedDuration::from_secs(90));
    for pods in [&held, &slow, &plain] {
        corner.await_gone(pods).await;
    }
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    assert_eq!(status(&incident).pods.unwrap().forced, 1);
    let events = Api::<Event>::namespaced(corner.client.clone(), &corner.namespace);
    let budget = format!("past {}/pdb", corner.namespace);
    let why = format!("SpotInterruption, nodetermination {}", node.instance_id);
    for (pod, reason, words) in [
        (&held[0], "Forced", "deleted, not evicted"),
        (&held[0], "Forced", &budget),
        (&slow[0], "GraceCut", "of its grace period of 600 s"),
    ] {
        let says = |event: &Event| {
            let said = event.message.as_deref().unwrap_or_default();
            said.contains(words) && said.contains(&why) && event.involved_object.uid == pod.uid()
        };
        within(await_count(events.clone(), of_pod(pod, reason), 1, says)).await;
    }
    // An ordinary eviction costs one request.
    something_else_is_drained().await;
    let fields = format!("involvedObject.name={}", plain[0].name_any());
    let list = kube::api::ListParams::default().fields(&fields);
    let ours = events.list(&list).await.unwrap().items.into_iter();
    let ours = ours.filter(|e| e.reporting_component.as_deref() == Some(testbed::operator::NAME));
    assert_eq!(ours.count(), 0);
}

#[tokio::test]
async fn the_log_has_a_line_for_each_phase_and_the_whole_record_once_at_the_end() {
    let corner = Corner::new("logged", 1, json!({})).await;
    let node = &corner.nodes[0];
    let pods = corner.make_pods(node, 3, PodOptions::default()).await;
    corner.interrupt(node);
    corner.await_gone(&pods).await;
    corner.await_phase(&node.instance_id, Phase::Released).await;
    delete_node(&corner.client, &node.name).await.unwrap();
    corner
        .await_phase(&node.instance_id, Phase::Completed)
        .await;
    something_else_is_drained().await;
    let logs = corner.world.operator.process().logs();
    let lines = logs.lines().filter(|l| l.contains(&node.instance_id));
    let lines: Vec<&str> = lines.filter(|l| !l.contains(" DEBUG ")).collect();
    let all = lines.join("\n");
    let mut phases = lines.iter().filter(|l| l.contains(": phase node="));
    for phase in ["Draining", "Released"] {
        let line = phases.next().unwrap_or_else(|| panic!("{phase}\n{all}"));
        assert!(line.contains(&format!("phase=\"{phase}\"")), "{all}");
        assert!(line.contains(" INFO "), "{all}");
    }
    assert_eq!(phases.next(), None, "{all}");
    let recorded = lines.iter().filter(|l| l.contains(": recorded "));
    assert_eq!(recorded.count(), 1, "{all}");
    let over = lines.iter().filter(|l| l.contains(": incident over "));
    let [over] = over.collect::<Vec<_>>()[..] else {
        panic!("one line: {all}")
    };
    let words = [
        "outcome=\"Drained\"",
        "\\\"drainedAt\\\"",
        "SpotInterruption-",
    ];
    for words in words {
        assert!(over.contains(words), "{words}: {over}");
    }
    assert!(lines.len() <= 5, "{all}");
}

/// The document that lists every metric.
fn documented() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    fs::read_to_string(path).unwrap()
}

/// Labels and their values of one line of a scrape.
fn labels(line: &str) -> Vec<(String, String)> {
    let Some((_, rest)) = line.split_once('{') else {
        return Vec::new();
    };
    let pairs = rest.split('}').next().unwrap().split("\",");
    let pairs = pairs.filter_map(|pair| pair.split_once("=\""));
    pairs
        .map(|(label, value)| (label.to_owned(), value.trim_end_matches('"').to_owned()))
        .collect()
}

#[tokio::test]
async fn what_a_scrape_shows_is_documented_by_name_type_help_label_and_value() {
    let corner = Corner::new("scraped", 1, json!({})).await;
    let node = &corner.nodes[0];
    let pods = corner.make_pods(node, 1, PodOptions::default()).await;
    corner.interrupt(node);
    corner.await_gone(&pods).await;
    corner.await_phase(&node.instance_id, Phase::Released).await;
    let (_, scrape) = corner.world.operator.get("/metrics").await.unwrap();
    let document = documented();
    let (mut kinds, mut helps) = (BTreeMap::new(), BTreeMap::new());
    for line in scrape.lines().filter(|l| l.starts_with("# ")) {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "TYPE", name, kind] => drop(kinds.insert(name, kind)),
            ["#", "HELP", name, help] => drop(helps.insert(name, help.trim_end_matches('.'))),
            _ => {}
        }
    }
    assert!(kinds.len() > 20, "{scrape}");
    let mut samples = 0;
    for line in scrape.lines().filter(|l| !l.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let base = kinds.keys().filter(|base| name.starts_with(**base));
        let base = *base.max_by_key(|base| base.len()).unwrap();
        let kind = kinds[base];
        let full = match kind {
            "histogram" => base.to_owned(),
            _ => name.to_owned(),
        };
        let row = document
            .lines()
            .find(|l| l.starts_with(&format!("| `{full}` | {kind} |")));
        let row = row.unwrap_or_else(|| panic!("no row of {full}, {kind}"));
        assert!(row.contains(helps[base]), "{full}: {}", helps[base]);
        for (label, value) in labels(line) {
            if label == "le" {
                continue;
            }
            assert!(row.contains(&format!("`{label}`")), "{full}: {label}");
            let free = ["policy", "source", "version", "code"].contains(&label.as_str());
            let told = free || document.contains(&format!("`{value}`"));
            assert!(told, "{full}: {label}={value}");
        }
        samples += 1;
    }
    assert!(samples > 60, "{scrape}");
    let policy = format!("policy=\"{}\"", corner.name);
    for (name, labels, least) in [
        (
            "source_up",
            &[policy.as_str(), "source=\"events\""][..],
            1.0,
        ),
        ("open_terminations", &["phase=\"Released\""], 1.0),
        ("drains_total", &["outcome=\"Drained\""], 1.0),
        ("since_notice_seconds_count", &["step=\"cordoned\""], 1.0),
        ("since_notice_seconds_count", &["step=\"drained\""], 1.0),
        ("api_requests_total", &["client=\"evictions\""], 1.0),
        ("build_info", &["role=\"controller\""], 1.0),
    ] {
        let name = format!("node_termination_operator_{name}");
        let value = corner.world.operator.metric(&name, labels).await.unwrap();
        assert!(value >= least, "{name} {labels:?}: {value}");
    }
}
