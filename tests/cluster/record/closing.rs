//! The report that closes an incident, and the signals that come with it.

use kube::Api;
use node_termination_operator::api::termination::{NodeTermination, NodeTerminationStatus, Phase};
use node_termination_operator::cluster::record::Answer;
use node_termination_operator::cluster::status::report;
use serde_json::json;
use testbed::cluster::{TestNode, delete_node};

use super::{apply, identity, identity_of};
use crate::bare::{bare, spots};
use crate::scene::{Corner, status};

/// Signals are applied one after the other while the Node goes: wherever the end of the incident falls among them, its
/// record tells of every signal that was taken.
#[tokio::test]
async fn the_report_that_closes_an_incident_overlooks_no_signal_that_was_taken() {
    let corner = Corner::new("race", 6, json!({"mode": "Observe"})).await;
    let races = corner.nodes.iter().map(|node| race(&corner, node));
    futures::future::join_all(races).await;
}

async fn race(corner: &Corner, node: &TestNode) {
    let name = &node.instance_id;
    corner.interrupt(node);
    corner.await_phase(name, Phase::Released).await;
    let identity = identity_of(node);
    let signals = spots(name, 31);
    let apply = async {
        let mut taken = 1;
        for signal in &signals {
            match apply(&corner.client, name, &identity, signal).await {
                Answer::Recorded(_) => taken += 1,
                Answer::Finished => break,
                other => panic!("{other:?}"),
            }
        }
        taken
    };
    let (taken, gone) = tokio::join!(apply, delete_node(&corner.client, &node.name));
    gone.unwrap();
    let over = corner.await_phase(name, Phase::Completed).await;
    let told = status(&over).signals.len();
    assert_eq!((over.spec.signals.len(), told), (taken, taken));
}

#[tokio::test]
async fn the_report_that_closes_an_incident_is_refused_if_a_signal_slipped_in() {
    let client = bare().await.client().await.unwrap();
    let identity = identity("i-00000000000000001");
    let name = &identity.instance_id;
    let signals = spots(name, 3);
    apply(&client, name, &identity, &signals[0]).await;
    let api = Api::<NodeTermination>::all(client.clone());
    let seen = api.get(name).await.unwrap();
    apply(&client, name, &identity, &signals[1]).await;
    let over = NodeTerminationStatus {
        phase: Some(Phase::Completed),
        ..NodeTerminationStatus::default()
    };
    let refused = report(&client, &seen, &over, true).await.unwrap_err();
    assert!(refused.is_conflict(), "{refused}");
    let stored = api.get(name).await.unwrap().status;
    assert_eq!(stored.and_then(|s| s.phase), None);
    let draining = NodeTerminationStatus {
        phase: Some(Phase::Draining),
        ..over.clone()
    };
    report(&client, &seen, &draining, false).await.unwrap();
    let seen = api.get(name).await.unwrap();
    report(&client, &seen, &over, true).await.unwrap();
    let answer = apply(&client, name, &identity, &signals[2]).await;
    assert!(matches!(answer, Answer::Finished), "{answer:?}");
}
