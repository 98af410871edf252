//! The replicas' own clocks are wrong, in both directions.

use jiff::{SignedDuration, Timestamp};
use node_termination_operator::api::termination::{Outcome, Phase};
use serde_json::json;
use testbed::Operator;
use tokio::time::Instant;

use crate::stage::{Stage, status};

/// More than a spot notice gives, and more than what AWS lets a signature be old.
const OFF: SignedDuration = SignedDuration::from_mins(20);

#[tokio::test]
async fn deadlines_are_met_though_the_clocks_of_both_replicas_are_wrong() {
    let stage = Stage::skewed(json!({}), [OFF, -OFF]).await;
    assert!((skew(&stage.first).await - 1200.0).abs() < 2.0);
    assert!((skew(&stage.second).await + 1200.0).abs() < 2.0);

    // A clock that is ahead takes a notice's time for over.
    let (node, other) = (&stage.nodes[0], &stage.nodes[1]);
    let pods = stage.blocked_pods(node, 1).await;
    stage.interrupt(node);
    let blocked = |i: &_| status(i).blocked.len() == 1;
    stage
        .await_incident(node, "the pod is blocked", blocked)
        .await;
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

/// How far the replica finds its clock to be ahead, in seconds.
async fn skew(replica: &Operator) -> f64 {
    let name = "node_termination_operator_clock_skew_seconds";
    replica.metric(name, &[]).await.unwrap()
}
