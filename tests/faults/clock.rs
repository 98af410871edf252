//! The replicas' own clocks are wrong, in both directions, or are set.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use node_termination_operator::api::termination::{Outcome, Phase};
use serde_json::json;
use testbed::cluster::TestNode;
use testbed::{Operator, SetClock, Skew};
use tokio::time::{Instant, sleep};

use crate::stage::{Stage, status};

/// More than a spot notice gives, and more than what AWS lets a signature be old.
const OFF: SignedDuration = SignedDuration::from_mins(20);

#[tokio::test]
async fn deadlines_are_met_though_the_clocks_of_both_replicas_are_wrong() {
    let skews = [OFF, -OFF].map(|off| Skew::new(off).unwrap());
    let stage = Stage::skewed(json!({}), [Some(&skews[0]), Some(&skews[1])]).await;
    assert!((skew(&stage.first).await - 1200.0).abs() < 2.0);
    assert!((skew(&stage.second).await + 1200.0).abs() < 2.0);

    // A clock that is ahead takes a notice's time for over.
    let (node, other) = (&stage.nodes[0], &stage.nodes[1]);
    let pods = blocked(&stage, node).await;
    stage.unblock().await;
    stage.await_gone(&pods).await;
    let drained = stage.await_phase(node, Phase::Released).await;
    assert_eq!(drained.outcome, Some(Outcome::Drained));
    assert_eq!(drained.pods.unwrap().forced, 0);
    let late = drained
        .started_at
        .unwrap()
        .0
        .duration_since(Timestamp::now());
    assert!(late.abs() < SignedDuration::from_mins(1), "{late:#}");

    // One that is behind takes it for far off.
    stage.kill_first();
    stage.await_second(Instant::now()).await;
    let pods = stage.blocked_pods(other, 1).await;
    let noticed = Timestamp::now() - SignedDuration::from_secs(75);
    stage.interrupt_at(other, noticed);
    stage.await_gone(&pods).await;
    let gone = Timestamp::now().duration_since(noticed);
    assert!(gone < SignedDuration::from_secs(120), "{gone:#}");
    let drained = stage.await_phase(other, Phase::Released).await;
    assert_eq!(drained.outcome, Some(Outcome::Drained));
    assert_eq!(drained.pods.unwrap().forced, 1);
    stage.await_empty_queue().await;
}

#[tokio::test]
async fn to_set_the_leaders_clock_right_or_wrong_ends_no_drain_and_forces_no_pod() {
    let clock = SetClock::new(-OFF).unwrap();
    let stage = Stage::skewed(json!({}), [Some(clock.skew()), None]).await;
    let node = &stage.nodes[0];
    let pods = blocked(&stage, node).await;
    // It is repaired, then set wrong: both are steps forward, far beyond the deadline of whoever takes them for time
    // that has passed. Only the answers of the next seconds tell of a step.
    for ahead in [SignedDuration::ZERO, OFF] {
        clock.set(ahead).unwrap();
        notice(&stage, &pods[0], ahead).await;
    }
    stage.unblock().await;
    stage.await_gone(&pods).await;
    let drained = stage.await_phase(node, Phase::Released).await;
    assert_eq!(drained.outcome, Some(Outcome::Drained));
    assert_eq!(drained.pods.unwrap().forced, 0);
}

/// A spot notice for the node, of whose one pod it is on record that a budget blocks it.
async fn blocked(stage: &Stage, node: &TestNode) -> Vec<Pod> {
    let pods = stage.blocked_pods(node, 1).await;
    stage.interrupt(node);
    let blocked = |i: &_| status(i).blocked.len() == 1;
    stage
        .await_incident(node, "the pod is blocked", blocked)
        .await;
    pods
}

/// Waits until the leader has noticed how far its clock is ahead. The pod changes all the while, so that passes run.
async fn notice(stage: &Stage, pod: &Pod, ahead: SignedDuration) {
    let pods = Api::<Pod>::namespaced(stage.client.clone(), &stage.namespace);
    let until = Instant::now() + Duration::from_secs(30);
    for turn in 0.. {
        let label = json!({"metadata": {"labels": {"turn": turn.to_string()}}});
        let patch = Patch::Merge(label);
        pods.patch(&pod.name_any(), &PatchParams::default(), &patch)
            .await
            .unwrap();
        if (skew(&stage.first).await - ahead.as_secs_f64()).abs() < 2.0 {
            return;
        }
        assert!(Instant::now() < until, "no answer has told of it");
        sleep(Duration::from_millis(200)).await;
    }
}

/// How far the replica finds its clock to be ahead, in seconds.
async fn skew(replica: &Operator) -> f64 {
    let name = "node_termination_operator_clock_skew_seconds";
    replica.metric(name, &[]).await.unwrap()
}
