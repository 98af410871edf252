//! `managedTag`: only instances that carry the tag are acted on, and nothing is lost while tags can not be read.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use testbed::aws::events::ScheduledChange;
use testbed::aws::{Call, Fault, FaultKind, events};

use crate::queue::source;
use crate::scene::{Corner, is_cordoned, is_untouched, something_else_is_drained, status};

const DESCRIBE: &str = "DescribeInstances";
/// How long a message may take to be settled on a busy machine.
const SETTLED: Duration = Duration::from_mins(1);

/// A corner whose queue is only read for instances with a tag that is named as the corner.
async fn managed(name: &str, nodes: usize, settings: Value) -> Corner {
    let corner = Corner::without_policy(name, nodes).await;
    let mut settings = settings;
    settings["managedTag"] = json!(corner.name);
    corner.apply_policy(source(&corner, &settings)).await;
    corner.await_polling().await;
    corner
}

fn tag(corner: &Corner, node: usize) {
    let aws = &corner.world.aws;
    aws.tag_instance(&corner.nodes[node].instance_id, &["Name", &corner.name]);
}

fn asked(corner: &Corner) -> Vec<Call> {
    let calls = corner.world.aws.calls().into_iter();
    let about = |c: &Call| {
        c.params
            .to_string()
            .contains(&format!("\"{}\"", corner.name))
    };
    calls
        .filter(|c| c.operation == DESCRIBE && about(c))
        .collect()
}

#[tokio::test]
async fn only_an_instance_with_the_tag_is_acted_on() {
    let corner = managed("tagged", 2, json!({})).await;
    tag(&corner, 0);
    corner
        .world
        .aws
        .tag_instance(&corner.nodes[1].instance_id, &["Name"]);
    for node in &corner.nodes {
        corner.interrupt(node);
    }
    corner.await_node(&corner.nodes[0], is_cordoned).await;
    something_else_is_drained().await;
    assert!(
        corner
            .incident(&corner.nodes[1].instance_id)
            .await
            .is_none()
    );
    assert!(is_untouched(
        &corner.await_node(&corner.nodes[1], |_| true).await
    ));
    assert_eq!(corner.queue.depth().total(), 1, "for whoever has it");
    assert!(asked(&corner).iter().all(|c| c.violation.is_none()));
}

#[tokio::test]
async fn a_message_about_an_instance_without_the_tag_is_deleted_if_unknown_instances_are() {
    let corner = managed("untagged", 1, json!({"unknownInstances": "Delete"})).await;
    corner.interrupt(&corner.nodes[0]);
    corner.queue.await_empty(SETTLED).await.unwrap();
    assert!(
        corner
            .incident(&corner.nodes[0].instance_id)
            .await
            .is_none()
    );
}

/// Under Delete: what is taken for unmanaged would be gone for good.
async fn loses_nothing(kind: FaultKind, reason: &str) {
    let settings = json!({"unknownInstances": "Delete"});
    let corner = managed("untold", 1, settings).await;
    tag(&corner, 0);
    let fault = Fault::new(DESCRIBE, kind).on_filter(&corner.name);
    let fault = corner.world.aws.inject(fault);
    let reboot = Timestamp::now() + Duration::from_hours(1);
    let instance = corner.nodes[0].instance_id.as_str();
    corner.interrupt(&corner.nodes[0]);
    let told = ScheduledChange::reboot(&[instance], reboot).event("upcoming", Timestamp::now());
    corner.queue.send(told).unwrap();
    corner
        .await_policy(|p| {
            p.status
                .as_ref()
                .is_some_and(|s| s.sources[0].reason == reason)
        })
        .await;
    something_else_is_drained().await;
    assert!(corner.incident(instance).await.is_none());
    assert_eq!(corner.queue.depth().total(), 2);
    drop(fault);
    let both = |i: &_| status(i).signals.len() == 2;
    corner.await_incident(instance, both).await;
    corner.await_polling().await;
    corner.queue.await_empty(SETTLED).await.unwrap();
}

#[tokio::test]
async fn nothing_is_lost_while_ec2_does_not_tell_and_the_policy_says_so() {
    tokio::join!(
        loses_nothing(FaultKind::AccessDenied, "AccessDenied"),
        loses_nothing(FaultKind::Throttling, "Throttled"),
    );
}

#[tokio::test]
async fn a_burst_of_notices_costs_few_calls_and_notices_that_come_again_none() {
    let corner = managed("burst", 60, json!({})).await;
    (0..60).for_each(|node| tag(&corner, node));
    for _twice in 0..2 {
        let now = Timestamp::now();
        let notices = corner
            .nodes
            .iter()
            .map(|n| events::spot_interruption(&n.instance_id, now));
        corner.queue.send_batch(notices).unwrap();
        corner.queue.await_empty(SETTLED).await.unwrap();
        let calls = asked(&corner);
        assert!((1..=10).contains(&calls.len()), "{}", calls.len());
    }
    for node in &corner.nodes {
        corner
            .await_incident(&node.instance_id, |i| i.spec.signals.len() <= 2)
            .await;
    }
}

#[tokio::test]
async fn the_next_batch_is_asked_for_while_the_first_is_not_settled() {
    let corner = managed("overlap", 1, json!({"receivers": 1})).await;
    tag(&corner, 0);
    // So long the first batch waits for EC2, which gives no answer then: the message comes again.
    let held = Duration::from_secs(3);
    let slow = Fault::new(DESCRIBE, FaultKind::TimeOut(held)).on_filter(&corner.name);
    let _fault = corner.world.aws.inject(slow.times(1));
    let sent = Timestamp::now();
    corner.interrupt(&corner.nodes[0]);
    corner.queue.await_empty(SETTLED).await.unwrap();
    let first = asked(&corner)[0].time;
    // The one that brings the message was there before; the next may overtake the question to EC2.
    let receives = corner.calls("ReceiveMessage");
    let beside = receives
        .iter()
        .filter(|c| c.time > sent && c.time < first + held);
    assert_eq!(beside.count(), 1, "after {sent}: {receives:?}");
    let deleted = corner.calls("DeleteMessageBatch")[0].time;
    assert!(deleted > first + held, "{deleted}");
}
