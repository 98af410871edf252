//! Two replicas: one acts, and leadership goes over without a gap and without an overlap.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use node_termination_operator::api::termination::{Outcome, Phase};
use serde_json::json;
use testbed::cluster::{PodOptions, await_object};
use testbed::{Operator, operator};
use tokio::time::Instant;

use crate::stage::{LEASE, Stage};

/// How long a process may take to end after SIGTERM.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// How long a clean hand-over may take.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(2);
/// How long a process may take to see that its lease is over.
const SEES_WITHIN: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_leader_that_is_asked_to_end_hands_over_at_once_and_the_drain_goes_on() {
    let stage = Stage::new(json!({})).await;
    let node = &stage.nodes[0];
    let slow = PodOptions::default().gone_after(Duration::from_secs(8));
    let slow = stage.pods(node, 2, &slow).await;
    let blocked = stage.blocked_pods(node, 2).await;
    stage.interrupt(node);
    stage.await_terminating(&slow).await;

    let asked = Instant::now();
    let (ended, took) = tokio::join!(
        stage.first.terminate(ENDS_WITHIN),
        stage.await_second(asked)
    );
    println!("ended {:.1?} after SIGTERM", asked.elapsed());
    assert!(ended.unwrap().success());
    let logs = stage.first.process().logs();
    assert!(logs.contains("lease released"), "{logs}");
    assert!(took <= HANDED_OVER_WITHIN, "{took:?}");
    stage.unblock().await;
    stage.await_gone(&blocked).await;
    stage.await_gone(&slow).await;
    let drained = stage.await_phase(node, Phase::Released).await;
    assert_eq!(drained.outcome, Some(Outcome::Drained));
    assert_eq!(drained.pods.unwrap().summary, "4/4");
    stage.await_empty_queue().await;
}

#[tokio::test]
async fn a_leader_that_was_frozen_for_longer_than_its_lease_acts_no_more_when_it_wakes_up() {
    let stage = Stage::new(json!({})).await;
    let (node, other) = (&stage.nodes[0], &stage.nodes[1]);
    let blocked = stage.blocked_pods(node, 2).await;
    stage.interrupt(node);
    stage.await_cordoned(node).await;
    stage.await_empty_queue().await;
    assert!(stage.first.leads().await && !stage.second.leads().await);

    stage.first.process().freeze().unwrap();
    let frozen = Instant::now();
    let took = stage.await_second(frozen).await;
    assert!(took > LEASE * 4 / 5, "the lease was held until {took:?}");
    stage.unblock().await;
    stage.await_gone(&blocked).await;
    stage.first.process().thaw().unwrap();
    let thawed = Instant::now();
    let follows = "node_termination_operator_leader 0";
    let follows = stage
        .first
        .await_answer("/metrics", |_, body| body.lines().any(|l| l == follows));
    stage.within("the first follows", follows).await;
    println!("it follows {:.1?} after it woke up", thawed.elapsed());
    assert!(thawed.elapsed() <= SEES_WITHIN);

    // What comes now is the second's alone.
    let pods = stage.pods(other, 3, &PodOptions::default()).await;
    stage.interrupt(other);
    stage.await_gone(&pods).await;
    stage.await_phase(other, Phase::Released).await;
    stage.await_phase(node, Phase::Released).await;
    stage.await_empty_queue().await;
    assert!(!stage.first.leads().await && stage.second.leads().await);
    assert_eq!(evictions(&stage.first).await, 0);
    assert_eq!(evictions(&stage.second).await, 5);
}

#[tokio::test]
async fn before_the_leaders_own_pod_goes_another_replica_leads_and_it_evicts_that_pod() {
    let stage = Stage::new(json!({})).await;
    let node = &stage.nodes[0];
    // As the Deployment would make it: the replica's identity is its pod's name.
    let safe = json!({
        "allowPrivilegeEscalation": false, "runAsNonRoot": true,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
    });
    let own: Pod = serde_json::from_value(json!({
        "metadata": {"name": stage.first.identity()},
        "spec": {"nodeName": node.name, "containers": [
            {"name": "main", "image": "example.invalid/none", "securityContext": safe},
        ]},
    }))
    .unwrap();
    let home = Api::<Pod>::namespaced(stage.client.clone(), operator::NAME);
    home.create(&PostParams::default(), &own).await.unwrap();
    let pods = stage.pods(node, 2, &PodOptions::default()).await;
    stage.interrupt(node);
    stage.await_gone(&pods).await;
    let gone = await_object(home, stage.first.identity(), |p| p.is_none());
    stage.within("the own pod goes", gone).await;
    assert!(!stage.first.leads().await && stage.second.leads().await);
    let drained = stage.await_phase(node, Phase::Released).await;
    assert_eq!(drained.outcome, Some(Outcome::Drained));
    assert_eq!(drained.pods.unwrap().summary, "3/3");
    let logs = stage.first.process().logs();
    assert!(logs.contains("handed over") && logs.contains("lease released"));
    assert_eq!(evictions(&stage.first).await, 2);
    assert_eq!(evictions(&stage.second).await, 1);
}

/// How many pods the replica has told to end.
async fn evictions(replica: &Operator) -> usize {
    let name = "node_termination_operator_evictions_total";
    let labels = ["answer=\"Accepted\""];
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a counter of a handful
    let count = replica.metric(name, &labels).await.unwrap() as usize;
    count
}
