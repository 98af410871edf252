//! What users of NTH ran into, each proved not to happen here.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use node_termination_operator::api::termination::{NodeTermination, Phase, SignalKind};
use serde_json::json;
use testbed::aws::events::{self, ScheduledChange};
use testbed::aws::{ActionState, EndedBy};
use testbed::cluster::{PodOptions, delete_node};

use super::deploy;
use crate::scene::{Corner, is_cordoned, status};

/// How long messages may take to be settled on a busy machine.
const SETTLED: Duration = Duration::from_mins(2);

/// NTH drained one of the three and deleted the message.
#[tokio::test]
async fn each_of_three_instances_of_one_health_event_is_drained() {
    let corner = Corner::new("nth-three", 3, json!({})).await;
    let mut pods = Vec::new();
    for node in &corner.nodes {
        pods.extend(corner.make_pods(node, 1, PodOptions::default()).await);
    }
    let ids = corner.nodes.iter().map(|n| n.instance_id.as_str());
    let ids: Vec<&str> = ids.collect();
    let in_a_week = Timestamp::now() + SignedDuration::from_hours(168);
    let code = "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED";
    let change = ScheduledChange::new(code, &ids, in_a_week);
    let event = change.event("upcoming", Timestamp::now());
    corner.queue.send(event).unwrap();
    corner.await_gone(&pods).await;
    for node in &corner.nodes {
        corner.await_node(node, is_cordoned).await;
        corner.await_phase(&node.instance_id, Phase::Released).await;
    }
    corner.queue.await_empty(SETTLED).await.unwrap();
    assert_eq!(corner.evictions().len(), 3);
}

/// NTH left what a topic fans out in the queue, unless Auto Scaling had sent it.
#[tokio::test]
async fn what_comes_through_a_topic_is_heard() {
    let corner = Corner::new("nth-topic", 2, json!({})).await;
    corner.put_hook("drain", 300);
    let [spot, scaled] = &corner.nodes[..] else {
        panic!("two nodes")
    };
    let now = Timestamp::now();
    let started = corner
        .world
        .aws
        .start_termination(&corner.name, &scaled.instance_id, None);
    let action = started.unwrap().remove(0);
    let transition = "autoscaling:EC2_INSTANCE_TERMINATING";
    let messages = [
        events::test_notification(&corner.name, now),
        events::spot_interruption(&spot.instance_id, now),
        events::direct_notification(&action, transition, now),
    ];
    let wrapped = messages.map(|message| events::sns(&message, now));
    corner.queue.send_batch(wrapped).unwrap();
    for node in [spot, scaled] {
        corner.await_node(node, is_cordoned).await;
    }
    let done = corner.world.aws.await_action_done(&action.token, SETTLED);
    let ended = done.await.unwrap();
    let ours = EndedBy::Completion;
    assert!(
        matches!(ended, ActionState::Ended { by, .. } if by == ours),
        "{ended:?}"
    );
    corner.queue.await_empty(SETTLED).await.unwrap();
}

fn kinds(incident: &NodeTermination) -> Vec<SignalKind> {
    incident.spec.signals.iter().map(|s| s.kind).collect()
}

/// NTH drained once for each of them.
#[tokio::test]
async fn one_spot_interruption_with_all_that_goes_with_it_is_one_incident_and_one_drain() {
    let corner = Corner::new("nth-story", 1, json!({})).await;
    let node = &corner.nodes[0];
    let pod = deploy(&corner).await;
    let id = &node.instance_id;
    let send = |event| corner.queue.send(event).unwrap();
    send(events::rebalance_recommendation(id, Timestamp::now()));
    corner.await_incident(id, |_| true).await;
    corner.interrupt(node);
    corner.await_gone(&[pod]).await;
    corner.await_phase(id, Phase::Released).await;
    send(events::state_change(id, "shutting-down", Timestamp::now()));
    corner
        .await_incident(id, |i| i.spec.signals.len() == 3)
        .await;
    send(events::state_change(id, "terminated", Timestamp::now()));
    let whole = corner
        .await_incident(id, |i| {
            i.spec.signals.len() == 4 && status(i).phase == Some(Phase::Released)
        })
        .await;
    let story = [
        SignalKind::RebalanceRecommendation,
        SignalKind::SpotInterruption,
        SignalKind::InstanceStateChange,
        SignalKind::InstanceStateChange,
    ];
    let mut heard = kinds(&whole);
    heard.sort_by_key(|k| story.iter().position(|s| s == k));
    assert_eq!(heard, story);
    delete_node(&corner.client, &node.name).await.unwrap();
    corner.await_phase(id, Phase::Completed).await;
    corner.queue.await_empty(SETTLED).await.unwrap();
    assert!(corner.incident(&format!("{id}-2")).await.is_none());
    assert_eq!(corner.evictions().len(), 1);
}
