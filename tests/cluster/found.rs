//! Lifecycle actions that instance metadata told of, recorded as an agent does: without group, hook and token.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use node_termination_operator::api::Time;
use node_termination_operator::api::termination::{
    LifecycleActionState, NodeTermination, Outcome, Phase, Signal, SignalKind,
};
use serde_json::{Value, json};
use testbed::aws::{ActionState, Call, EndedBy, Fault, FaultKind, LifecycleAction, events};
use testbed::cluster::{PodOptions, TestNode};

use crate::scene::{Corner, is_cordoned, says, status};
use crate::waiting::hear;

const BEAT: &str = "RecordLifecycleActionHeartbeat";
const COMPLETE: &str = "CompleteLifecycleAction";
const FIND: &str = "DescribeAutoScalingInstances";

fn ago(seconds: i64) -> Timestamp {
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    now - SignedDuration::from_secs(seconds)
}

/// What an agent makes of `autoscaling/target-lifecycle-state` = Terminated.
fn told(notice: Timestamp) -> Signal {
    let kind = SignalKind::AutoScalingTermination;
    let id = format!("{}-{:016x}", kind.as_str(), 7);
    Signal::new(id, kind, Time(notice))
}

/// The group terminates the node's instance, and no queue hears of it.
fn terminate(corner: &Corner, node: &TestNode) -> Vec<LifecycleAction> {
    let aws = &corner.world.aws;
    aws.start_termination(&corner.name, &node.instance_id, None)
        .unwrap()
}

fn about(corner: &Corner, operation: &str, action: &LifecycleAction) -> Vec<Call> {
    let calls = corner.calls(operation).into_iter();
    calls
        .filter(|c| c.params["LifecycleHookName"] == action.hook.as_str())
        .collect()
}

/// How often somebody asked for the instance's group.
fn looked_up(corner: &Corner, node: &TestNode) -> usize {
    let ours = |c: &Call| {
        let asked = c.params["InstanceIds"].as_array().cloned();
        c.operation == FIND && asked == Some(vec![Value::from(node.instance_id.as_str())])
    };
    let calls = corner.world.aws.calls();
    calls.iter().filter(|c| ours(c)).count()
}

fn still_waits(corner: &Corner, action: &LifecycleAction) -> bool {
    let state = corner.world.aws.action_state(&action.token);
    matches!(state, Some(ActionState::Waiting { .. }))
}

#[tokio::test]
async fn hooks_that_metadata_told_of_are_found_kept_alive_and_completed_by_instance_after_the_drain()
 {
    let heartbeat = json!({"intervalSeconds": 30, "untilSeconds": 600});
    let corner = Corner::new("found", 1, json!({"lifecycle": {"heartbeat": heartbeat}})).await;
    corner.put_hook("drain", 300);
    corner.put_hook("logs", 600);
    let node = &corner.nodes[0];
    let slow = PodOptions::default().gone_after(Duration::from_secs(4));
    let pods = corner.make_pods(node, 1, slow).await;
    let actions = terminate(&corner, node);
    let notice = ago(35);
    hear(&corner, node, &told(notice)).await;
    corner.await_node(node, is_cordoned).await;
    corner.await_gone(&pods).await;
    let gone = corner.evictions()[0].time + SignedDuration::from_secs(4);
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    let status = status(&incident);
    assert_eq!(status.outcome, Some(Outcome::Drained));
    // The last beat is planned at 600 s, and the shorter hook times out 300 s later.
    let deadline = notice + SignedDuration::from_secs(900);
    assert_eq!(status.deadline.unwrap().0, deadline);
    assert_eq!((actions.len(), status.lifecycle_actions.len()), (2, 2));
    for (action, entry) in actions.iter().zip(&status.lifecycle_actions) {
        assert_eq!(entry.hook_name, action.hook);
        assert_eq!(entry.auto_scaling_group_name.as_ref(), Some(&corner.name));
        assert_eq!(entry.state, LifecycleActionState::Completed);
        let beats = about(&corner, BEAT, action);
        assert_eq!((beats.len(), entry.heartbeats), (1, 1), "the overdue one");
        let completions = about(&corner, COMPLETE, action);
        assert_eq!(completions.len(), 1, "{completions:?}");
        assert!(completions[0].time >= gone, "not before the pod had gone");
        for call in beats.iter().chain(&completions) {
            assert_eq!(call.params["InstanceId"], node.instance_id.as_str());
            assert!(call.params["LifecycleActionToken"].is_null());
        }
        let state = corner.world.aws.action_state(&action.token);
        let ours = matches!(
            state,
            Some(ActionState::Ended {
                by: EndedBy::Completion,
                ..
            })
        );
        assert!(ours, "{state:?}");
    }
    assert!(says(&incident, "LifecycleCompleted", true, "Completed"));
    assert_eq!(looked_up(&corner, node), 1);
}

#[tokio::test]
async fn a_hook_that_the_queue_names_too_is_completed_once_and_the_other_one_as_well() {
    let corner = Corner::new("twofold", 1, json!({})).await;
    corner.put_hook("drain", 300);
    corner.put_hook("logs", 300);
    let node = &corner.nodes[0];
    let slow = PodOptions::default().gone_after(Duration::from_secs(2));
    corner.make_pods(node, 1, slow).await;
    let actions = terminate(&corner, node);
    let notice = ago(0);
    hear(&corner, node, &told(notice)).await;
    corner
        .await_incident(&node.instance_id, |i| {
            status(i).lifecycle_actions.len() == 2
        })
        .await;
    // The queue tells of one of them, late.
    let event = events::terminate_lifecycle(&actions[0], notice);
    corner.queue.send(event).unwrap();
    let incident = corner
        .await_incident(&node.instance_id, |i| {
            i.spec.signals.len() == 2 && status(i).phase == Some(Phase::Released)
        })
        .await;
    for action in &actions {
        let calls = about(&corner, COMPLETE, action);
        assert_eq!(calls.len(), 1, "{calls:?}");
        assert!(calls[0].outcome.is_ok());
    }
    let entries = status(&incident).lifecycle_actions;
    assert!(entries.iter().all(|a| a.state.is_over()), "{entries:?}");
}

/// Drains, says why the hook is not completed, and leaves it alone.
async fn drains_and_says(corner: &Corner, node: &TestNode, reason: &str) -> NodeTermination {
    let pods = corner.make_pods(node, 1, PodOptions::default()).await;
    hear(corner, node, &told(ago(0))).await;
    corner.await_gone(&pods).await;
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    assert_eq!(status(&incident).outcome, Some(Outcome::Drained));
    assert!(
        says(&incident, "LifecycleCompleted", false, reason),
        "{incident:?}"
    );
    assert!(
        says(&incident, "HookTimeoutUnknown", true, reason),
        "{incident:?}"
    );
    assert!(status(&incident).lifecycle_actions.is_empty());
    for operation in [COMPLETE, BEAT] {
        assert!(corner.calls(operation).is_empty(), "{operation}");
    }
    incident
}

#[tokio::test]
async fn a_policy_without_a_queue_drains_and_says_that_the_hook_is_not_ours() {
    let corner = Corner::without_policy("imds-only", 1).await;
    corner
        .apply_policy(json!({"sources": [{"name": "metadata", "imds": {}}]}))
        .await;
    let known = |p: &node_termination_operator::api::policy::TerminationPolicy| {
        p.status.as_ref().is_some_and(|s| s.matched_nodes == 1)
    };
    corner.await_policy(known).await;
    corner.put_hook("drain", 300);
    let node = &corner.nodes[0];
    let action = terminate(&corner, node).remove(0);
    drains_and_says(&corner, node, "NotOurs").await;
    assert!(still_waits(&corner, &action));
    assert_eq!(looked_up(&corner, node), 0);
}

#[tokio::test]
async fn a_lookup_that_is_denied_holds_nothing_up_and_is_told() {
    let corner = Corner::new("unfindable", 1, json!({})).await;
    corner.put_hook("drain", 300);
    let node = &corner.nodes[0];
    let fault = Fault::new("DescribeLifecycleHooks", FaultKind::AccessDenied);
    let _denied = corner.world.aws.inject(fault.on_group(&corner.name));
    let action = terminate(&corner, node).remove(0);
    drains_and_says(&corner, node, "CallFailed").await;
    assert!(still_waits(&corner, &action));
}

#[tokio::test]
async fn an_instance_that_no_group_in_reach_has_is_drained_and_its_hook_not_ours() {
    let corner = Corner::new("foreign", 1, json!({})).await;
    let node = &corner.nodes[0];
    drains_and_says(&corner, node, "NotOurs").await;
    assert_eq!(looked_up(&corner, node), 1);
}

#[tokio::test]
async fn a_lookup_that_fails_for_a_while_is_tried_again_and_the_hook_completed() {
    let corner = Corner::new("throttled", 1, json!({})).await;
    corner.put_hook("drain", 300);
    let node = &corner.nodes[0];
    let fault = Fault::new("DescribeLifecycleHooks", FaultKind::Throttling);
    let throttled = corner.world.aws.inject(fault.on_group(&corner.name));
    let action = terminate(&corner, node).remove(0);
    let pods = corner.make_pods(node, 1, PodOptions::default()).await;
    hear(&corner, node, &told(ago(0))).await;
    corner.await_gone(&pods).await;
    corner
        .await_incident(&node.instance_id, |i| {
            let releasing = status(i).phase == Some(Phase::Releasing);
            releasing && says(i, "LifecycleCompleted", false, "CallFailed")
        })
        .await;
    assert!(still_waits(&corner, &action));
    drop(throttled);
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    assert_eq!(
        status(&incident).lifecycle_actions[0].state,
        LifecycleActionState::Completed
    );
    assert!(!still_waits(&corner, &action));
}
