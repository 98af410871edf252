//! Disruption budgets: waited for without a request, told, and overridden only when the policy lets it.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use node_termination_operator::api::termination::{
    BlockReason, NodeTermination, Outcome, Phase, PodsStatus,
};
use node_termination_operator::cluster::pods::send;
use node_termination_operator::drain::pod::PodObject;
use node_termination_operator::drain::{Answer, Order, Verb};
use serde_json::json;
use testbed::cluster::{
    Budget, PodOptions, TestNode, await_count, await_object, make_deployment, make_nodes, make_pdb,
    map,
};
use testbed::operator;

use crate::scene::{Corner, TEAM, something_else_is_drained, status, within};

/// Pods that the budget of [`keep`] guards.
pub fn web() -> PodOptions {
    PodOptions::default().label("app", "web")
}

/// A budget that keeps so many of the pods labelled `app=web`.
pub async fn keep(corner: &Corner, name: &str, min_available: i32) {
    let budget = Budget::MinAvailable(IntOrString::Int(min_available));
    let labels = map(&[("app", "web")]);
    make_pdb(&corner.client, &corner.namespace, name, &labels, budget)
        .await
        .unwrap();
}

/// Lets the budget keep so many from now on.
pub async fn keep_only(corner: &Corner, name: &str, min_available: i32) {
    let api = Api::<PodDisruptionBudget>::namespaced(corner.client.clone(), &corner.namespace);
    let patch = Patch::Merge(json!({"spec": {"minAvailable": min_available}}));
    api.patch(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// Waits until so many of the node's pods are told to be blocked.
pub async fn await_blocked(corner: &Corner, node: &TestNode, pods: usize) -> NodeTermination {
    corner
        .await_incident(&node.instance_id, |i| status(i).blocked.len() == pods)
        .await
}

fn ago(seconds: i64) -> Timestamp {
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    now - SignedDuration::from_secs(seconds)
}

fn pods_of(incident: &NodeTermination) -> PodsStatus {
    status(incident).pods.unwrap()
}

#[tokio::test]
async fn a_pod_without_room_in_its_budget_is_parked_without_a_request_and_goes_when_a_replacement_is_ready()
 {
    let corner = Corner::new("parked", 1, json!({})).await;
    let node = &corner.nodes[0];
    let options = PodOptions {
        node_selector: map(&[(TEAM, &corner.name)]),
        ..PodOptions::default()
    };
    make_deployment(&corner.client, &corner.namespace, "web", 3, &options)
        .await
        .unwrap();
    keep(&corner, "pdb", 2).await;
    let sent = ago(0);
    corner.interrupt_at(node, sent);
    // One goes, its replacement finds no node, and so the other two stay.
    let incident = await_blocked(&corner, node, 2).await;
    something_else_is_drained().await;
    let evictions = corner.evictions();
    assert_eq!(evictions.len(), 1, "{evictions:?}");
    let by = format!("{}/pdb", corner.namespace);
    let latest = sent + SignedDuration::from_secs(120 - 8 - 30);
    for blocked in status(&incident).blocked {
        assert_eq!(blocked.reason, BlockReason::Budget, "{blocked:?}");
        assert_eq!(blocked.by.as_ref(), Some(&by));
        assert_eq!(blocked.force_time.unwrap().0, latest);
        assert!(blocked.message.contains("of 2 wanted"));
        assert!(blocked.since.0 >= sent && blocked.since.0 <= Timestamp::now());
        assert!(
            blocked
                .pod
                .starts_with(&format!("{}/web-", corner.namespace))
        );
    }
    let prefix = format!("{}-spare", corner.name);
    let labels = map(&[(TEAM, &corner.name)]);
    make_nodes(&corner.client, &prefix, 1, &labels)
        .await
        .unwrap();
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    assert_eq!(status(&incident).outcome, Some(Outcome::Drained));
    let told = [corner.evictions(), corner.deletions()].concat();
    assert!(Timestamp::now() < latest, "none was forced: {told:#?}");
    assert_eq!(pods_of(&incident).forced, 0, "{told:#?}");
    let evictions = corner.evictions();
    assert_eq!(
        evictions.len(),
        3,
        "one request for each pod: {evictions:?}"
    );
    assert!(corner.deletions().is_empty());
}

#[tokio::test]
async fn a_budget_that_can_never_be_met_is_told_at_once_and_editing_it_lets_the_pods_go() {
    let corner = Corner::new("never", 1, json!({})).await;
    let node = &corner.nodes[0];
    let pods = corner.make_pods(node, 2, web()).await;
    keep(&corner, "pdb", 2).await;
    corner.interrupt(node);
    let incident = await_blocked(&corner, node, 2).await;
    let unsatisfiable = |r| r == BlockReason::BudgetUnsatisfiable;
    assert!(
        status(&incident)
            .blocked
            .iter()
            .all(|b| unsatisfiable(b.reason))
    );
    assert!(corner.evictions().is_empty());
    keep_only(&corner, "pdb", 0).await;
    corner.await_gone(&pods).await;
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    assert!(status(&incident).blocked.is_empty());
    assert_eq!(corner.evictions().len(), 2);
}

#[tokio::test]
async fn at_the_last_moment_before_a_spot_deadline_pods_are_deleted_past_their_budget_with_what_grace_is_left()
 {
    let corner = Corner::new("forced", 1, json!({})).await;
    let node = &corner.nodes[0];
    let slow = web().gone_after(Duration::from_secs(2));
    let pods = corner.make_pods(node, 2, slow).await;
    keep(&corner, "pdb", 2).await;
    // The machine goes in 30 s, the pods must have gone in 22 s; they would like to have 30 s.
    let deadline = ago(90) + SignedDuration::from_secs(120);
    corner.interrupt_at(node, ago(90));
    await_blocked(&corner, node, 2).await;
    assert!(corner.evictions().is_empty() && corner.deletions().is_empty());
    let api = Api::<Pod>::namespaced(corner.client.clone(), &corner.namespace);
    let told = |p: Option<&Pod>| p.is_some_and(|p| p.metadata.deletion_timestamp.is_some());
    let pod = within(await_object(api, &pods[0].name_any(), told)).await;
    let grace = pod.unwrap().metadata.deletion_grace_period_seconds.unwrap();
    assert!(
        (1..=17).contains(&grace),
        "of 22 s a quarter was waited: {grace}"
    );
    corner.await_gone(&pods).await;
    assert!(Timestamp::now() < deadline);
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    assert_eq!(status(&incident).outcome, Some(Outcome::Drained));
    assert_eq!(pods_of(&incident).forced, 2);
    assert_eq!(corner.deletions().len(), 2);
    assert!(corner.evictions().is_empty());
}

#[tokio::test]
async fn a_policy_that_respects_budgets_never_forces_a_pod() {
    let drain = json!({"disruptionBudgets": "Respect", "deadlineMarginSeconds": 4});
    let corner = Corner::new("respect", 1, json!({"drain": drain})).await;
    let node = &corner.nodes[0];
    let pods = corner.make_pods(node, 1, web()).await;
    keep(&corner, "pdb", 1).await;
    corner.interrupt_at(node, ago(106));
    let incident = await_blocked(&corner, node, 1).await;
    assert!(status(&incident).blocked[0].force_time.is_none());
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    assert_eq!(status(&incident).outcome, Some(Outcome::DrainIncomplete));
    assert_eq!(pods_of(&incident).forced, 0);
    assert!(corner.evictions().is_empty() && corner.deletions().is_empty());
    let api = Api::<Pod>::namespaced(corner.client.clone(), &corner.namespace);
    let pod = api.get(&pods[0].name_any()).await.unwrap();
    assert!(pod.metadata.deletion_timestamp.is_none());
}

#[tokio::test]
async fn a_pod_of_two_budgets_is_not_sent_at_all_until_one_of_them_is_gone() {
    let corner = Corner::new("two", 1, json!({})).await;
    let node = &corner.nodes[0];
    let pods = corner.make_pods(node, 2, web()).await;
    keep(&corner, "one", 0).await;
    keep(&corner, "other", 0).await;
    corner.interrupt(node);
    let incident = await_blocked(&corner, node, 2).await;
    let blocked = &status(&incident).blocked[0];
    assert_eq!(blocked.reason, BlockReason::MultipleBudgets);
    let names = format!("{0}/one, {0}/other", corner.namespace);
    assert_eq!(blocked.by.as_ref(), Some(&names));
    something_else_is_drained().await;
    assert!(corner.evictions().is_empty() && corner.deletions().is_empty());
    let api = Api::<PodDisruptionBudget>::namespaced(corner.client.clone(), &corner.namespace);
    api.delete("other", &DeleteParams::default()).await.unwrap();
    corner.await_gone(&pods).await;
    assert_eq!(corner.evictions().len(), 2);
}

#[tokio::test]
async fn an_eviction_names_the_pods_uid_so_another_pod_of_that_name_lives() {
    let corner = Corner::without_policy("uid", 1).await;
    let slow = PodOptions::default().gone_after(Duration::from_secs(1));
    let name = corner.make_pods(&corner.nodes[0], 1, slow).await[0].name_any();
    let control_plane = &corner.world.control_plane;
    let client = control_plane.client_for(operator::USER).await.unwrap();
    let api = Api::<PodObject>::namespaced(corner.client.clone(), &corner.namespace);
    let mut order = Order {
        node: "node".into(),
        pod: Arc::new(api.get(&name).await.unwrap().into()),
        verb: Verb::Evict,
        grace: SignedDuration::from_secs(7),
        own_grace: SignedDuration::from_secs(7),
        past: None,
        pin_version: false,
        mark_disruption: false,
        permit: None,
    };
    let uid = std::mem::replace(&mut Arc::make_mut(&mut order.pod).uid, "another".to_owned());
    for verb in [Verb::Evict, Verb::Delete] {
        order.verb = verb;
        assert_eq!(send(&client, &order).await, Answer::Conflict, "{verb:?}");
    }
    let pods = Api::<Pod>::namespaced(corner.client.clone(), &corner.namespace);
    let pod = pods.get(&name).await.unwrap();
    assert!(pod.metadata.deletion_timestamp.is_none());
    Arc::make_mut(&mut order.pod).uid = uid;
    order.verb = Verb::Evict;
    assert_eq!(send(&client, &order).await, Answer::Accepted);
    let selector = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let graced = |p: &Pod| p.metadata.deletion_grace_period_seconds == Some(7);
    within(await_count(pods, selector, 1, graced)).await;
}
