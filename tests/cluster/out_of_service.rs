//! The out-of-service taint: when EC2 says that the machine is down and something is left on its Node, and not before.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Node};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use node_termination_operator::api::termination::{NodeTermination, Outcome, Phase};
use serde_json::{Value, json};
use testbed::aws::{Fault, FaultKind, events};
use testbed::cluster::{PodOptions, TestNode};

use crate::budgets::{await_blocked, keep};
use crate::scene::{
    Corner, is_cordoned, is_untouched, patch, says, something_else_is_drained, status,
};
use crate::volumes::attach;
use crate::waiting::set_boot;

fn settings() -> Value {
    json!({"drain": {"outOfServiceTaint": true, "disruptionBudgets": "Respect"}})
}

fn is_out_of_service(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|s| s.taints.as_ref());
    taints.into_iter().flatten().any(|t| {
        let said = (t.key.as_str(), t.value.as_deref(), t.effect.as_str());
        said == (
            "node.kubernetes.io/out-of-service",
            Some("nodeshutdown"),
            "NoExecute",
        )
    })
}

async fn node_of(corner: &Corner, node: &TestNode) -> Node {
    let api = Api::<Node>::all(corner.client.clone());
    api.get(&node.name).await.unwrap()
}

fn change(corner: &Corner, node: &TestNode, state: &str) {
    let event = events::state_change(&node.instance_id, state, Timestamp::now());
    corner.queue.send(event).unwrap();
}

/// A node whose kubelet is silent, or speaks again, after this boot.
async fn speak(corner: &Corner, node: &TestNode, ready: bool, boot: &str) {
    let mark = json!({"testbed.example.com/not-ready": (!ready).then_some("true")});
    patch::<Node>(
        &corner.client,
        &node.name,
        json!({"metadata": {"annotations": mark}}),
    )
    .await;
    let word = if ready { "True" } else { "Unknown" };
    set_boot(corner, node, boot).await;
    let ready = json!({"type": "Ready", "status": word, "reason": "Test", "message": ""});
    let body = json!({"status": {"conditions": [ready]}});
    let api = Api::<Node>::all(corner.client.clone());
    api.patch_status(&node.name, &PatchParams::default(), &Patch::Strategic(body))
        .await
        .unwrap();
}

async fn told_events(corner: &Corner, node: &TestNode, reason: &str) -> usize {
    let fields = format!("involvedObject.name={},reason={reason}", node.name);
    let events = Api::<Event>::all(corner.client.clone());
    let list = events.list(&ListParams::default().fields(&fields)).await;
    list.unwrap().items.len()
}

/// Kubernetes itself removes the pod that a budget had held: the drain never would have.
#[tokio::test]
async fn it_comes_after_terminated_and_not_after_shutting_down_and_kubernetes_takes_the_pods() {
    let corner = Corner::new("terminated", 1, settings()).await;
    let node = &corner.nodes[0];
    let web = PodOptions::default().label("app", "web");
    let pods = corner.make_pods(node, 1, web).await;
    keep(&corner, "pdb", 1).await;
    corner.interrupt(node);
    await_blocked(&corner, node, 1).await;
    change(&corner, node, "shutting-down");
    let both = |i: &NodeTermination| i.spec.signals.len() == 2;
    corner.await_incident(&node.instance_id, both).await;
    something_else_is_drained().await;
    assert!(!is_out_of_service(&node_of(&corner, node).await));
    change(&corner, node, "terminated");
    corner.await_node(node, is_out_of_service).await;
    corner.await_gone(&pods).await;
    assert!(corner.evictions().is_empty() && corner.deletions().is_empty());
    let incident = corner
        .await_incident(&node.instance_id, |i| {
            says(i, "OutOfService", true, "Terminated")
                && status(i).outcome == Some(Outcome::Drained)
        })
        .await;
    assert_eq!(
        status(&incident).reason.unwrap().as_str(),
        "SpotInterruption"
    );
    // Whoever cancels gets the node back as it was.
    let cancel = json!({"spec": {"cancel": true}});
    patch::<NodeTermination>(&corner.client, &node.instance_id, cancel).await;
    let after = corner.await_node(node, is_untouched).await;
    assert!(!is_out_of_service(&after));
    assert!(told_events(&corner, node, "OutOfService").await > 0);
}

#[tokio::test]
async fn a_stopped_machine_is_out_of_service_until_it_is_back_with_another_boot() {
    let corner = Corner::new("stopped", 1, settings()).await;
    let node = &corner.nodes[0];
    speak(&corner, node, true, "boot-1").await;
    let web = PodOptions::default().label("app", "web");
    corner.make_pods(node, 1, web).await;
    keep(&corner, "pdb", 1).await;
    change(&corner, node, "stopping");
    await_blocked(&corner, node, 1).await;
    change(&corner, node, "stopped");
    let both = |i: &NodeTermination| i.spec.signals.len() == 2;
    corner.await_incident(&node.instance_id, both).await;
    something_else_is_drained().await;
    let ready = node_of(&corner, node).await;
    assert!(!is_out_of_service(&ready), "its kubelet still speaks");
    speak(&corner, node, false, "boot-1").await;
    corner.await_node(node, is_out_of_service).await;
    speak(&corner, node, true, "boot-2").await;
    let back = corner.await_node(node, is_untouched).await;
    assert!(!is_out_of_service(&back) && !is_cordoned(&back));
    corner
        .await_incident(&node.instance_id, |i| {
            status(i).phase.is_some_and(Phase::is_finished)
        })
        .await;
}

/// No event tells of the end of the instance, and at first EC2 may not be asked.
#[tokio::test]
async fn where_nothing_is_heard_ec2_is_asked_and_a_denied_answer_is_told() {
    let corner = Corner::new("asked", 1, settings()).await;
    let node = &corner.nodes[0];
    attach(&corner, node, &["asked-a"]).await;
    let denied =
        Fault::new("DescribeInstances", FaultKind::AccessDenied).on_filter(&node.instance_id);
    let denied = corner.world.aws.inject(denied);
    corner.world.aws.end_instance(&node.instance_id);
    // The drain is over at once, and its deadline near.
    corner.interrupt_at(node, Timestamp::now() - Duration::from_secs(110));
    let failed = |i: &NodeTermination| says(i, "OutOfService", false, "CallFailed");
    corner.await_incident(&node.instance_id, failed).await;
    assert!(!is_out_of_service(&node_of(&corner, node).await));
    drop(denied);
    corner.await_node(node, is_out_of_service).await;
    let out = |i: &NodeTermination| says(i, "OutOfService", true, "Terminated");
    corner.await_incident(&node.instance_id, out).await;
}
