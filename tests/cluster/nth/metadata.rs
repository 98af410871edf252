//! NTH's end-to-end scenarios of its metadata mode, each with an agent as a process that has its own node's token.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::api::ListParams;
use kube::runtime::watcher;
use node_termination_operator::api::termination::{NodeTermination, Outcome, Phase};
use serde_json::json;
use testbed::aemm::Aemm;
use testbed::cluster::{await_count, delete_node};
use testbed::imds::documents;
use testbed::operator;

use super::agent::{self, Instance};
use super::{await_cordoned_tainted_and_evicted, await_rescheduled, deploy, is_tainted};
use crate::scene::{
    Corner, is_cordoned, is_untouched, something_else_is_drained, status, within, world,
};
use crate::waiting::set_boot;

const EVENT: &str = "instance-event-0d59937288b749b32";

fn in_two_minutes() -> Timestamp {
    Timestamp::now() + SignedDuration::from_mins(2)
}

/// A reboot in half an hour, which is near enough to be acted on.
fn reboot(state: &str, opens: Timestamp) -> String {
    documents::maintenance(EVENT, "system-reboot", state, opens)
}

fn in_half_an_hour() -> Timestamp {
    Timestamp::now() + SignedDuration::from_mins(30)
}

#[tokio::test]
async fn spot_interruption_cordons_taints_and_evicts() {
    let instance = Instance::new("nth-spot", json!({})).await;
    let pod = deploy(&instance.corner).await;
    instance.show(documents::SPOT, documents::spot(in_two_minutes()));
    let (corner, node) = (&instance.corner, instance.node());
    await_cordoned_tainted_and_evicted(corner, node, "SpotInterruption", pod).await;
}

#[tokio::test]
async fn asg_lifecycle_imds_a_target_state_of_terminated_cordons_taints_and_evicts() {
    let instance = Instance::new("nth-target", json!({})).await;
    let (corner, node) = (&instance.corner, instance.node());
    let pod = deploy(corner).await;
    instance.show(documents::TARGET_STATE, "InService".to_owned());
    let read = instance.metadata.reads(documents::TARGET_STATE);
    let again = instance
        .metadata
        .await_reads(documents::TARGET_STATE, read + 2, super::PATIENCE);
    within(again).await;
    assert!(corner.incident(&node.instance_id).await.is_none());
    instance.show(documents::TARGET_STATE, "Terminated".to_owned());
    await_cordoned_tainted_and_evicted(corner, node, "AutoScalingTermination", pod).await;
}

#[tokio::test]
async fn cordon_only_the_node_is_cordoned_and_its_pod_stays() {
    let settings = json!({"actions": {"spotInterruption": "Cordon"}});
    let instance = Instance::new("nth-cordon", settings).await;
    let (corner, node) = (&instance.corner, instance.node());
    deploy(corner).await;
    instance.show(documents::SPOT, documents::spot(in_two_minutes()));
    corner.await_node(node, is_cordoned).await;
    corner.await_phase(&node.instance_id, Phase::Released).await;
    something_else_is_drained().await;
    assert_pod_stays(corner).await;
}

async fn assert_pod_stays(corner: &Corner) {
    let api = Api::<Pod>::namespaced(corner.client.clone(), &corner.namespace);
    let pods = api.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(pods.len(), 1);
    assert!(pods[0].metadata.deletion_timestamp.is_none());
    assert!(corner.evictions().is_empty() && corner.deletions().is_empty());
}

/// Waits for an Event of that reason about the object of that name, and returns it.
async fn event_on(corner: &Corner, kind: &str, name: &str, reason: &str) -> Event {
    let events = Api::<Event>::all(corner.client.clone());
    let object = format!("involvedObject.kind={kind},involvedObject.name={name}");
    let fields = format!("{object},reason={reason}");
    let selector = watcher::Config::default().fields(&fields);
    within(await_count(events.clone(), selector, 1, |_| true)).await;
    let params = ListParams::default().fields(&fields);
    events.list(&params).await.unwrap().items.remove(0)
}

#[tokio::test]
async fn emit_events_the_node_tells_that_it_was_cordoned_and_its_record_that_it_was_drained() {
    let instance = Instance::new("nth-events", json!({})).await;
    let (corner, node) = (&instance.corner, instance.node());
    let pod = deploy(corner).await;
    instance.show(documents::SPOT, documents::spot(in_two_minutes()));
    corner.await_gone(&[pod]).await;
    let cordoned = event_on(corner, "Node", &node.name, "Cordoned").await;
    assert_eq!(cordoned.involved_object.uid.as_ref(), Some(&node.uid));
    event_on(corner, "NodeTermination", &node.instance_id, "Released").await;
}

/// What NTH writes into ten annotations of its Events stands in the object that ours name.
#[tokio::test]
async fn spot_interruption_events_on_they_name_the_notice_the_instance_the_node_and_its_record() {
    let instance = Instance::new("nth-events-on", json!({})).await;
    let (corner, node) = (&instance.corner, instance.node());
    let pod = deploy(corner).await;
    instance.show(documents::SPOT, documents::spot(in_two_minutes()));
    corner.await_node(node, is_cordoned).await;
    corner.await_gone(&[pod]).await;
    let id = &node.instance_id;
    let cordoned = event_on(corner, "Node", &node.name, "Cordoned").await;
    let said = cordoned.message.unwrap();
    for word in ["SpotInterruption", id, "deadline"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let released = event_on(corner, "NodeTermination", id, "Released").await;
    let said = released.message.as_deref();
    assert_eq!(said, Some("SpotInterruption: Drained"));
    for (event, other) in [
        (cordoned.related, ("NodeTermination", id)),
        (released.related, ("Node", &node.name)),
    ] {
        let named = event.unwrap();
        let named = (named.kind.unwrap(), named.name.unwrap());
        assert_eq!((named.0.as_str(), &named.1), other);
    }
}

/// The metadata mock is not ours, and answers version 2 of the service only.
#[tokio::test]
async fn imds_v2_a_service_without_version_1_is_read() {
    let corner = agent::corner("nth-v2", json!({})).await;
    let (node, logs) = (&corner.nodes[0], corner.world.control_plane.folder());
    let pod = deploy(&corner).await;
    let mock = Aemm::start(&node.instance_id, &["spot", "-d", "1"], logs)
        .await
        .unwrap();
    let _agent = agent::start_agent(&corner, &mock.env()).await;
    await_cordoned_tainted_and_evicted(&corner, node, "SpotInterruption", pod).await;
}

#[tokio::test]
async fn maintenance_event_cordons_taints_and_evicts() {
    let instance = Instance::new("nth-maintenance", json!({})).await;
    let (corner, node) = (&instance.corner, instance.node());
    let pod = deploy(corner).await;
    instance.show(documents::MAINTENANCE, reboot("active", in_half_an_hour()));
    await_cordoned_tainted_and_evicted(corner, node, "ScheduledMaintenance", pod).await;
}

#[tokio::test]
async fn maintenance_event_cancellation_gives_the_node_back_and_the_pod_is_rescheduled() {
    let instance = Instance::new("nth-cancellation", json!({})).await;
    let (corner, node) = (&instance.corner, instance.node());
    let pod = deploy(corner).await;
    let opens = in_half_an_hour();
    instance.show(documents::MAINTENANCE, reboot("active", opens));
    await_cordoned_tainted_and_evicted(corner, node, "ScheduledMaintenance", pod).await;
    instance.show(documents::MAINTENANCE, reboot("canceled", opens));
    corner.await_node(node, is_untouched).await;
    let incident = corner.await_phase(&node.instance_id, Phase::Canceled).await;
    assert_eq!(status(&incident).outcome, Some(Outcome::Withdrawn));
    await_rescheduled(corner).await;
}

/// The metadata goes on telling of the reboot for a while after it.
#[tokio::test]
async fn maintenance_event_reboot_gives_the_node_back_when_it_has_booted_and_the_pod_is_rescheduled()
 {
    let mut instance = Instance::new("nth-reboot", json!({})).await;
    set_boot(&instance.corner, instance.node(), "boot-1").await;
    let pod = deploy(&instance.corner).await;
    let opens = Timestamp::now() + SignedDuration::from_secs(20);
    instance.show(documents::MAINTENANCE, reboot("active", opens));
    let (corner, node) = (&instance.corner, instance.node());
    await_cordoned_tainted_and_evicted(corner, node, "ScheduledMaintenance", pod).await;
    corner.await_phase(&node.instance_id, Phase::Released).await;
    let left = opens.duration_since(Timestamp::now());
    tokio::time::sleep(left.try_into().unwrap_or_default()).await;
    // The agent ends with the machine, and comes back with it.
    set_boot(corner, node, "boot-2").await;
    instance.restart_agent().await;
    let (corner, node) = (&instance.corner, instance.node());
    corner
        .await_phase(&node.instance_id, Phase::Completed)
        .await;
    await_rescheduled(corner).await;
    let read = instance.metadata.reads(documents::MAINTENANCE);
    let again = instance
        .metadata
        .await_reads(documents::MAINTENANCE, read + 3, super::PATIENCE);
    within(again).await;
    something_else_is_drained().await;
    corner.await_node(node, is_untouched).await;
    let second = format!("{}-2", node.instance_id);
    assert!(corner.incident(&second).await.is_none());
}

#[tokio::test]
async fn prometheus_metrics_agent_and_controller_count_what_they_did() {
    let instance = Instance::new("nth-metrics", json!({})).await;
    let (corner, node) = (&instance.corner, instance.node());
    let pod = deploy(corner).await;
    instance.show(documents::SPOT, documents::spot(in_two_minutes()));
    corner.await_gone(&[pod]).await;
    corner.await_phase(&node.instance_id, Phase::Released).await;
    delete_node(&corner.client, &node.name).await.unwrap();
    corner
        .await_phase(&node.instance_id, Phase::Completed)
        .await;
    let kind = "kind=\"SpotInterruption\"";
    let drained = [kind, "outcome=\"Drained\""];
    let recorded = [kind, "outcome=\"Recorded\""];
    let accepted = ["verb=\"Evict\"", "answer=\"Accepted\""];
    let read = ["ReadInstanceMetadata", "result=\"Success\""];
    let controller = &world().await.operator;
    for (process, name, labels) in [
        (controller, "evictions_total", accepted),
        (controller, "terminations_finished_total", drained),
        (&instance.agent, "signals_total", recorded),
        (&instance.agent, "aws_calls_total", read),
    ] {
        let name = format!("node_termination_operator_{name}");
        let value = process.metric(&name, &labels).await.unwrap();
        assert!(value >= 1.0, "{name} {labels:?}: {value}");
    }
}

#[tokio::test]
async fn rebalance_recommendation_cordons_and_the_spot_notice_that_follows_evicts() {
    let settings = json!({"actions": {"rebalanceRecommendation": "Cordon"}});
    let instance = Instance::new("nth-monitoring", settings).await;
    let (corner, node) = (&instance.corner, instance.node());
    let pod = deploy(corner).await;
    instance.show(documents::REBALANCE, documents::rebalance(Timestamp::now()));
    corner
        .await_node(node, |n| {
            is_cordoned(n) && is_tainted(n, "RebalanceRecommendation")
        })
        .await;
    corner.await_phase(&node.instance_id, Phase::Released).await;
    something_else_is_drained().await;
    assert_pod_stays(corner).await;
    instance.show(documents::SPOT, documents::spot(in_two_minutes()));
    corner.await_gone(&[pod]).await;
    let both = |i: &NodeTermination| {
        i.spec.signals.len() == 2 && status(i).outcome == Some(Outcome::Drained)
    };
    corner.await_incident(&node.instance_id, both).await;
}

#[tokio::test]
async fn rebalance_recommendation_drain_cordons_taints_and_evicts() {
    let settings = json!({"actions": {"rebalanceRecommendation": "CordonAndDrain"}});
    let instance = Instance::new("nth-draining", settings).await;
    let (corner, node) = (&instance.corner, instance.node());
    let pod = deploy(corner).await;
    instance.show(documents::REBALANCE, documents::rebalance(Timestamp::now()));
    await_cordoned_tainted_and_evicted(corner, node, "RebalanceRecommendation", pod).await;
}

/// The pod network is all that the agent's pod asks for.
#[tokio::test]
async fn spot_interruption_host_networking_off_the_agents_pod_needs_neither_the_hosts_network_nor_a_port_of_it()
 {
    let instance = Instance::new("nth-network", json!({})).await;
    let (corner, node) = (&instance.corner, instance.node());
    let pods = Api::<Pod>::namespaced(corner.client.clone(), operator::NAME);
    let on_node = ListParams::default().fields(&format!("spec.nodeName={}", node.name));
    let agents = pods.list(&on_node).await.unwrap().items;
    assert_eq!(agents.len(), 1);
    let spec = agents[0].spec.as_ref().unwrap();
    assert!(!spec.host_network.unwrap_or_default());
    let mut ports = spec
        .containers
        .iter()
        .flat_map(|c| c.ports.iter().flatten());
    assert!(ports.all(|port| port.host_port.is_none()));
    let pod = deploy(corner).await;
    instance.show(documents::SPOT, documents::spot(in_two_minutes()));
    await_cordoned_tainted_and_evicted(corner, node, "SpotInterruption", pod).await;
}

/// The notice at that path is recorded, what would be done is told, and nothing is done.
async fn is_only_observed(name: &str, path: &str, text: String) {
    let settings = json!({
        "mode": "Observe",
        "actions": {"rebalanceRecommendation": "CordonAndDrain"},
    });
    let instance = Instance::new(name, settings).await;
    let (corner, node) = (&instance.corner, instance.node());
    deploy(corner).await;
    instance.show(path, text);
    corner
        .await_incident(&node.instance_id, |i| {
            status(i).outcome == Some(Outcome::Observed)
                && crate::scene::says(i, "WouldDrain", true, "Observed")
                && status(i).pods.is_some_and(|p| p.total == 1)
        })
        .await;
    something_else_is_drained().await;
    corner.await_node(node, is_untouched).await;
    assert!(corner.requests(|e| e.name == node.name).is_empty());
    assert_pod_stays(corner).await;
}

#[tokio::test]
async fn spot_interruption_dry_run_nothing_is_done() {
    let text = documents::spot(in_two_minutes());
    is_only_observed("nth-dry-spot", documents::SPOT, text).await;
}

#[tokio::test]
async fn maintenance_event_dry_run_nothing_is_done() {
    let text = reboot("active", in_half_an_hour());
    is_only_observed("nth-dry-maintenance", documents::MAINTENANCE, text).await;
}

#[tokio::test]
async fn rebalance_recommendation_dry_run_nothing_is_done() {
    let text = documents::rebalance(Timestamp::now());
    is_only_observed("nth-dry-rebalance", documents::REBALANCE, text).await;
}
