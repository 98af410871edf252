//! People at work beside the operator: they edit, hold, cancel, delete and uncordon.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use node_termination_operator::api::policy::TerminationPolicy;
use node_termination_operator::api::termination::{NodeTermination, Outcome, Phase};
use serde_json::{Value, json};
use testbed::cluster::{PodOptions, TestNode, await_object, delete_node};
use testbed::{Webhook, operator};
use tokio::task::JoinSet;

use crate::budgets::{await_blocked, keep, keep_only};
use crate::scene::{
    Corner, TEAM, is_cordoned, is_untouched, patch, something_else_is_drained, status, within,
};

/// A corner whose node drains and can not go on: its two pods have a budget that never lets them go.
async fn stalled(name: &str, node: Value) -> Corner {
    let corner = Corner::new(name, 1, json!({})).await;
    patch::<Node>(&corner.client, &corner.nodes[0].name, node).await;
    let web = PodOptions::default().label("app", "web");
    corner.make_pods(&corner.nodes[0], 2, web).await;
    keep(&corner, "pdb", 2).await;
    corner.interrupt(&corner.nodes[0]);
    await_blocked(&corner, &corner.nodes[0], 2).await;
    corner
}

async fn switch(corner: &Corner, node: &TestNode, switch: Value) {
    let spec = json!({"spec": switch});
    patch::<NodeTermination>(&corner.client, &node.instance_id, spec).await;
}

async fn delete_incident(corner: &Corner, name: &str) {
    let api = Api::<NodeTermination>::all(corner.client.clone());
    api.delete(name, &DeleteParams::default()).await.unwrap();
    within(await_object(api, name, |i| i.is_none())).await;
}

/// What people see of a node: its spec and its labels.
fn face(node: &Node) -> Value {
    let mut spec = serde_json::to_value(&node.spec).unwrap();
    for taint in spec["taints"].as_array_mut().into_iter().flatten() {
        taint["timeAdded"] = Value::Null;
    }
    json!([spec, node.labels()])
}

#[tokio::test]
async fn a_policy_that_is_edited_and_deleted_meanwhile_changes_nothing_for_an_open_incident() {
    let corner = stalled("edited", json!({})).await;
    let node = &corner.nodes[0];
    corner
        .change_policy(json!({"drain": {"disruptionBudgets": "Ignore"}, "mode": "Observe"}))
        .await;
    corner.await_polling().await;
    let policies = Api::<TerminationPolicy>::all(corner.client.clone());
    policies
        .delete(&corner.name, &DeleteParams::default())
        .await
        .unwrap();
    within(await_object(policies, &corner.name, |p| p.is_none())).await;
    something_else_is_drained().await;
    assert!(corner.evictions().is_empty() && corner.deletions().is_empty());
    keep_only(&corner, "pdb", 0).await;
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    assert_eq!(status(&incident).outcome, Some(Outcome::Drained));
    assert_eq!(status(&incident).policy.unwrap().generation, 1);
    assert_eq!(corner.evictions().len(), 2);
    assert!(corner.deletions().is_empty());
}

#[tokio::test]
async fn canceling_gives_the_node_back_as_it_was_and_the_record_stays() {
    let theirs = json!({"key": "theirs", "value": "yes", "effect": "NoSchedule"});
    let corner = Corner::new("cancel", 1, json!({})).await;
    let node = &corner.nodes[0];
    let spec = json!({"spec": {"unschedulable": true, "taints": [theirs]}});
    patch::<Node>(&corner.client, &node.name, spec).await;
    let before = corner
        .await_node(node, |n| {
            let taints = n.spec.as_ref().and_then(|s| s.taints.as_ref());
            taints.is_some_and(|t| t.len() == 2)
        })
        .await;
    let web = PodOptions::default().label("app", "web");
    corner.make_pods(node, 2, web).await;
    keep(&corner, "pdb", 2).await;
    corner.interrupt(node);
    await_blocked(&corner, node, 2).await;
    switch(&corner, node, json!({"cancel": true})).await;
    corner.await_phase(&node.instance_id, Phase::Canceled).await;
    let ours = |key: &String| key.starts_with("nodetermination.dev/");
    let after = corner
        .await_node(node, |n| !n.annotations().keys().any(ours))
        .await;
    assert_eq!(face(&after), face(&before));
    keep_only(&corner, "pdb", 0).await;
    something_else_is_drained().await;
    let incident = corner.incident(&node.instance_id).await.unwrap();
    assert_eq!(status(&incident).outcome, Some(Outcome::Canceled));
    assert!(corner.evictions().is_empty());
}

#[tokio::test]
async fn deleting_an_open_incident_undoes_it_and_deleting_a_finished_one_just_deletes_it() {
    let corner = stalled("deleted", json!({})).await;
    let node = &corner.nodes[0];
    delete_incident(&corner, &node.instance_id).await;
    corner.await_node(node, is_untouched).await;
    keep_only(&corner, "pdb", 0).await;
    something_else_is_drained().await;
    assert!(corner.evictions().is_empty(), "nothing goes on");
    assert!(corner.incident(&node.instance_id).await.is_none());

    corner.interrupt(node);
    corner.await_phase(&node.instance_id, Phase::Released).await;
    delete_node(&corner.client, &node.name).await.unwrap();
    corner
        .await_phase(&node.instance_id, Phase::Completed)
        .await;
    delete_incident(&corner, &node.instance_id).await;
}

#[tokio::test]
async fn a_held_incident_stands_still_and_goes_on_when_it_is_let_go() {
    let corner = stalled("held", json!({})).await;
    let node = &corner.nodes[0];
    switch(&corner, node, json!({"hold": true})).await;
    corner.await_phase(&node.instance_id, Phase::Waiting).await;
    keep_only(&corner, "pdb", 0).await;
    something_else_is_drained().await;
    assert!(corner.evictions().is_empty());
    switch(&corner, node, json!({"hold": false})).await;
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    assert_eq!(status(&incident).outcome, Some(Outcome::Drained));
    assert_eq!(corner.evictions().len(), 2);
}

#[tokio::test]
async fn a_node_that_somebody_uncordons_during_its_drain_is_cordoned_again() {
    let corner = stalled("uncordoned", json!({})).await;
    let node = &corner.nodes[0];
    let spec = json!({"spec": {"unschedulable": null, "taints": null}});
    let opened = patch::<Node>(&corner.client, &node.name, spec).await;
    assert!(!is_cordoned(&opened));
    corner.await_node(node, is_cordoned).await;
    // Its undo still knows what was ours.
    switch(&corner, node, json!({"cancel": true})).await;
    corner.await_node(node, is_untouched).await;
}

/// A webhook that keeps every answer about the operator's writes to the node back.
async fn held_up(corner: &Corner, node: &TestNode) -> Webhook {
    let webhook = Webhook::start().unwrap();
    webhook.deny(403, "not yet");
    let asked = ("UPDATE", "nodes");
    let mut object = webhook.configuration("busy.example.com", &corner.namespace, asked);
    let only = json!({
        "namespaceSelector": null,
        "objectSelector": {"matchLabels": {TEAM: corner.name}},
        "matchConditions": [{
            "name": "operator",
            "expression": format!("request.userInfo.username == '{}'", operator::USER),
        }],
        "timeoutSeconds": 10,
    });
    let mut entry = serde_json::to_value(&object.webhooks.unwrap()[0]).unwrap();
    let only = only.as_object().unwrap().clone();
    entry.as_object_mut().unwrap().extend(only);
    object.webhooks = Some(vec![serde_json::from_value(entry).unwrap()]);
    let api = Api::<ValidatingWebhookConfiguration>::all(corner.client.clone());
    api.create(&PostParams::default(), &object).await.unwrap();
    let control_plane = &corner.world.control_plane;
    let client = control_plane.client_for(operator::USER).await.unwrap();
    let nodes = Api::<Node>::all(client);
    let (try_it, nothing) = (PatchParams::default().dry_run(), json!({"metadata": {}}));
    let is_asked = async {
        while nodes
            .patch(&node.name, &try_it, &Patch::Merge(&nothing))
            .await
            .is_ok()
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    within(is_asked).await;
    webhook.hold();
    webhook.allow();
    webhook
}

#[tokio::test]
async fn a_node_that_somebody_writes_to_all_the_time_is_cordoned() {
    let corner = Corner::new("busy", 1, json!({})).await;
    let node = corner.nodes[0].clone();
    let (client, name) = (corner.client.clone(), node.name.clone());
    let mut busy = JoinSet::new();
    for _ in 0..3 {
        let (client, name) = (client.clone(), name.clone());
        busy.spawn(async move {
            loop {
                let at = Timestamp::now().to_string();
                let written = json!({"metadata": {"annotations": {"at": at}}});
                patch::<Node>(&client, &name, written).await;
            }
        });
    }
    // The operator has looked at the node and its patch is under way when somebody else writes once more.
    let webhook = held_up(&corner, &node).await;
    corner.interrupt(&node);
    within(async {
        webhook.await_held().await;
        anyhow::Ok(())
    })
    .await;
    let written = json!({"metadata": {"annotations": {"meanwhile": "yes"}}});
    patch::<Node>(&client, &name, written).await;
    webhook.release();
    corner.await_node(&node, is_cordoned).await;
    busy.abort_all();
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    let patches = corner.requests(|e| e.resource == "nodes" && e.name == node.name);
    let refused = patches.iter().filter(|e| e.status_code == 409).count();
    assert!(refused > 0, "nobody was in the way");
    let conditions = status(&incident).conditions;
    let cordoned = conditions.iter().find(|c| c.type_ == "Cordoned").unwrap();
    let told = format!("; {refused} writes of others");
    let told = cordoned.message.contains(&told);
    assert!(told, "{refused}: {}", cordoned.message);
}

#[tokio::test]
async fn the_incident_after_a_canceled_one_drains_the_same_node() {
    let corner = stalled("again", json!({})).await;
    let node = &corner.nodes[0];
    switch(&corner, node, json!({"cancel": true})).await;
    corner.await_phase(&node.instance_id, Phase::Canceled).await;
    keep_only(&corner, "pdb", 0).await;
    // A notice of the next incident is later than the end of the last one, in whole seconds.
    corner.interrupt_at(node, Timestamp::now() + SignedDuration::from_secs(2));
    let next = format!("{}-2", node.instance_id);
    let incident = corner.await_phase(&next, Phase::Released).await;
    assert_eq!(status(&incident).outcome, Some(Outcome::Drained));
    assert_eq!(corner.evictions().len(), 2);
}
