//! What people rely on who come from aws-node-termination-handler (NTH): its end-to-end scenarios, and the defects that
//! its users met, on the real control plane.
//!
//! | NTH's end-to-end test | here |
//! |---|---|
//! | asg-launch-lifecycle-sqs-test | `queue::asg_launch_lifecycle_sqs_…` |
//! | asg-lifecycle-imds-test | `metadata::asg_lifecycle_imds_…` |
//! | asg-lifecycle-sqs-heartbeat-test | `queue::asg_lifecycle_sqs_heartbeat_…` |
//! | asg-lifecycle-sqs-test | `queue::asg_lifecycle_sqs_the_node_…` |
//! | cordon-only-test | `metadata::cordon_only_…` |
//! | ec2-state-change-sqs-test | `queue::ec2_state_change_sqs_…` |
//! | emit-events-test | `metadata::emit_events_…` |
//! | imds-v2-test | `metadata::imds_v2_…`, with a metadata mock that is not ours |
//! | maintenance-event-test | `metadata::maintenance_event_cordons_…` |
//! | maintenance-event-cancellation-test | `metadata::maintenance_event_cancellation_…` |
//! | maintenance-event-dry-run-test | `metadata::maintenance_event_dry_run_…` |
//! | maintenance-event-reboot-test | `metadata::maintenance_event_reboot_…`; a boot ID in place of an uptime file |
//! | prometheus-metrics-test | `metadata::prometheus_metrics_…` |
//! | prometheus-metrics-sqs-test | `queue::prometheus_metrics_sqs_…`; its gauge of tagged nodes is `status.matchedNodes` here, and tagged instances are not counted: `managed::only_an_instance_with_the_tag_is_acted_on` |
//! | rebalance-recommendation-test | `metadata::rebalance_recommendation_cordons_…` |
//! | rebalance-recommendation-drain-test | `metadata::rebalance_recommendation_drain_…` |
//! | rebalance-recommendation-dry-run-test | `metadata::rebalance_recommendation_dry_run_…` |
//! | rebalance-recommendation-sqs-test | `queue::rebalance_recommendation_sqs_cordons_…` |
//! | rebalance-recommendation-sqs-node-not-found-test | `queue::rebalance_recommendation_sqs_node_not_found_…` |
//! | scheduled-change-event-sqs-test | `queue::scheduled_change_event_sqs_…` |
//! | spot-interruption-test | `metadata::spot_interruption_cordons_…`; the out-of-service taint: `out_of_service::it_comes_after_terminated_…`, and not after the drain |
//! | spot-interruption-dry-run-test | `metadata::spot_interruption_dry_run_…` |
//! | spot-interruption-sqs-test | `drain::a_spot_notice_is_recorded_…` |
//! | spot-interruption-test-events-on | `metadata::spot_interruption_events_on_…` |
//! | spot-interruption-test-host-networking-off | `metadata::spot_interruption_host_networking_off_…` |
//! | webhook-test | comes with notifications |
//! | webhook-secret-test | comes with notifications |
//! | webhook-http-proxy-test | comes with notifications |
//!
//! | a defect of NTH | where it is proved absent |
//! |---|---|
//! | of three instances of a Health event one was drained | `regressions::each_of_three_…` |
//! | of two hooks of an instance one was completed | `lifecycle::two_hooks_on_one_instance_are_both_completed` |
//! | a dry run completed hooks | `nodes::observing_changes_nothing_and_leaves_hooks_alone` |
//! | bad messages ended the process | `shared::bad_messages_for_a_long_time_are_counted_and_end_nothing` |
//! | 503 and 401 of the metadata service ended the process | the agent's tests: `a_metadata_service_that_fails_shows_in_readyz_…` |
//! | each reading of a target lifecycle state was a drain | the agent's tests: `a_notice_is_one_signal_and_one_request_however_often_it_is_read` |
//! | another cluster's instances were completed or deleted | `shared::a_foreign_instance_in_a_shared_queue_…` |
//! | one interruption was several drains | `regressions::one_spot_interruption_…` |
//! | the out-of-service taint came while the machine ran, and stayed | `out_of_service::it_comes_after_terminated_…`, `out_of_service::a_stopped_machine_…` |
//! | what a topic fans out was not read | `regressions::what_comes_through_a_topic_is_heard` |

mod agent;
mod metadata;
mod queue;
mod regressions;

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::ListParams;
use testbed::cluster::{PodOptions, TestNode, await_object, make_deployment, map};

use crate::scene::{Corner, TEAM, is_cordoned, within};

/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);
/// The key of the taint that is put on beside the cordon.
const TAINT: &str = "nodetermination.dev/terminating";
/// The Deployment whose only pod runs on the corner's only node.
const REGULAR: &str = "regular-pod-test";

/// Makes a Deployment of one pod that only the corner's nodes may run, and returns the pod.
async fn deploy(corner: &Corner) -> Pod {
    let options = PodOptions {
        node_selector: map(&[(TEAM, &corner.name)]),
        ..PodOptions::default()
    };
    make_deployment(&corner.client, &corner.namespace, REGULAR, 1, &options)
        .await
        .unwrap();
    let pods = Api::<Pod>::namespaced(corner.client.clone(), &corner.namespace);
    let mut pods = pods.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(pods.len(), 1);
    pods.remove(0)
}

/// Waits until the Deployment has its pod again, on a node that is open.
async fn await_rescheduled(corner: &Corner) {
    let api = Api::<Deployment>::namespaced(corner.client.clone(), &corner.namespace);
    let available = |d: Option<&Deployment>| {
        let status = d.and_then(|d| d.status.as_ref());
        status.is_some_and(|s| s.available_replicas == Some(1))
    };
    within(await_object(api, REGULAR, available)).await;
}

/// Waits until the node is cordoned, carries the taint of that kind, and the pod is gone.
async fn await_cordoned_tainted_and_evicted(
    corner: &Corner,
    node: &TestNode,
    kind: &str,
    pod: Pod,
) {
    corner
        .await_node(node, |n| is_cordoned(n) && is_tainted(n, kind))
        .await;
    corner.await_gone(&[pod]).await;
    assert_eq!(corner.evictions().len(), 1);
}

/// Whether the node carries our taint for that kind.
fn is_tainted(node: &Node, kind: &str) -> bool {
    let taints = node.spec.as_ref().and_then(|s| s.taints.as_ref());
    taints.into_iter().flatten().any(|t| {
        (t.key.as_str(), t.value.as_deref(), t.effect.as_str()) == (TAINT, Some(kind), "NoSchedule")
    })
}
