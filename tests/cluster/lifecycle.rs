//! Auto Scaling lifecycle hooks: kept alive, completed once, and never forgotten.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use node_termination_operator::api::termination::{
    LifecycleActionState, NodeTermination, Outcome, Phase,
};
use serde_json::json;
use testbed::aws::{
    ActionState, Call, EndedBy, Fault, FaultKind, LifecycleAction, LifecycleResult, REGION, events,
};
use testbed::cluster::{PodOptions, delete_node};

use crate::scene::{Corner, is_cordoned, says, status};

const BEAT: &str = "RecordLifecycleActionHeartbeat";
const COMPLETE: &str = "CompleteLifecycleAction";

fn ago(seconds: i64) -> Timestamp {
    // Events carry whole seconds.
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    now - SignedDuration::from_secs(seconds)
}

fn is_about(call: &Call, action: &LifecycleAction) -> bool {
    call.params["LifecycleActionToken"] == action.token.as_str()
}

fn completions(corner: &Corner, action: &LifecycleAction) -> Vec<Call> {
    let calls = corner.calls(COMPLETE).into_iter();
    calls.filter(|c| is_about(c, action)).collect()
}

fn states(incident: &NodeTermination) -> Vec<LifecycleActionState> {
    let actions = status(incident).lifecycle_actions;
    actions.iter().map(|a| a.state).collect()
}

#[tokio::test]
async fn a_hook_is_kept_alive_on_the_grid_and_completed_once_with_its_token_after_the_drain() {
    let heartbeat = json!({"intervalSeconds": 30, "untilSeconds": 600});
    let corner = Corner::new("beats", 1, json!({"lifecycle": {"heartbeat": heartbeat}})).await;
    corner.put_hook("drain", 300);
    let node = &corner.nodes[0];
    let slow = PodOptions::default().gone_after(Duration::from_secs(12));
    let pods = corner.make_pods(node, 1, slow).await;
    // The first beat is overdue, the second comes in five seconds.
    let notice = ago(55);
    let action = corner.scale_in(node, notice).remove(0);
    let second = notice + SignedDuration::from_secs(60);
    let beat = corner
        .await_call(BEAT, |c| is_about(c, &action) && c.time >= second)
        .await;
    assert!(
        beat.time < second + SignedDuration::from_secs(15),
        "{beat:?}"
    );
    let early = corner.calls(BEAT).into_iter().filter(|c| c.time < second);
    assert_eq!(early.count(), 1, "one for the time before");
    corner.await_gone(&pods).await;
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    assert_eq!(states(&incident), [LifecycleActionState::Completed]);
    assert_eq!(status(&incident).lifecycle_actions[0].heartbeats, 2);
    let completions = completions(&corner, &action);
    assert_eq!(completions.len(), 1, "{completions:?}");
    assert_eq!(completions[0].params["LifecycleActionResult"], "CONTINUE");
    let gone = corner.evictions()[0].time + SignedDuration::from_secs(12);
    assert!(completions[0].time >= gone, "not before the pods had gone");
}

#[tokio::test]
async fn a_spot_notice_and_a_hook_are_one_incident_and_each_keeps_its_duty() {
    let corner = Corner::new("both", 1, json!({})).await;
    corner.put_hook("drain", 3600);
    let node = &corner.nodes[0];
    let pods = corner.make_pods(node, 2, PodOptions::default()).await;
    let notice = ago(0);
    corner.interrupt_at(node, notice);
    let action = corner.scale_in(node, notice).remove(0);
    corner.await_gone(&pods).await;
    let incident = corner
        .await_incident(&node.instance_id, |i| {
            i.spec.signals.len() == 2 && status(i).phase == Some(Phase::Released)
        })
        .await;
    assert_eq!(states(&incident), [LifecycleActionState::Completed]);
    let spot = notice + SignedDuration::from_secs(120);
    assert_eq!(
        status(&incident).deadline.unwrap().0,
        spot,
        "the earlier of the two"
    );
    assert_eq!(completions(&corner, &action).len(), 1);
    let second = format!("{}-2", node.instance_id);
    assert!(corner.incident(&second).await.is_none());
    assert_eq!(corner.evictions().len(), 2, "one drain");
}

#[tokio::test]
async fn two_hooks_on_one_instance_are_both_completed() {
    let corner = Corner::new("hooks", 1, json!({})).await;
    corner.put_hook("drain", 300);
    corner.put_hook("logs", 600);
    let node = &corner.nodes[0];
    let actions = corner.scale_in(node, ago(0));
    assert_eq!(actions.len(), 2);
    let incident = corner
        .await_incident(&node.instance_id, |i| {
            states(i) == [LifecycleActionState::Completed; 2]
        })
        .await;
    assert_eq!(incident.spec.signals.len(), 2);
    for action in &actions {
        let calls = completions(&corner, action);
        assert_eq!(calls.len(), 1);
        assert_eq!(calls[0].params["LifecycleHookName"], action.hook.as_str());
    }
}

#[tokio::test]
async fn a_hook_that_somebody_else_has_completed_is_recorded_as_already_done() {
    let corner = Corner::new("done", 1, json!({})).await;
    corner.put_hook("drain", 300);
    let node = &corner.nodes[0];
    // Auto Scaling gave out this token once and has forgotten it.
    let action = LifecycleAction {
        group: corner.name.clone(),
        hook: "drain".to_owned(),
        instance_id: node.instance_id.clone(),
        token: "5f3c1f8e-9c1b-4b64-9d7a-0c6f3a7b2e11".to_owned(),
    };
    corner
        .queue
        .send(events::terminate_lifecycle(&action, ago(0)))
        .unwrap();
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    assert_eq!(states(&incident), [LifecycleActionState::AlreadyDone]);
    assert_eq!(status(&incident).outcome, Some(Outcome::Drained));
    assert_eq!(completions(&corner, &action).len(), 1, "it is not repeated");
}

#[tokio::test]
async fn a_drain_that_fails_abandons_the_hook_if_the_policy_says_so() {
    let settings =
        json!({"lifecycle": {"onDrainFailure": "Abandon"}, "drain": {"deadlineMarginSeconds": 0}});
    let corner = Corner::new("abandon", 1, settings).await;
    corner.put_hook("drain", 300);
    let node = &corner.nodes[0];
    corner
        .make_pods(node, 1, PodOptions::default().stuck())
        .await;
    let action = corner.scale_in(node, ago(292)).remove(0);
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    assert_eq!(status(&incident).outcome, Some(Outcome::DrainIncomplete));
    let state = corner.world.aws.action_state(&action.token);
    let abandoned = LifecycleResult::Abandon;
    assert!(
        matches!(state, Some(ActionState::Ended { result, by: EndedBy::Completion, .. }) if result == abandoned),
        "{state:?}"
    );
    delete_node(&corner.client, &node.name).await.unwrap();
    corner.await_phase(&node.instance_id, Phase::Failed).await;
}

#[tokio::test]
async fn the_completion_waits_for_the_delay_that_the_policy_asks_for() {
    let settings = json!({"lifecycle": {"completionDelaySeconds": 4}});
    let corner = Corner::new("delay", 1, settings).await;
    corner.put_hook("drain", 300);
    let node = &corner.nodes[0];
    let action = corner.scale_in(node, ago(0)).remove(0);
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    let drained = status(&incident).drained_at.unwrap().0;
    let calls = completions(&corner, &action);
    assert!(calls[0].time >= drained + SignedDuration::from_secs(4));
}

#[tokio::test]
async fn a_completion_that_fails_is_told_and_tried_again_until_it_is_done_once() {
    let corner = Corner::new("denied", 1, json!({})).await;
    corner.put_hook("drain", 300);
    let node = &corner.nodes[0];
    let fault = |kind| {
        corner
            .world
            .aws
            .inject(Fault::new(COMPLETE, kind).on_group(&corner.name))
    };
    let throttling = fault(FaultKind::Throttling);
    let action = corner.scale_in(node, ago(0)).remove(0);
    let message_has = |i: &NodeTermination, word: &str| {
        let message = status(i).lifecycle_actions[0].message.clone();
        message.is_some_and(|m| m.contains(word))
    };
    corner
        .await_incident(&node.instance_id, |i| {
            says(i, "LifecycleCompleted", false, "CallFailed") && message_has(i, "Throttled")
        })
        .await;
    let denied = fault(FaultKind::AccessDenied);
    drop(throttling);
    corner
        .await_incident(&node.instance_id, |i| {
            says(i, "LifecycleCompleted", false, "CallFailed") && message_has(i, "AccessDenied")
        })
        .await;
    drop(denied);
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    assert_eq!(states(&incident), [LifecycleActionState::Completed]);
    let calls = completions(&corner, &action);
    assert_eq!(
        calls.iter().filter(|c| c.outcome.is_ok()).count(),
        1,
        "{calls:?}"
    );
}

#[tokio::test]
async fn a_hook_that_can_not_be_described_is_told_and_the_drain_goes_by_the_policys_own_time() {
    let settings = json!({"drain": {"timeoutSeconds": 77}});
    let corner = Corner::new("undescribed", 1, settings).await;
    corner.put_hook("drain", 300);
    let node = &corner.nodes[0];
    let fault = Fault::new("DescribeLifecycleHooks", FaultKind::AccessDenied);
    let _denied = corner.world.aws.inject(fault.on_group(&corner.name));
    let pods = corner.make_pods(node, 1, PodOptions::default()).await;
    corner.scale_in(node, ago(60));
    corner.await_gone(&pods).await;
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    assert!(
        says(&incident, "HookTimeoutUnknown", true, "CallFailed"),
        "{incident:?}"
    );
    // A guess begins with the work: a notice that comes late must not end the drain before it begins.
    let (deadline, begun) = (status(&incident).deadline, status(&incident).started_at);
    let guessed = begun.unwrap().0 + SignedDuration::from_secs(77);
    assert_eq!(deadline.unwrap().0, guessed);
    assert_eq!(states(&incident), [LifecycleActionState::Completed]);
}

#[tokio::test]
async fn a_sources_role_is_assumed_for_its_queue_and_for_the_hooks_it_tells_of() {
    let corner = Corner::without_policy("role", 1).await;
    let role = format!("arn:aws:iam::123456789012:role/{}", corner.name);
    corner.world.aws.demand_external_id(&role, "our-secret");
    let sqs = json!({"queueURL": corner.queue.url(), "region": REGION, "roleARN": role, "externalID": "our-secret"});
    let heartbeat = json!({"intervalSeconds": 30, "untilSeconds": 600});
    let settings =
        json!({"sources": [{"name": "events", "sqs": sqs}], "lifecycle": {"heartbeat": heartbeat}});
    corner.apply_policy(settings).await;
    corner.await_polling().await;
    corner.put_hook("drain", 300);
    let node = &corner.nodes[0];
    corner.scale_in(node, ago(31));
    corner.await_node(node, is_cordoned).await;
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    assert_eq!(states(&incident), [LifecycleActionState::Completed]);
    for operation in [
        "ReceiveMessage",
        "DeleteMessageBatch",
        "DescribeLifecycleHooks",
        BEAT,
        COMPLETE,
    ] {
        let calls = corner.calls(operation);
        assert!(!calls.is_empty(), "{operation}");
        for call in calls {
            assert_eq!(
                call.role_arn.as_deref(),
                Some(role.as_str()),
                "{operation} {call:?}"
            );
            assert_eq!(
                call.external_id.as_deref(),
                Some("our-secret"),
                "{operation}"
            );
        }
    }
}
