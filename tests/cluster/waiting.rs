//! What an incident waits for, and what gives a node back before its machine has gone.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use node_termination_operator::api::Time;
use node_termination_operator::api::termination::{
    MaintenanceEvent, MaintenanceState, NodeTermination, Outcome, Phase, Signal, SignalKind,
    WaitReason,
};
use node_termination_operator::cluster::record::{self, Answer, Identity};
use node_termination_operator::event::identity::field_manager;
use serde_json::json;
use testbed::cluster::{PodOptions, TestNode, await_object};

use crate::budgets::{keep, keep_only};
use crate::scene::{
    Corner, is_cordoned, is_untouched, patch, something_else_is_drained, status, within,
};

fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap()
}

fn signal(kind: SignalKind, number: u32) -> Signal {
    let id = format!("{}-{number:016x}", kind.as_str());
    Signal::new(id, kind, Time(now()))
}

/// A reboot whose window opens after so long.
fn reboot(opens: SignedDuration, state: MaintenanceState, number: u32) -> Signal {
    let not_before = Some(Time(now() + opens));
    let event = MaintenanceEvent {
        event_id: "instance-event-0d59937288b749b32".into(),
        code: "system-reboot".into(),
        state,
        not_before: not_before.clone(),
        not_after: None,
    };
    Signal {
        notice_time: Time(now() + SignedDuration::from_secs(number.into())),
        deadline: not_before.filter(|_| state == MaintenanceState::Scheduled),
        maintenance: Some(event),
        ..signal(SignalKind::ScheduledMaintenance, number)
    }
}

/// Records the signal, as any monitor does.
pub async fn hear(corner: &Corner, node: &TestNode, signal: &Signal) {
    let identity = Identity {
        node_name: node.name.clone(),
        node_uid: node.uid.clone(),
        instance_id: node.instance_id.clone(),
    };
    let manager = field_manager(&signal.id);
    let recorded = record::apply(
        &corner.client,
        &node.instance_id,
        &manager,
        &identity,
        signal,
    );
    let answer = recorded.await.unwrap();
    assert!(matches!(answer, Answer::Recorded(_)), "{answer:?}");
}

/// What a person writes to have a node drained.
pub async fn ask_for(corner: &Corner, node: &TestNode) -> NodeTermination {
    let object = json!({
        "apiVersion": "nodetermination.dev/v1alpha1",
        "kind": "NodeTermination",
        "metadata": {"name": node.name},
        "spec": {"nodeName": node.name},
    });
    let params = PatchParams::apply("argocd").force();
    let api = Api::<NodeTermination>::all(corner.client.clone());
    api.patch(&node.name, &params, &Patch::Apply(object))
        .await
        .unwrap()
}

fn waits_for(incident: &NodeTermination) -> Option<WaitReason> {
    status(incident).waiting.map(|w| w.reason)
}

async fn await_waiting(corner: &Corner, name: &str, reason: WaitReason) -> NodeTermination {
    corner
        .await_incident(name, |i| waits_for(i) == Some(reason))
        .await
}

/// Lets the node's kubelet report this boot ID.
pub async fn set_boot(corner: &Corner, node: &TestNode, boot: &str) {
    let api = Api::<Node>::all(corner.client.clone());
    let found = api.get(&node.name).await.unwrap();
    let info = found.status.and_then(|s| s.node_info).unwrap_or_default();
    let mut info = serde_json::to_value(info).unwrap();
    info["bootID"] = json!(boot);
    let body = Patch::Merge(json!({"status": {"nodeInfo": info}}));
    api.patch_status(&node.name, &PatchParams::default(), &body)
        .await
        .unwrap();
}

#[tokio::test]
async fn maintenance_that_is_far_leaves_the_node_open_and_its_cancellation_ends_it() {
    let corner = Corner::new("far-maintenance", 1, json!({})).await;
    let node = &corner.nodes[0];
    let week = SignedDuration::from_hours(168);
    hear(&corner, node, &reboot(week, MaintenanceState::Scheduled, 0)).await;
    let waiting = await_waiting(&corner, &node.instance_id, WaitReason::MaintenanceWindow).await;
    let until = status(&waiting).waiting.unwrap().until.unwrap().0;
    assert_eq!(
        until,
        status(&waiting).deadline.unwrap().0 - SignedDuration::from_hours(1)
    );
    something_else_is_drained().await;
    let seen = corner.await_node(node, |_| true).await;
    assert!(is_untouched(&seen) && waiting.finalizers().is_empty());
    hear(&corner, node, &reboot(week, MaintenanceState::Canceled, 1)).await;
    let incident = corner.await_phase(&node.instance_id, Phase::Canceled).await;
    assert_eq!(status(&incident).outcome, Some(Outcome::Withdrawn));
}

#[tokio::test]
async fn a_node_that_was_drained_for_a_reboot_is_given_back_when_it_has_booted() {
    let corner = Corner::new("reboot", 1, json!({})).await;
    let node = &corner.nodes[0];
    set_boot(&corner, node, "boot-1").await;
    let pods = corner.make_pods(node, 3, PodOptions::default()).await;
    let soon = SignedDuration::from_mins(30);
    hear(&corner, node, &reboot(soon, MaintenanceState::Scheduled, 0)).await;
    corner.await_gone(&pods).await;
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    assert_eq!(
        status(&incident).node.unwrap().boot_id.as_deref(),
        Some("boot-1")
    );
    corner.await_node(node, is_cordoned).await;
    set_boot(&corner, node, "boot-2").await;
    let incident = corner
        .await_phase(&node.instance_id, Phase::Completed)
        .await;
    assert_eq!(status(&incident).outcome, Some(Outcome::Drained));
    corner.await_node(node, is_untouched).await;
}

#[tokio::test]
async fn maintenance_that_is_canceled_during_its_drain_gives_the_node_back() {
    let corner = Corner::new("canceled-maintenance", 1, json!({})).await;
    let node = &corner.nodes[0];
    let web = PodOptions::default().label("app", "web");
    corner.make_pods(node, 2, web).await;
    keep(&corner, "pdb", 2).await;
    let soon = SignedDuration::from_mins(30);
    hear(&corner, node, &reboot(soon, MaintenanceState::Scheduled, 0)).await;
    corner
        .await_incident(&node.instance_id, |i| status(i).blocked.len() == 2)
        .await;
    hear(&corner, node, &reboot(soon, MaintenanceState::Canceled, 1)).await;
    let incident = corner.await_phase(&node.instance_id, Phase::Canceled).await;
    assert_eq!(status(&incident).outcome, Some(Outcome::Withdrawn));
    corner.await_node(node, is_untouched).await;
    assert!(corner.evictions().is_empty());
}

#[tokio::test]
async fn the_cordon_of_a_recommendation_that_nothing_follows_is_lifted() {
    let settings = json!({
        "actions": {"rebalanceRecommendation": "Cordon"},
        "cordon": {"expireSeconds": 10},
    });
    let corner = Corner::new("expiry", 1, settings).await;
    let node = &corner.nodes[0];
    corner.make_pods(node, 1, PodOptions::default()).await;
    hear(
        &corner,
        node,
        &signal(SignalKind::RebalanceRecommendation, 0),
    )
    .await;
    corner.await_phase(&node.instance_id, Phase::Released).await;
    corner.await_node(node, is_cordoned).await;
    let incident = corner.await_phase(&node.instance_id, Phase::Canceled).await;
    let said = status(&incident);
    assert_eq!(said.outcome, Some(Outcome::Expired));
    let closed = said
        .completed_at
        .unwrap()
        .0
        .duration_since(said.cordoned_at.unwrap().0);
    assert!(closed >= SignedDuration::from_secs(10), "{closed}");
    corner.await_node(node, is_untouched).await;
    assert!(corner.evictions().is_empty());
}

#[tokio::test]
async fn a_node_that_is_named_by_hand_is_out_of_service_for_as_long_as_its_object_exists() {
    let corner = Corner::new("by-hand", 1, json!({})).await;
    let node = &corner.nodes[0];
    let pods = corner.make_pods(node, 2, PodOptions::default()).await;
    let applied = ask_for(&corner, node).await;
    corner.await_gone(&pods).await;
    let incident = corner.await_phase(&node.name, Phase::Released).await;
    let said = status(&incident);
    assert_eq!(said.reason, Some(SignalKind::Manual));
    assert_eq!(said.outcome, Some(Outcome::Drained));
    assert_eq!(said.policy.unwrap().name, corner.name);
    let found = said.node.unwrap();
    assert_eq!(
        (found.uid, found.instance_id),
        (node.uid.clone(), Some(node.instance_id.clone()))
    );
    // Nothing drifts: what a person applied is what is there.
    assert_eq!(incident.spec, applied.spec);
    let again = ask_for(&corner, node).await;
    assert_eq!(again.resource_version(), incident.resource_version());
    corner.await_node(node, is_cordoned).await;
    let api = Api::<NodeTermination>::all(corner.client.clone());
    api.delete(&node.name, &DeleteParams::default())
        .await
        .unwrap();
    within(await_object(api, &node.name, |i| i.is_none())).await;
    corner.await_node(node, is_untouched).await;
}

#[tokio::test]
async fn a_node_that_no_policy_selects_is_drained_by_hand_all_the_same() {
    let corner = Corner::without_policy("by-hand-alone", 1).await;
    let node = &corner.nodes[0];
    let pods = corner.make_pods(node, 1, PodOptions::default()).await;
    ask_for(&corner, node).await;
    corner.await_gone(&pods).await;
    corner.await_phase(&node.name, Phase::Released).await;
    patch::<NodeTermination>(
        &corner.client,
        &node.name,
        json!({"spec": {"cancel": true}}),
    )
    .await;
    corner.await_phase(&node.name, Phase::Canceled).await;
    corner.await_node(node, is_untouched).await;
}

#[tokio::test]
async fn a_name_that_no_node_has_is_said_to_be_none_and_works_once_it_registers() {
    let corner = Corner::new("by-hand-unknown", 1, json!({})).await;
    let name = format!("{}-nobody", corner.name);
    let spec = json!({
        "apiVersion": "nodetermination.dev/v1alpha1",
        "kind": "NodeTermination",
        "metadata": {"name": name},
        "spec": {"nodeName": name},
    });
    let object: NodeTermination = serde_json::from_value(spec).unwrap();
    let api = Api::<NodeTermination>::all(corner.client.clone());
    api.create(&PostParams::default(), &object).await.unwrap();
    await_waiting(&corner, &name, WaitReason::NodeNotFound).await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
    let node: Node = serde_json::from_value(node).unwrap();
    let nodes = Api::<Node>::all(corner.client.clone());
    nodes.create(&PostParams::default(), &node).await.unwrap();
    let incident = corner.await_phase(&name, Phase::Released).await;
    assert_eq!(status(&incident).outcome, Some(Outcome::Drained));
}

#[tokio::test]
async fn a_limit_lets_one_node_go_after_the_other_and_holds_up_no_spot_notice() {
    let corner = Corner::new("limit", 4, json!({"limits": {"maxConcurrent": 1}})).await;
    let web = PodOptions::default().label("app", "web");
    for node in &corner.nodes {
        corner.make_pods(node, 1, web.clone()).await;
    }
    keep(&corner, "pdb", 4).await;
    ask_for(&corner, &corner.nodes[0]).await;
    corner
        .await_incident(&corner.nodes[0].name, |i| status(i).blocked.len() == 1)
        .await;
    for node in &corner.nodes[1..3] {
        ask_for(&corner, node).await;
        await_waiting(&corner, &node.name, WaitReason::LimitReached).await;
    }
    corner.interrupt(&corner.nodes[3]);
    corner.await_node(&corner.nodes[3], is_cordoned).await;
    for node in &corner.nodes[1..3] {
        let node = corner.await_node(node, |_| true).await;
        assert!(is_untouched(&node));
    }
    keep_only(&corner, "pdb", 0).await;
    for node in &corner.nodes[..3] {
        corner.await_phase(&node.name, Phase::Released).await;
    }
    let started = async |node: &TestNode| {
        let incident = corner.incident(&node.name).await.unwrap();
        let said = status(&incident);
        (said.started_at.unwrap().0, said.released_at.unwrap().0)
    };
    let (first, second) = (
        started(&corner.nodes[1]).await,
        started(&corner.nodes[2]).await,
    );
    assert!(
        first.1 <= second.0 || second.1 <= first.0,
        "{first:?} {second:?}"
    );
}

#[tokio::test]
async fn a_node_that_is_opened_twice_is_left_to_its_owner_until_it_is_closed() {
    let corner = Corner::new("lifted", 1, json!({"drain": {"timeoutSeconds": 3600}})).await;
    let node = &corner.nodes[0];
    let web = PodOptions::default().label("app", "web");
    corner.make_pods(node, 1, web).await;
    keep(&corner, "pdb", 1).await;
    ask_for(&corner, node).await;
    corner
        .await_incident(&node.name, |i| status(i).blocked.len() == 1)
        .await;
    let uncordon = json!({"spec": {"unschedulable": null}});
    patch::<Node>(&corner.client, &node.name, uncordon.clone()).await;
    corner.await_node(node, is_cordoned).await;
    corner
        .await_incident(&node.name, |i| {
            crate::scene::says(i, "CordonLifted", false, "ClosedAgain")
        })
        .await;
    patch::<Node>(&corner.client, &node.name, uncordon).await;
    await_waiting(&corner, &node.name, WaitReason::Uncordoned).await;
    keep_only(&corner, "pdb", 0).await;
    something_else_is_drained().await;
    let seen = corner.await_node(node, |_| true).await;
    assert!(!is_cordoned(&seen) && corner.evictions().is_empty());
    patch::<Node>(
        &corner.client,
        &node.name,
        json!({"spec": {"unschedulable": true}}),
    )
    .await;
    corner.await_phase(&node.name, Phase::Released).await;
}

#[tokio::test]
async fn two_incidents_of_one_node_drain_it_once_and_each_undo_waits_for_the_other() {
    let corner = Corner::new("both", 1, json!({})).await;
    let node = &corner.nodes[0];
    let web = PodOptions::default().label("app", "web");
    let pods = corner.make_pods(node, 3, web).await;
    keep(&corner, "pdb", 3).await;
    ask_for(&corner, node).await;
    corner
        .await_incident(&node.name, |i| status(i).blocked.len() == 3)
        .await;
    corner.interrupt(node);
    corner.await_phase(&node.instance_id, Phase::Draining).await;
    keep_only(&corner, "pdb", 0).await;
    corner.await_gone(&pods).await;
    for name in [&node.name, &node.instance_id] {
        let incident = corner.await_phase(name, Phase::Released).await;
        assert_eq!(status(&incident).outcome, Some(Outcome::Drained));
    }
    assert_eq!(corner.evictions().len(), 3);
    let cancel = json!({"spec": {"cancel": true}});
    patch::<NodeTermination>(&corner.client, &node.name, cancel.clone()).await;
    corner.await_phase(&node.name, Phase::Canceled).await;
    let seen = corner.await_node(node, |_| true).await;
    assert!(is_cordoned(&seen), "the spot notice still needs it");
    patch::<NodeTermination>(&corner.client, &node.instance_id, cancel).await;
    corner.await_phase(&node.instance_id, Phase::Canceled).await;
    corner.await_node(node, is_untouched).await;
}

#[tokio::test]
async fn each_node_that_is_named_by_hand_is_observed_by_its_own_pods() {
    let corner = Corner::new("by-hand-observed", 2, json!({"mode": "Observe"})).await;
    for (node, count) in corner.nodes.iter().zip([1, 2]) {
        corner.make_pods(node, count, PodOptions::default()).await;
    }
    for node in &corner.nodes {
        ask_for(&corner, node).await;
    }
    for (node, count) in corner.nodes.iter().zip([1, 2]) {
        let incident = corner.await_phase(&node.name, Phase::Released).await;
        assert_eq!(status(&incident).outcome, Some(Outcome::Observed));
        assert_eq!(status(&incident).pods.unwrap().total, count);
    }
}
