//! From a notice to an empty node.

use jiff::{SignedDuration, Timestamp};
use node_termination_operator::api::termination::{Outcome, Phase, SignalKind};
use serde_json::json;
use testbed::aws::events;
use testbed::cluster::{PodOptions, await_pods_gone, delete_node, make_pods};

use crate::scene::{Corner, is_cordoned, status, within};

#[tokio::test]
async fn a_spot_notice_is_recorded_the_node_cordoned_and_drained_and_the_record_completed_when_the_node_goes()
 {
    let corner = Corner::new("spot", 1, json!({})).await;
    let node = &corner.nodes[0];
    let pods = make_pods(
        &corner.client,
        &corner.namespace,
        &node.name,
        5,
        &PodOptions::default(),
    )
    .await
    .unwrap();
    corner.interrupt(node);
    corner.await_node(node, is_cordoned).await;
    within(await_pods_gone(&corner.client, &corner.namespace, &pods)).await;
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    assert_eq!(status(&incident).outcome, Some(Outcome::Drained));
    assert_eq!(status(&incident).pods.unwrap().summary, "5/5");
    within(corner.queue.await_empty(std::time::Duration::from_secs(10))).await;
    delete_node(&corner.client, &node.name).await.unwrap();
    let incident = corner
        .await_phase(&node.instance_id, Phase::Completed)
        .await;
    assert_eq!(status(&incident).outcome, Some(Outcome::Drained));
}

#[tokio::test]
async fn an_instance_whose_reserved_capacity_is_taken_back_is_drained_by_the_time_that_the_warning_names()
 {
    let corner = Corner::new("reclaimed", 1, json!({})).await;
    let node = &corner.nodes[0];
    let pods = corner.make_pods(node, 2, PodOptions::default()).await;
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    let end = now + SignedDuration::from_secs(600);
    let warning = events::capacity_reservation(&node.instance_id, end, now);
    corner.queue.send(warning).unwrap();
    corner.await_node(node, is_cordoned).await;
    corner.await_gone(&pods).await;
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    let said = status(&incident);
    assert_eq!(said.reason, Some(SignalKind::CapacityReservation));
    assert_eq!(said.deadline.unwrap().0, end);
    within(corner.queue.await_empty(std::time::Duration::from_secs(10))).await;
}
