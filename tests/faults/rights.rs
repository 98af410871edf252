//! The operator's roles lack something that it needs.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Node};
use kube::api::DeleteParams;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use node_termination_operator::api::condition;
use node_termination_operator::api::policy::TerminationPolicy;
use node_termination_operator::api::termination::{
    BlockReason, BlockedPod, NodeTermination, Phase,
};
use serde_json::json;
use testbed::cluster::{PodOptions, await_count, await_object};
use tokio::time::Instant;

use crate::stage::{Stage, is_cordoned, status};

/// Between two calls that ask whether it is allowed by now, after some.
const ASKS_AFTER: Duration = Duration::from_secs(5);
/// How long a received message is hidden.
const VISIBILITY: Duration = Duration::from_secs(15);
/// A cordon without a record is undone 2 s later, and long before all nodes are looked at.
const UNDONE_WITHIN: Duration = Duration::from_secs(8);

#[tokio::test]
async fn a_missing_right_is_told_on_the_incident_and_the_policy_and_asked_for_seldom_until_granted()
{
    let stage = Stage::new(json!({})).await;
    let pods = stage.pods(&stage.nodes[0], 2, &PodOptions::default()).await;
    stage.may("patch", "nodes", false).await;
    let began = Instant::now();
    let told = |i: &NodeTermination| {
        let conditions = status(i).conditions;
        let ready = condition::find(&conditions, "Ready").cloned();
        ready.is_some_and(|c| c.reason == "Forbidden" && c.message.contains("nodes"))
    };
    for node in &stage.nodes {
        stage.interrupt(node);
        stage
            .await_incident(node, "it tells what is missing", told)
            .await;
    }
    stage
        .within(
            "the policy tells",
            await_missing(&stage, Some("patch nodes")),
        )
        .await;
    // Long enough for every incident to have come again several times.
    tokio::time::sleep(ASKS_AFTER * 2).await;
    for node in &stage.nodes {
        let at_risk = |i: &NodeTermination| {
            let conditions = status(i).conditions;
            let risk = condition::find(&conditions, "DeadlineAtRisk").cloned();
            risk.is_some_and(|c| c.status == "True" && c.reason == "NotCordoned")
        };
        stage
            .await_incident(node, "its deadline is at risk", at_risk)
            .await;
        let fields = format!("involvedObject.name={},reason=Forbidden", node.instance_id);
        let selector = watcher::Config::default().fields(&fields);
        let once = |e: &Event| e.series.is_none() && e.type_.as_deref() == Some("Warning");
        let events = Api::<Event>::all(stage.client.clone());
        let told = await_count(events, selector, 1, once);
        stage.within("one Event warns", told).await;
    }
    let refused = refusals(&stage, "nodes");
    // The first ones come after 1, 2 and 4 s.
    let most = began.elapsed().as_secs() / ASKS_AFTER.as_secs() + 4;
    println!("{refused} refusals in {:.1?}", began.elapsed());
    assert!(refused as u64 <= most, "{refused} in {:?}", began.elapsed());

    stage.may("patch", "nodes", true).await;
    for node in &stage.nodes {
        stage.await_cordoned(node).await;
    }
    stage.await_gone(&pods).await;
    stage.await_phase(&stage.nodes[0], Phase::Released).await;
    stage
        .within("the policy is well again", await_missing(&stage, None))
        .await;
}

#[tokio::test]
async fn a_pod_that_the_operator_may_not_evict_is_named_and_goes_when_the_right_is_granted() {
    let stage = Stage::new(json!({"drain": {"disruptionBudgets": "Respect"}})).await;
    let node = &stage.nodes[0];
    let pods = stage.pods(node, 2, &PodOptions::default()).await;
    stage.may("create", "pods/eviction", false).await;
    stage.interrupt(node);
    let told = |i: &NodeTermination| {
        let blocked = status(i).blocked;
        blocked.len() == 2 && blocked.iter().all(is_missing_eviction)
    };
    stage
        .await_incident(node, "both pods are named", told)
        .await;
    stage.may("create", "pods/eviction", true).await;
    stage.await_gone(&pods).await;
    stage.await_phase(node, Phase::Released).await;
}

#[tokio::test]
async fn that_records_may_not_be_made_is_told_until_one_is_made() {
    let stage = Stage::new(json!({})).await;
    stage.may("create", "nodeterminations", false).await;
    let node = &stage.nodes[0];
    stage.interrupt(node);
    let missing = await_missing(&stage, Some("create nodeterminations"));
    stage.within("the policy tells", missing).await;
    stage.may("create", "nodeterminations", true).await;
    stage.await_cordoned(node).await;
    let well = await_missing(&stage, None);
    stage.within("the policy is well again", well).await;
}

fn is_missing_eviction(pod: &BlockedPod) -> bool {
    pod.reason == BlockReason::Forbidden && pod.message.contains("pods/eviction")
}

/// How often the API server has refused a patch of such a resource.
fn refusals(stage: &Stage, resource: &str) -> usize {
    let entries = stage.control_plane.audit_log().unwrap().entries().unwrap();
    let refused = |e: &&_| -> bool {
        let e: &testbed::control_plane::AuditEntry = e;
        e.verb == "patch" && e.resource == resource && e.status_code == 403
    };
    entries.iter().filter(refused).count()
}

/// Waits until the policy's condition `Forbidden` names that, or until it has none.
async fn await_missing(stage: &Stage, what: Option<&str>) -> anyhow::Result<()> {
    let api = Api::<TerminationPolicy>::all(stage.client.clone());
    let said = |p: &TerminationPolicy| {
        let conditions = &p.status.as_ref()?.conditions;
        Some(condition::find(conditions, "Forbidden")?.message.clone())
    };
    let good = |p: Option<&TerminationPolicy>| match (p.and_then(said), what) {
        (Some(message), Some(what)) => message.contains(what),
        (None, None) => true,
        _ => false,
    };
    await_object(api, "all", good).await.map(drop)
}

#[tokio::test]
async fn a_cordon_is_undone_within_seconds_though_its_record_was_deleted_before_its_finalizer_was_on()
 {
    let stage = Stage::new(json!({})).await;
    let node = &stage.nodes[0];
    stage.blocked_pods(node, 1).await;
    stage.may("patch", "nodes", false).await;
    stage.interrupt(node);
    stage.await_incident(node, "it is recorded", |_| true).await;
    stage.await_empty_queue().await;
    stage.may("patch", "nodeterminations", false).await;
    stage.may("patch", "nodes", true).await;
    stage.await_cordoned(node).await;

    let records = Api::<NodeTermination>::all(stage.client.clone());
    let record = records.get(&node.instance_id).await.unwrap();
    assert!(record.finalizers().is_empty());
    let deleted = Instant::now();
    let params = DeleteParams::default();
    records.delete(&node.instance_id, &params).await.unwrap();
    let nodes = Api::<Node>::all(stage.client.clone());
    let open = await_object(nodes, &node.name, |n| n.is_some_and(|n| !is_cordoned(n)));
    stage.within("the node is open again", open).await;
    let took = deleted.elapsed();
    println!("open {took:.1?} after its record was deleted");
    assert!(took < UNDONE_WITHIN, "{took:?}");
    let annotations = stage.node(node).await.annotations().clone();
    let ours = |key: &String| key.starts_with("nodetermination.dev/");
    assert!(!annotations.keys().any(ours), "{annotations:?}");
}

#[tokio::test]
async fn a_notice_that_the_api_server_refused_is_recorded_long_before_its_message_comes_again() {
    let stage = Stage::new(json!({})).await;
    let node = &stage.nodes[0];
    stage.may("patch", "nodeterminations", false).await;
    stage.interrupt(node);
    let refused = async {
        while refusals(&stage, "nodeterminations") == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    };
    stage.within("it is refused", refused).await;
    let began = Instant::now();
    stage.may("patch", "nodeterminations", true).await;
    stage.await_cordoned(node).await;
    let took = began.elapsed();
    println!("cordoned {took:.1?} after it was refused");
    assert!(took < VISIBILITY / 2, "{took:?}");
    stage.await_empty_queue().await;
}
