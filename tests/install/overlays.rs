//! Each overlay, applied in one go to a control plane that does not know our kinds yet, does what it is for.

use jiff::{SignedDuration, Timestamp};
use node_termination_operator::api::termination::{Phase, SignalKind};
use serde_json::json;
use testbed::aws::events;
use testbed::cluster::PodOptions;
use testbed::imds::{Answer, Imds, documents};

use crate::site::Site;

#[tokio::test]
async fn the_overlay_for_queues_drains_a_node_that_the_queue_tells_of() {
    let site = Site::new().await;
    site.install("queue").await;
    let _controller = site.controller().await;
    let queue = site.aws.create_queue("events").unwrap();
    site.apply_example("policy.yaml", &queue, &json!({})).await;
    let node = &site.nodes("spot", 1).await[0];
    let work = site.pods(node, 2, PodOptions::default()).await;
    let notice = events::spot_interruption(&node.instance_id, Timestamp::now());
    queue.send(notice).unwrap();
    site.await_gone(&work).await;
    site.await_phase(&node.instance_id, Phase::Released).await;
}

#[tokio::test]
async fn the_overlay_for_metadata_drains_a_node_that_its_agent_tells_of() {
    let site = Site::new().await;
    site.install("metadata").await;
    let _controller = site.controller().await;
    let queue = site.aws.create_queue("unused").unwrap();
    site.apply_example("metadata.yaml", &queue, &json!({}))
        .await;
    let node = &site.nodes("spot", 1).await[0];
    let work = site.pods(node, 2, PodOptions::default()).await;
    let imds = Imds::start(&node.instance_id).unwrap();
    let _agent = site.agent(node, &imds).await;
    let goes = Timestamp::now() + SignedDuration::from_secs(120);
    imds.set(documents::SPOT, Answer::body(documents::spot(goes)));
    site.await_gone(&work).await;
    site.await_phase(&node.instance_id, Phase::Released).await;
    assert!(site.aws.calls().is_empty(), "nothing of AWS is needed");
}

#[tokio::test]
async fn the_overlay_for_both_makes_one_incident_of_what_both_tell() {
    let site = Site::new().await;
    site.install("both").await;
    let _controller = site.controller().await;
    let queue = site.aws.create_queue("events").unwrap();
    site.apply_example("both.yaml", &queue, &json!({})).await;
    let node = &site.nodes("spot", 1).await[0];
    let imds = Imds::start(&node.instance_id).unwrap();
    let _agent = site.agent(node, &imds).await;
    imds.set(documents::TARGET_STATE, Answer::body("Terminated"));
    let notice = events::spot_interruption(&node.instance_id, Timestamp::now());
    queue.send(notice).unwrap();
    let told = [
        SignalKind::SpotInterruption,
        SignalKind::AutoScalingTermination,
    ];
    site.await_incident(&node.instance_id, |incident| {
        let signals = &incident.spec.signals;
        told.iter()
            .all(|kind| signals.iter().any(|s| s.kind == *kind))
    })
    .await;
    site.await_phase(&node.instance_id, Phase::Released).await;
}
