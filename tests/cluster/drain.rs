//! From a notice to an empty node.

use node_termination_operator::api::termination::{Outcome, Phase};
use serde_json::json;
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
