//! What a drain costs the API server, counted in its own audit log.

use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;
use node_termination_operator::api::termination::Phase;
use serde_json::json;
use testbed::cluster::{PodOptions, TestNode, delete_node};
use testbed::control_plane::AuditEntry;
use testbed::operator;

use crate::scene::{Corner, something_else_is_drained};

/// Everything that the operator has asked about the node, its pods and its incident, Events aside.
/// The policy counts its nodes and open incidents in a status of its own, however many they are.
fn requests_about(corner: &Corner, node: &TestNode) -> Vec<AuditEntry> {
    let names = [&node.name, &node.instance_id, &corner.namespace];
    corner.requests(|e| {
        !["events", "terminationpolicies"].contains(&e.resource.as_str())
            && (names.iter().any(|n| *n == &e.name || *n == &e.namespace)
                || names.iter().any(|n| e.request_uri.contains(n.as_str())))
    })
}

/// An Event names its object in its body only, so they are counted by what they left.
async fn events_about(corner: &Corner, node: &TestNode) -> usize {
    let api = Api::<Event>::all(corner.client.clone());
    let mut sum = 0;
    for name in [&node.instance_id, &node.name] {
        let fields = format!("involvedObject.name={name}");
        let events = api.list(&ListParams::default().fields(&fields)).await;
        let events = events.unwrap().items.into_iter();
        let ours = |e: &Event| e.reporting_component.as_deref() == Some(operator::NAME);
        let counts = events.filter(ours);
        let counts = counts.map(|e| e.series.and_then(|s| s.count).unwrap_or(1));
        sum += counts.sum::<i32>();
    }
    usize::try_from(sum).unwrap()
}

#[tokio::test]
async fn a_drained_node_costs_at_most_twelve_requests_beside_one_for_each_pod() {
    let corner = Corner::new("cost", 1, json!({})).await;
    let node = &corner.nodes[0];
    let slow = PodOptions::default().gone_after(Duration::from_secs(6));
    let pods = corner.make_pods(node, 20, slow).await;
    corner.interrupt(node);
    corner.await_gone(&pods).await;
    corner.await_phase(&node.instance_id, Phase::Released).await;
    delete_node(&corner.client, &node.name).await.unwrap();
    corner
        .await_incident(&node.instance_id, |i| {
            let finished = i.status.as_ref().and_then(|s| s.phase) == Some(Phase::Completed);
            finished && i.metadata.finalizers.is_none()
        })
        .await;
    something_else_is_drained().await;
    let requests = requests_about(&corner, node);
    let events = events_about(&corner, node).await;
    assert!(events >= 2, "cordoned and released: {events}");
    let all: Vec<String> = requests
        .iter()
        .map(|e| format!("{} {} {}", e.verb, e.status_code, e.request_uri))
        .collect();
    let (count, most) = (all.len() + events, 20 + 12);
    assert!(count <= most, "{count} > {most}:\n{}", all.join("\n"));
    let evictions = corner.evictions().len();
    assert_eq!(evictions, 20);
}

#[tokio::test]
async fn an_incident_that_waits_and_a_node_that_is_well_cost_nothing() {
    let corner = Corner::new("idle", 2, json!({})).await;
    let [waits, well] = &corner.nodes[..] else {
        panic!("two nodes")
    };
    corner.interrupt(waits);
    corner
        .await_phase(&waits.instance_id, Phase::Released)
        .await;
    something_else_is_drained().await;
    let before = requests_about(&corner, waits).len() + requests_about(&corner, well).len();
    something_else_is_drained().await;
    let after = requests_about(&corner, waits).len() + requests_about(&corner, well).len();
    assert_eq!(after, before);
    // Nothing is looked for again and again either: what is listed is listed once, or for one node's drain.
    let lists = corner.requests(|e| e.verb == "list" && !e.request_uri.contains("spec.nodeName"));
    for resource in [
        "nodes",
        "poddisruptionbudgets",
        "terminationpolicies",
        "nodeterminations",
    ] {
        let lists = lists
            .iter()
            .filter(|e| e.resource == resource && e.status_code == 200);
        assert_eq!(lists.count(), 1, "{resource}");
    }
    let reads = corner.requests(|e| e.verb == "get" && e.resource == "pods");
    assert!(reads.is_empty(), "{reads:?}");
}
