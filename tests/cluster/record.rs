//! Recording: what becomes of a signal, by what the API server answers.

mod answers;
mod closing;
mod observed;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client, ResourceExt};
use node_termination_operator::api::termination::{NodeTermination, Phase, Signal, SignalKind};
use node_termination_operator::cluster::record::{self, Answer, Identity};
use node_termination_operator::event::identity::{field_manager, object_names};
use serde_json::json;
use testbed::ControlPlane;
use testbed::cluster::TestNode;
use testbed::operator::USER;

use self::observed::{full, open, over, quiet};
use crate::bare::{spot, spots};
use crate::scene::{status, within};

/// A finalizer that keeps a deleted object.
const KEPT: &str = "test.example.com/kept";
/// A message is settled in milliseconds, or given back a few times first.
const SETTLED: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_notice_that_comes_again_changes_nothing_and_costs_one_request() {
    let corner = open("twice").await;
    let before = corner.incident(1).await.unwrap();
    corner.send(corner.noticed()).await;
    let after = corner.incident(1).await.unwrap();
    assert_eq!(after.resource_version(), before.resource_version());
    assert!(corner.incident(2).await.is_none());
    let asked = requests(&corner.world().control_plane, &corner.name(1)).await;
    let operator: Vec<_> = asked.iter().filter(|(user, _)| user == USER).collect();
    assert!(
        operator.iter().all(|(_, verb)| verb == "patch") && operator.len() == 2,
        "one apply per delivery: {asked:?}"
    );
}

#[tokio::test]
async fn another_kind_of_signal_merges_into_the_open_incident() {
    let corner = open("merge").await;
    corner.send(corner.hook(Timestamp::now())).await;
    let merged = corner
        .corner
        .await_incident(&corner.name(1), |i| status(i).signals.len() == 2)
        .await;
    let kinds: BTreeSet<_> = merged.spec.signals.iter().map(|s| s.kind).collect();
    let both = [
        SignalKind::SpotInterruption,
        SignalKind::AutoScalingTermination,
    ];
    assert_eq!(kinds, both.into());
    assert_eq!(status(&merged).reason, Some(SignalKind::SpotInterruption));
    assert!(corner.incident(2).await.is_none());
    assert!(merged.finalizers().is_empty(), "a recorder adds none");
}

#[tokio::test]
async fn a_message_for_an_incident_that_is_being_deleted_waits_and_is_recorded_afresh() {
    let corner = open("dying").await;
    let api = corner.api();
    corner
        .patch(json!({"metadata": {"finalizers": [KEPT]}}))
        .await;
    let name = corner.name(1);
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    let dying = corner.corner.await_phase(&name, Phase::Canceled).await;
    corner.notify(corner.noticed());
    let queue = corner.corner.queue.name().to_owned();
    let aws = &corner.world().aws;
    let given_back = aws.await_call(SETTLED, |call| {
        let url = call.params["QueueUrl"].as_str().unwrap_or_default();
        call.operation == "ChangeMessageVisibilityBatch" && url.ends_with(&queue)
    });
    within(given_back).await;
    assert_eq!(corner.corner.queue.depth().total(), 1, "not acknowledged");
    assert!(corner.incident(2).await.is_none());
    corner
        .patch(json!({"metadata": {"finalizers": null}}))
        .await;
    let fresh = corner
        .corner
        .await_incident(&name, |i| {
            i.uid() != dying.uid() && status(i).phase == Some(Phase::Released)
        })
        .await;
    assert_eq!(fresh.spec.signals, dying.spec.signals);
    within(corner.corner.queue.await_empty(SETTLED)).await;
}

#[tokio::test]
async fn a_straggler_of_an_incident_that_is_over_is_acknowledged_without_a_record() {
    let corner = over("straggler").await;
    let before = corner.incident(1).await.unwrap();
    let completed = status(&before).completed_at.unwrap().0;
    for age in [600, 1, 0] {
        corner
            .send(completed - SignedDuration::from_secs(age))
            .await;
    }
    let after = corner.incident(1).await.unwrap();
    assert_eq!(after.resource_version(), before.resource_version());
    assert!(corner.incident(2).await.is_none());
}

#[tokio::test]
async fn a_newer_notice_after_an_incident_that_is_over_opens_the_next() {
    let corner = over("newer").await;
    let completed = status(&corner.incident(1).await.unwrap())
        .completed_at
        .unwrap();
    let notice = completed.0 + SignedDuration::from_secs(1);
    corner.send(notice).await;
    let next = corner
        .corner
        .await_phase(&corner.name(2), Phase::Released)
        .await;
    assert_eq!(
        next.spec.signals,
        [spot(&corner.node().instance_id, notice)]
    );
    assert_eq!(next.node_uid(), Some(corner.node().uid.as_str()));
    corner.send(notice + SignedDuration::from_secs(1)).await;
    assert_eq!(corner.incident(2).await.unwrap().spec.signals.len(), 2);
    assert!(corner.incident(3).await.is_none());
}

#[tokio::test]
async fn a_lifecycle_action_is_never_a_straggler() {
    let corner = over("late-hook").await;
    let long_ago = Timestamp::now() - SignedDuration::from_secs(600);
    corner.send(corner.hook(long_ago)).await;
    let next = corner.incident(2).await.unwrap();
    assert!(next.spec.signals[0].lifecycle_hook.is_some());
    assert_eq!(corner.incident(1).await.unwrap().spec.signals.len(), 1);
}

#[tokio::test]
async fn squatted_names_do_not_keep_a_notice_from_being_recorded() {
    for (prefix, names, signals) in [("squat", 1, 1), ("squat-full", 1, 32), ("squat-all", 10, 1)] {
        let corner = quiet(prefix).await;
        let mut squatter = object(
            &Identity {
                node_uid: "another-machine".to_owned(),
                ..corner.identity()
            },
            &spots(&corner.node().instance_id, signals),
        );
        let node = corner.node();
        let mut free = object_names(&node.instance_id, &node.uid);
        for name in free.by_ref().take(names) {
            squatter.metadata.name = Some(name);
            corner
                .api()
                .create(&PostParams::default(), &squatter)
                .await
                .unwrap();
        }
        corner.send(corner.noticed()).await;
        let ours = corner.api().get(&free.next().unwrap()).await.expect(prefix);
        assert_eq!(ours.node_uid(), Some(corner.node().uid.as_str()));
        assert_eq!(
            ours.spec.signals,
            [spot(&corner.node().instance_id, corner.noticed())]
        );
        assert_eq!(corner.incident(1).await.unwrap().spec, squatter.spec);
    }
}

#[tokio::test]
async fn a_full_incident_counts_further_notices_and_numbers_a_lifecycle_action() {
    let corner = full("full").await;
    let truncated = || async {
        let labels = ["SpotInterruption", "SignalsTruncated"];
        let operator = &corner.world().operator;
        let name = "node_termination_operator_signals_total";
        operator.metric(name, &labels).await.unwrap()
    };
    let before = truncated().await;
    corner.send(Timestamp::now()).await;
    assert!((truncated().await - before - 1.0).abs() < 0.5);
    assert_eq!(corner.incident(1).await.unwrap().spec.signals.len(), 32);
    assert!(corner.incident(2).await.is_none());
    corner.send(corner.hook(Timestamp::now())).await;
    let next = corner.incident(2).await.unwrap();
    assert!(next.spec.signals[0].lifecycle_hook.is_some());
}

#[tokio::test]
async fn a_newer_notice_after_a_full_incident_that_is_over_opens_the_next() {
    let corner = full("full-over").await;
    let completed = corner.cancel().await;
    corner.send(completed - SignedDuration::from_secs(1)).await;
    assert!(corner.incident(2).await.is_none());
    corner.send(completed + SignedDuration::from_secs(1)).await;
    assert!(corner.incident(2).await.is_some());
}

fn identity_of(node: &TestNode) -> Identity {
    Identity {
        node_name: node.name.clone(),
        node_uid: node.uid.clone(),
        instance_id: node.instance_id.clone(),
    }
}

fn identity(instance_id: &str) -> Identity {
    Identity {
        node_name: "node".to_owned(),
        node_uid: "uid".to_owned(),
        instance_id: instance_id.to_owned(),
    }
}

fn object(identity: &Identity, signals: &[Signal]) -> NodeTermination {
    let object = json!({
        "apiVersion": "nodetermination.dev/v1alpha1",
        "kind": "NodeTermination",
        "metadata": {"name": identity.instance_id},
        "spec": {
            "nodeName": identity.node_name,
            "nodeUID": identity.node_uid,
            "instanceID": identity.instance_id,
            "signals": signals,
        },
    });
    serde_json::from_value(object).unwrap()
}

async fn apply(client: &Client, name: &str, identity: &Identity, signal: &Signal) -> Answer {
    record::apply(client, name, &field_manager(&signal.id), identity, signal)
        .await
        .unwrap()
}

/// Who asked what of the incident so far: user and verb.
async fn requests(control_plane: &ControlPlane, name: &str) -> Vec<(String, String)> {
    let client = control_plane.client().await.unwrap();
    let marker = format!("{name}-marker");
    let none = Api::<NodeTermination>::all(client).get_opt(&marker).await;
    assert!(none.unwrap().is_none());
    let log = control_plane.audit_log().unwrap();
    let logged = async {
        loop {
            let entries = log.entries().unwrap();
            if entries.iter().any(|e| e.name == marker) {
                return Ok(entries);
            }
            tokio::task::yield_now().await;
        }
    };
    let entries = within(logged).await.into_iter();
    entries
        .filter(|e| e.name == name && e.subresource.is_empty())
        .map(|e| (e.user, e.verb))
        .collect()
}
