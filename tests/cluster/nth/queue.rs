//! NTH's end-to-end scenarios of its queue mode.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use node_termination_operator::api::termination::{LifecycleActionState, Phase};
use serde_json::json;
use testbed::aws::events::{self, ScheduledChange};
use testbed::aws::{ActionState, EndedBy, LifecycleAction, LifecycleResult};
use testbed::cluster::{PodOptions, get_ready, instance_id, join_node, map};

use super::{await_cordoned_tainted_and_evicted, await_rescheduled, deploy};
use crate::queue::corner_with_source;
use crate::scene::{Corner, TEAM, is_cordoned, status, world};

/// How long a message may take to be settled on a busy machine.
const SETTLED: Duration = Duration::from_mins(1);

async fn metric(name: &str, labels: &[&str]) -> f64 {
    let name = format!("node_termination_operator_{name}");
    let operator = &world().await.operator;
    operator.metric(&name, labels).await.unwrap()
}

/// A spot instance of a group with capacity rebalancing goes, and its replacement joins.
#[tokio::test]
async fn asg_launch_lifecycle_sqs_the_launch_of_a_spot_instances_replacement_is_completed() {
    let launches = json!({"launchHooks": {"complete": true}});
    let corner = corner_with_source("nth-launch", 1, launches).await;
    let (aws, node) = (&corner.world.aws, &corner.nodes[0]);
    aws.put_launch_hook(&corner.name, "ready", Duration::from_mins(10));
    let pod = deploy(&corner).await;
    corner.interrupt(node);
    let replacement = instance_id();
    let launch = aws.start_launch(&corner.name, &replacement, Some(&corner.queue));
    let action = launch.unwrap().remove(0);
    let (name, labels) = (format!("{}-new", corner.name), map(&[(TEAM, &corner.name)]));
    join_node(&corner.client, &name, &replacement, &labels)
        .await
        .unwrap();
    corner.await_node(node, is_cordoned).await;
    corner.await_gone(&[pod]).await;
    let state = aws.action_state(&action.token);
    assert!(
        matches!(state, Some(ActionState::Waiting { .. })),
        "{state:?}"
    );
    get_ready(&corner.client, &name).await.unwrap();
    await_continued(&corner, &action).await;
    await_rescheduled(&corner).await;
    corner.queue.await_empty(SETTLED).await.unwrap();
}

/// Waits until we have completed the action with CONTINUE.
async fn await_continued(corner: &Corner, action: &LifecycleAction) {
    let done = corner.world.aws.await_action_done(&action.token, SETTLED);
    let ended = done.await.unwrap();
    let (result, by) = (LifecycleResult::Continue, EndedBy::Completion);
    assert!(
        matches!(ended, ActionState::Ended { result: r, by: b, .. } if (r, b) == (result, by)),
        "{ended:?}"
    );
}

#[tokio::test]
async fn asg_lifecycle_sqs_the_node_is_cordoned_its_pod_evicted_and_the_hook_completed() {
    let corner = Corner::new("nth-asg", 1, json!({})).await;
    corner.put_hook("drain", 300);
    let node = &corner.nodes[0];
    let pod = deploy(&corner).await;
    let action = corner.scale_in(node, Timestamp::now()).remove(0);
    await_cordoned_tainted_and_evicted(&corner, node, "AutoScalingTermination", pod).await;
    corner.queue.await_empty(SETTLED).await.unwrap();
    await_continued(&corner, &action).await;
}

/// NTH's numbers: a beat each 30 s until 100 s. The notice is old enough that two of the three beats come at once.
#[tokio::test]
async fn asg_lifecycle_sqs_heartbeat_there_are_three_heartbeats_and_then_no_more() {
    let lifecycle = json!({
        "heartbeat": {"intervalSeconds": 30, "untilSeconds": 100},
        "completionDelaySeconds": 40,
    });
    let corner = Corner::new("nth-beats", 1, json!({"lifecycle": lifecycle})).await;
    corner.put_hook("drain", 300);
    let node = &corner.nodes[0];
    let pod = deploy(&corner).await;
    corner.scale_in(node, Timestamp::now() - SignedDuration::from_secs(58));
    corner.await_node(node, is_cordoned).await;
    corner.await_gone(&[pod]).await;
    // The third beat was the last that is planned, though the action is still held.
    let spent = corner
        .await_incident(&node.instance_id, |i| {
            let actions = status(i).lifecycle_actions;
            actions.iter().any(|a| a.heartbeats == 3)
        })
        .await;
    let action = &status(&spent).lifecycle_actions[0];
    assert_eq!(action.state, LifecycleActionState::Pending);
    assert!(action.next_heartbeat_time.is_none(), "{action:?}");
    corner.await_phase(&node.instance_id, Phase::Released).await;
    let beats = corner.calls("RecordLifecycleActionHeartbeat");
    assert_eq!(beats.len(), 3, "{beats:?}");
}

#[tokio::test]
async fn ec2_state_change_sqs_an_instance_that_stops_has_its_node_cordoned_and_its_pod_evicted() {
    let corner = Corner::new("nth-stopping", 1, json!({})).await;
    let node = &corner.nodes[0];
    let pod = deploy(&corner).await;
    let event = events::state_change(&node.instance_id, "stopping", Timestamp::now());
    corner.queue.send(event).unwrap();
    await_cordoned_tainted_and_evicted(&corner, node, "InstanceStateChange", pod).await;
    corner.queue.await_empty(SETTLED).await.unwrap();
}

/// NTH counts nodes and instances that carry its tag; ours are the policy's nodes.
#[tokio::test]
async fn prometheus_metrics_sqs_what_was_done_is_counted() {
    let corner = Corner::new("nth-counted", 2, json!({})).await;
    corner.put_hook("drain", 300);
    let node = &corner.nodes[0];
    let pods = corner.make_pods(node, 1, PodOptions::default()).await;
    corner
        .await_policy(|p| p.status.as_ref().is_some_and(|s| s.matched_nodes == 2))
        .await;
    corner.scale_in(node, Timestamp::now());
    corner.await_node(node, is_cordoned).await;
    corner.await_gone(&pods).await;
    corner.queue.await_empty(SETTLED).await.unwrap();
    corner.await_phase(&node.instance_id, Phase::Released).await;
    let kind = "kind=\"AutoScalingTermination\"";
    for (name, labels) in [
        ("signals_total", &[kind, "outcome=\"Recorded\""][..]),
        (
            "evictions_total",
            &["verb=\"Evict\"", "answer=\"Accepted\""],
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
        (
            "aws_calls_total",
            &["CompleteLifecycleAction", "result=\"Success\""],
        ),
        (
            "aws_calls_total",
            &["DeleteMessageBatch", "result=\"Success\""],
        ),
    ] {
        let value = metric(name, labels).await;
        assert!(value >= 1.0, "{name} {labels:?}: {value}");
    }
}

#[tokio::test]
async fn rebalance_recommendation_sqs_cordons_taints_and_evicts_if_the_policy_says_so() {
    let actions = json!({"rebalanceRecommendation": "CordonAndDrain"});
    let corner = Corner::new("nth-rebalance", 1, json!({"actions": actions})).await;
    let node = &corner.nodes[0];
    let pod = deploy(&corner).await;
    let event = events::rebalance_recommendation(&node.instance_id, Timestamp::now());
    corner.queue.send(event).unwrap();
    await_cordoned_tainted_and_evicted(&corner, node, "RebalanceRecommendation", pod).await;
    corner.queue.await_empty(SETTLED).await.unwrap();
}

#[tokio::test]
async fn rebalance_recommendation_sqs_node_not_found_the_message_is_deleted_if_the_policy_says_so()
{
    let corner =
        corner_with_source("nth-not-found", 0, json!({"unknownInstances": "Delete"})).await;
    let instance = instance_id();
    let event = events::rebalance_recommendation(&instance, Timestamp::now());
    corner.queue.send(event).unwrap();
    corner.queue.await_empty(SETTLED).await.unwrap();
    assert!(corner.incident(&instance).await.is_none());
}

#[tokio::test]
async fn scheduled_change_event_sqs_cordons_taints_and_evicts() {
    let corner = Corner::new("nth-health", 1, json!({})).await;
    let node = &corner.nodes[0];
    let pod = deploy(&corner).await;
    let soon = Timestamp::now() + SignedDuration::from_mins(30);
    let change = ScheduledChange::reboot(&[&node.instance_id], soon);
    let event = change.event("upcoming", Timestamp::now());
    corner.queue.send(event).unwrap();
    await_cordoned_tainted_and_evicted(&corner, node, "ScheduledMaintenance", pod).await;
    corner.queue.await_empty(SETTLED).await.unwrap();
}
