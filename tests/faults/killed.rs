//! The leader is killed with SIGKILL, in every phase of an incident: the next one finishes what it began.

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, ResourceExt};
use node_termination_operator::api::termination::{LifecycleActionState, Outcome, Phase};
use serde_json::json;
use testbed::aws::{ActionState, Call, Fault, FaultKind, LifecycleAction};
use testbed::cluster::{PodOptions, TestNode};
use tokio::time::Instant;

use crate::stage::{FAILOVER_MARGIN, LEASE, Stage, is_cordoned, status};

/// A message that a killed leader had received is visible again 15 s later, and recorded soon after.
const RECEIVED_TWICE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_notice_that_the_killed_leader_had_received_and_not_recorded_is_cordoned_within_twenty_seconds()
 {
    let stage = Stage::new(json!({})).await;
    let node = &stage.nodes[0];
    // A frozen process has polls open: it is given the message, and never looks at it.
    stage.aws.forget_calls();
    stage.first.process().freeze().unwrap();
    stage.interrupt(node);
    let received = |c: &Call| c.operation == "ReceiveMessage" && c.outcome.is_ok();
    stage.await_call("the message is received", received).await;
    assert_eq!(stage.queue.depth().in_flight, 1);

    let killed = stage.kill_first();
    stage.await_second(killed).await;
    stage.await_cordoned(node).await;
    let took = killed.elapsed();
    println!("cordoned {took:.1?} after the kill");
    assert!(took <= RECEIVED_TWICE, "{took:?}");
    stage.await_phase(node, Phase::Released).await;
    stage.await_empty_queue().await;
}

#[tokio::test]
async fn a_message_that_was_recorded_and_not_deleted_when_the_leader_was_killed_comes_back_and_changes_nothing()
 {
    let stage = Stage::new(json!({})).await;
    let node = &stage.nodes[0];
    let frozen = FaultKind::TimeOut(Duration::from_mins(1));
    let fault = stage.aws.inject(Fault::new("DeleteMessageBatch", frozen));
    stage.interrupt(node);
    stage.await_struck("DeleteMessageBatch", &fault).await;

    let killed = stage.kill_first();
    drop(fault);
    stage.await_second(killed).await;
    assert_eq!(stage.queue.depth().total(), 1);
    stage.aws.advance(Duration::from_secs(15));
    stage.await_empty_queue().await;
    let recorded = |i: &_| status(i).phase == Some(Phase::Released);
    let incident = stage.await_incident(node, "it is released", recorded).await;
    assert_eq!(incident.spec.signals.len(), 1);
    assert_eq!(stage.end(node).await.outcome, Some(Outcome::Drained));
}

#[tokio::test]
async fn a_notice_that_was_recorded_and_not_cordoned_when_the_leader_was_killed_is_cordoned_by_the_next()
 {
    let stage = Stage::new(json!({})).await;
    let node = &stage.nodes[0];
    let pods = stage.pods(node, 2, &PodOptions::default()).await;
    stage.may("patch", "nodes", false).await;
    stage.interrupt(node);
    stage.await_incident(node, "it is recorded", |_| true).await;
    stage.await_empty_queue().await;
    assert!(!is_cordoned(&stage.node(node).await));

    let killed = stage.kill_first();
    stage.may("patch", "nodes", true).await;
    stage.await_cordoned(node).await;
    let took = killed.elapsed();
    println!("cordoned {took:.1?} after the kill");
    assert!(took <= LEASE + FAILOVER_MARGIN, "{took:?}");
    stage.await_gone(&pods).await;
    stage.await_phase(node, Phase::Released).await;
}

#[tokio::test]
async fn a_drain_whose_leader_was_killed_goes_on_and_a_notice_sent_right_after_the_kill_is_not_late()
 {
    let stage = Stage::new(json!({})).await;
    let (node, other) = (&stage.nodes[0], &stage.nodes[1]);
    let pods = stage.blocked_pods(node, 2).await;
    stage.interrupt(node);
    stage.await_cordoned(node).await;
    stage
        .await_incident(node, "both pods are blocked", |i| {
            status(i).blocked.len() == 2
        })
        .await;

    stage.aws.forget_calls();
    let killed = stage.kill_first();
    stage.await_polls_given_up().await;
    stage.interrupt(other);
    stage.await_cordoned(other).await;
    let took = killed.elapsed();
    println!("cordoned {took:.1?} after the kill");
    assert!(took <= LEASE + FAILOVER_MARGIN, "{took:?}");
    stage.unblock().await;
    stage.await_gone(&pods).await;
    let drained = stage.await_phase(node, Phase::Released).await;
    assert_eq!(drained.outcome, Some(Outcome::Drained));
    assert_eq!(drained.pods.unwrap().summary, "2/2");
    stage.await_phase(other, Phase::Released).await;
    stage.await_empty_queue().await;
}

#[tokio::test]
async fn no_pod_is_evicted_twice_though_the_leader_was_killed_mid_drain_nor_is_one_that_took_a_name_over()
 {
    let stage = Stage::new(json!({})).await;
    let (node, other) = (&stage.nodes[0], &stage.nodes[1]);
    let slow = PodOptions::default().gone_after(Duration::from_secs(12));
    let slow = stage.pods(node, 3, &slow).await;
    let quick = stage.pods(node, 1, &PodOptions::default()).await;
    stage.interrupt(node);
    stage.await_gone(&quick).await;
    stage.await_terminating(&slow).await;
    // As a StatefulSet does: the same name, on another node, as soon as it is free.
    let successor = succeed(&stage, &quick[0], other).await;

    let killed = stage.kill_first();
    stage.await_second(killed).await;
    stage.await_gone(&slow).await;
    let drained = stage.await_phase(node, Phase::Released).await;
    assert_eq!(drained.outcome, Some(Outcome::Drained));
    assert_eq!(drained.pods.unwrap().summary, "4/4");
    for pod in quick.iter().chain(&slow) {
        assert_eq!(stage.evictions(&pod.name_any()), 1, "{}", pod.name_any());
    }
    let pods = Api::<Pod>::namespaced(stage.client.clone(), &stage.namespace);
    let now = pods.get(&successor.name_any()).await.unwrap();
    assert_eq!(now.uid(), successor.uid());
    assert_eq!(now.metadata.deletion_timestamp, None);
}

/// Creates the pod again, on another node.
async fn succeed(stage: &Stage, pod: &Pod, node: &TestNode) -> Pod {
    let mut spec = pod.spec.clone().unwrap();
    spec.node_name = Some(node.name.clone());
    let successor = Pod {
        metadata: ObjectMeta {
            name: pod.metadata.name.clone(),
            labels: pod.metadata.labels.clone(),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    };
    let api = Api::<Pod>::namespaced(stage.client.clone(), &stage.namespace);
    api.create(&PostParams::default(), &successor)
        .await
        .unwrap()
}

#[tokio::test]
async fn heartbeats_stay_on_their_grid_though_the_leader_was_killed_between_two_of_them() {
    let stage = Stage::new(json!({"lifecycle": {"heartbeat": {"intervalSeconds": 30}}})).await;
    let node = &stage.nodes[0];
    stage.blocked_pods(node, 1).await;
    // The first is overdue and comes at once; the second is due in three seconds, while nobody leads.
    let (action, noticed) = stage.scale_in(node, SignedDuration::from_secs(57));
    await_heartbeats(&stage, &action, 1).await;
    let due = noticed + SignedDuration::from_secs(60);
    let planned = |i: &_| next_heartbeat(i) == Some(due);
    stage.await_incident(node, "it is planned", planned).await;

    let killed = stage.kill_first();
    let failover = stage.await_second(killed).await;
    let second = await_heartbeats(&stage, &action, 2).await;
    let late = second.duration_since(due);
    println!("the heartbeat after the kill was {late:#} late");
    assert!(late >= SignedDuration::ZERO, "{late:#} early");
    assert!(late <= SignedDuration::try_from(failover + Duration::from_secs(2)).unwrap());
    let third = noticed + SignedDuration::from_secs(90);
    let planned = |i: &_| next_heartbeat(i) == Some(third);
    stage
        .await_incident(node, "the third is due", planned)
        .await;

    stage.unblock().await;
    stage.await_completed(&action).await;
    let released = stage.await_phase(node, Phase::Released).await;
    assert_eq!(released.lifecycle_actions[0].heartbeats, 2);
    stage.await_empty_queue().await;
}

fn next_heartbeat(
    incident: &node_termination_operator::api::termination::NodeTermination,
) -> Option<jiff::Timestamp> {
    let status = status(incident);
    let action = status.lifecycle_actions.first()?;
    Some(action.next_heartbeat_time.as_ref()?.0)
}

/// Waits until the action has had so many heartbeats; tells when the last of them came.
async fn await_heartbeats(stage: &Stage, action: &LifecycleAction, wanted: u32) -> jiff::Timestamp {
    let came = |_: &Call| {
        let now = stage.aws.action_state(&action.token);
        matches!(now, Some(ActionState::Waiting { heartbeats, .. }) if heartbeats >= wanted)
    };
    stage.await_call("a heartbeat comes", came).await;
    let calls = stage.aws.calls();
    let mut beats = calls
        .iter()
        .filter(|c| c.operation == "RecordLifecycleActionHeartbeat");
    beats.next_back().unwrap().time
}

#[tokio::test]
async fn a_lifecycle_action_whose_completion_failed_until_the_leader_was_killed_is_completed_by_the_next()
 {
    let stage = Stage::new(json!({})).await;
    let node = &stage.nodes[0];
    let operation = "CompleteLifecycleAction";
    let fault = Fault::new(operation, FaultKind::InternalError);
    let fault = stage.aws.inject(fault);
    let (action, _) = stage.scale_in(node, SignedDuration::ZERO);
    stage.await_struck(operation, &fault).await;
    stage.await_phase(node, Phase::Releasing).await;

    let killed = stage.kill_first();
    drop(fault);
    stage.await_second(killed).await;
    stage.await_completed(&action).await;
    let released = stage.await_phase(node, Phase::Released).await;
    let [ended] = released.lifecycle_actions.as_slice() else {
        panic!("{:?}", released.lifecycle_actions)
    };
    assert_eq!(ended.state, LifecycleActionState::Completed);
    assert_eq!(stage.end(node).await.outcome, Some(Outcome::Drained));
}

#[tokio::test]
async fn a_lifecycle_action_that_was_completed_in_the_killed_leaders_last_moment_is_not_completed_again()
 {
    let stage = Stage::new(json!({})).await;
    let node = &stage.nodes[0];
    let operation = "CompleteLifecycleAction";
    let fault = stage
        .aws
        .inject(Fault::new(operation, FaultKind::LostReply).times(1));
    let (action, _) = stage.scale_in(node, SignedDuration::ZERO);
    stage.await_struck(operation, &fault).await;

    let killed = stage.kill_first();
    stage.await_second(killed).await;
    let released = stage.await_phase(node, Phase::Released).await;
    stage.await_completed(&action).await;
    let [ended] = released.lifecycle_actions.as_slice() else {
        panic!("{:?}", released.lifecycle_actions)
    };
    assert_eq!(ended.state, LifecycleActionState::AlreadyDone);
    assert_eq!(stage.end(node).await.outcome, Some(Outcome::Drained));
    stage.await_empty_queue().await;
}

#[tokio::test]
async fn an_incident_that_was_released_when_the_leader_was_killed_is_completed_by_the_next() {
    let stage = Stage::new(json!({})).await;
    let node = &stage.nodes[0];
    let pods = stage.pods(node, 2, &PodOptions::default()).await;
    stage.interrupt(node);
    let released = stage.await_phase(node, Phase::Released).await;

    let killed = Instant::now();
    stage.first.kill();
    let completed = stage.end(node).await;
    println!("completed {:.1?} after the kill", killed.elapsed());
    assert_eq!(completed.outcome, Some(Outcome::Drained));
    assert_eq!(completed.released_at, released.released_at);
    assert_eq!(completed.pods.unwrap().summary, "2/2");
    for pod in &pods {
        assert_eq!(stage.evictions(&pod.name_any()), 1);
    }
}
