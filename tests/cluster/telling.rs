//! What people and machines can read: columns, Events, endpoints, metrics.

use k8s_openapi::api::core::v1::{Event, ObjectReference};
use kube::Api;
use kube::runtime::watcher;
use node_termination_operator::api::termination::Phase;
use node_termination_operator::cluster::events::{Events, Happening};
use serde_json::json;
use testbed::cluster::{PodOptions, await_count};
use tokio_util::sync::CancellationToken;

use crate::bare::bare;
use crate::budgets::{await_blocked, keep, keep_only};
use crate::scene::{Corner, within};

#[tokio::test]
async fn kubectl_tells_what_blocks_a_drain_and_what_has_happened() {
    let corner = Corner::new("told", 1, json!({})).await;
    let node = &corner.nodes[0];
    let web = PodOptions::default().label("app", "web");
    corner.make_pods(node, 2, web).await;
    keep(&corner, "pdb", 2).await;
    corner.interrupt(node);
    await_blocked(&corner, node, 2).await;
    let kubectl = &corner.world.control_plane;
    let get = ["get", "nt", &node.instance_id, "-o", "wide"];
    let table = kubectl.kubectl(&get).await.unwrap();
    let (head, row) = table.trim_end().split_once('\n').unwrap();
    let head: Vec<&str> = head.split_whitespace().collect();
    let wanted = "NAME NODE REASON PHASE PODS BLOCKED DEADLINE AGE POLICY INSTANCE OUTCOME";
    assert_eq!(head.join(" "), wanted);
    let row: Vec<&str> = row.split_whitespace().collect();
    let story = [
        &node.instance_id,
        &node.name,
        "SpotInterruption",
        "Draining",
        "0/2",
        "2",
    ];
    assert_eq!(row[..6], story);
    assert!(
        row[6].ends_with('Z'),
        "a deadline to come is shown: {row:?}"
    );
    let describe = ["describe", "nt", &node.instance_id];
    let told = kubectl.kubectl(&describe).await.unwrap();
    let by = format!("{}/pdb", corner.namespace);
    for words in ["BudgetUnsatisfiable", &by, "it is forced at", "Force Time"] {
        assert!(told.contains(words), "{words}\n{told}");
    }
    keep_only(&corner, "pdb", 0).await;
    corner.await_phase(&node.instance_id, Phase::Released).await;
    let events = Api::<Event>::all(corner.client.clone());
    // That the node was closed is told on the node.
    for (name, reason) in [
        (&node.name, "Cordoned"),
        (&node.instance_id, "Blocked"),
        (&node.instance_id, "Released"),
    ] {
        let fields = format!("involvedObject.name={name},reason={reason}");
        let selector = watcher::Config::default().fields(&fields);
        within(await_count(events.clone(), selector, 1, |_| true)).await;
    }
}

#[tokio::test]
async fn what_is_told_again_is_counted_up_and_other_words_are_another_event() {
    let client = bare().await.client().await.unwrap();
    let stop = CancellationToken::new();
    let events = Events::start(client.clone(), "replica".to_owned(), stop.clone());
    let says = |note: &str| Happening {
        regarding: ObjectReference {
            api_version: Some("nodetermination.dev/v1alpha1".to_owned()),
            kind: Some("NodeTermination".to_owned()),
            name: Some("i-0told".to_owned()),
            uid: Some("6c0de5a4-0000-4000-8000-000000000001".to_owned()),
            ..ObjectReference::default()
        },
        related: None,
        warning: true,
        reason: "DeadlineAtRisk",
        action: "Terminate",
        note: note.to_owned(),
    };
    for note in [
        "web/long has 110 s",
        "web/long still runs",
        "web/long has 110 s",
    ] {
        events.emit(says(note));
    }
    let selector = watcher::Config::default().fields("involvedObject.name=i-0told");
    let fits = |e: &Event| {
        let count = e.series.as_ref().map(|s| s.count);
        match e.message.as_deref() {
            Some("web/long has 110 s") => count == Some(Some(2)),
            Some("web/long still runs") => count.is_none(),
            _ => false,
        }
    };
    within(await_count(Api::<Event>::all(client), selector, 2, fits)).await;
    stop.cancel();
}

#[tokio::test]
async fn the_endpoints_answer_and_the_metrics_have_their_names() {
    let corner = Corner::new("metrics", 1, json!({})).await;
    let node = &corner.nodes[0];
    let pods = corner.make_pods(node, 1, PodOptions::default()).await;
    corner.interrupt(node);
    corner.await_gone(&pods).await;
    corner.await_phase(&node.instance_id, Phase::Released).await;
    let operator = &corner.world.operator;
    for path in ["/readyz", "/healthz"] {
        let (code, body) = operator.get(path).await.unwrap();
        assert_eq!(code, 200, "{path}: {body}");
    }
    let (code, _) = operator.get("/metrics").await.unwrap();
    assert_eq!(code, 200);
    for (name, labels) in [
        (
            "signals_total",
            &["kind=\"SpotInterruption\"", "outcome=\"Recorded\""][..],
        ),
        (
            "evictions_total",
            &["verb=\"Evict\"", "answer=\"Accepted\""],
        ),
        (
            "termination_step_duration_seconds_count",
            &["step=\"recorded\""],
        ),
        (
            "termination_step_duration_seconds_count",
            &["step=\"cordoned\""],
        ),
        (
            "termination_step_duration_seconds_count",
            &["step=\"drained\""],
        ),
        (
            "termination_step_duration_seconds_count",
            &["step=\"released\""],
        ),
        ("aws_calls_total", &["ReceiveMessage"]),
        ("leader", &[]),
    ] {
        let name = format!("node_termination_operator_{name}");
        let value = operator.metric(&name, labels).await.unwrap();
        assert!(value >= 1.0, "{name} {labels:?}: {value}");
    }
}
