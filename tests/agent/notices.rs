//! What agents hear: every document, once each, however often it is read.

use jiff::{SignedDuration, Timestamp};
use kube::Api;
use node_termination_operator::api::policy::{SourceState, TerminationPolicy};
use node_termination_operator::api::termination::{NodeTermination, Phase, SignalKind};
use serde_json::json;
use testbed::aemm::Aemm;
use testbed::aws::{REGION, events};
use testbed::cluster::await_object;
use testbed::imds::{Answer, documents};

use crate::scene::{Corner, PATIENCE, imds, within, world};

fn kinds(incident: &NodeTermination) -> Vec<SignalKind> {
    let mut kinds: Vec<_> = incident.spec.signals.iter().map(|s| s.kind).collect();
    kinds.sort();
    kinds
}

fn in_two_minutes() -> Timestamp {
    Timestamp::now() + SignedDuration::from_secs(120)
}

fn is_in_phase(incident: &NodeTermination, phase: Phase) -> bool {
    incident.status.as_ref().and_then(|s| s.phase) == Some(phase)
}

#[tokio::test]
async fn a_notice_is_one_signal_and_one_request_however_often_it_is_read() {
    let corner = Corner::metadata(&world().await.control_plane, "hundred").await;
    let (service, _agent) = corner.reading().await;
    service.set(documents::TARGET_STATE, Answer::body("Terminated"));
    service.set(
        documents::SPOT,
        Answer::body(documents::spot(in_two_minutes())),
    );
    let name = &corner.node().instance_id;
    corner
        .await_incident(name, |i| {
            kinds(i).len() == 2 && is_in_phase(i, Phase::Released)
        })
        .await;
    within(service.await_reads(documents::TARGET_STATE, 100, PATIENCE)).await;
    let incident = corner.incident(name).await.unwrap();
    let expected = [
        SignalKind::SpotInterruption,
        SignalKind::AutoScalingTermination,
    ];
    assert_eq!(kinds(&incident), expected);
    let next = format!("{name}-2");
    assert!(corner.incident(&next).await.is_none());
    let asked = corner.requests();
    let records = asked.iter().filter(|r| *r == "patch nodeterminations");
    assert_eq!(records.count(), 2, "one for each notice: {asked:?}");
}

#[tokio::test]
async fn maintenance_and_rebalance_recommendations_are_heard() {
    let corner = Corner::metadata(&world().await.control_plane, "announced").await;
    let (service, _agent) = corner.reading().await;
    let window = Timestamp::now() + SignedDuration::from_hours(100);
    let scheduled = |state| {
        Answer::body(documents::maintenance(
            "event-1",
            "system-reboot",
            state,
            window,
        ))
    };
    service.set(documents::MAINTENANCE, scheduled("active"));
    let notice = Answer::body(documents::rebalance(Timestamp::now()));
    service.set(documents::REBALANCE, notice);
    let expected = [
        SignalKind::ScheduledMaintenance,
        SignalKind::RebalanceRecommendation,
    ];
    let name = &corner.node().instance_id;
    corner.await_incident(name, |i| kinds(i) == expected).await;
}

#[tokio::test]
async fn canceled_maintenance_that_nobody_heard_of_before_is_recorded_nowhere() {
    let corner = Corner::metadata(&world().await.control_plane, "canceled").await;
    let (service, agent) = corner.reading().await;
    let window = Timestamp::now() + SignedDuration::from_hours(100);
    let canceled = documents::maintenance("event-2", "system-reboot", "canceled", window);
    service.set(documents::MAINTENANCE, Answer::body(canceled));
    let settled = "outcome=\"NothingToFollow\"";
    agent
        .await_answer("/metrics", |_, body| body.contains(settled))
        .await
        .unwrap();
    let name = &corner.node().instance_id;
    assert!(corner.incident(name).await.is_none());
}

#[tokio::test]
async fn the_documents_of_the_metadata_mock_of_aws_are_understood() {
    let corner = Corner::metadata(&world().await.control_plane, "mock").await;
    let (node, folder) = (corner.node(), corner.control_plane.folder());
    let service = Aemm::start(&node.instance_id, &["-d", "1"], folder);
    let service = service.await.unwrap();
    let _agent = corner.start_agent(node, &service.env()).await;
    let expected = [
        SignalKind::SpotInterruption,
        SignalKind::AutoScalingTermination,
        SignalKind::ScheduledMaintenance,
        SignalKind::RebalanceRecommendation,
    ];
    // The mock's spot notice is another one at each request.
    let heard = |i: &NodeTermination| expected.iter().all(|kind| kinds(i).contains(kind));
    corner.await_incident(&node.instance_id, heard).await;
}

#[tokio::test]
async fn what_both_the_queue_and_the_metadata_tell_is_one_signal_of_one_object() {
    let world = world().await;
    let queue = world.aws.create_queue("both").unwrap();
    let sources = json!({"sources": [
        {"name": "metadata", "imds": {"pollIntervalSeconds": 1}},
        {"name": "queue", "sqs": {"queueURL": queue.url(), "region": REGION}},
    ]});
    let corner = Corner::new(&world.control_plane, "both", 1, sources).await;
    let (service, agent) = corner.reading().await;
    let name = &corner.node().instance_id;
    let notice = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    let spot = documents::spot(notice + SignedDuration::from_secs(120));
    service.set(documents::SPOT, Answer::body(spot));
    queue.send(events::spot_interruption(name, notice)).unwrap();
    queue.await_empty(PATIENCE).await.unwrap();
    agent
        .await_answer("/metrics", |_, body| body.contains("outcome=\"Recorded\""))
        .await
        .unwrap();
    let incident = corner.await_incident(name, |_| true).await;
    assert_eq!(kinds(&incident), [SignalKind::SpotInterruption]);
    assert!(corner.incident(&format!("{name}-2")).await.is_none());
}

#[tokio::test]
async fn what_the_policy_ignores_is_not_recorded_until_the_policy_wants_it() {
    let settings = imds(&json!({"actions": {"spotInterruption": "Ignore"}}));
    let corner = Corner::new(&world().await.control_plane, "ignored", 1, settings).await;
    let (service, agent) = corner.reading().await;
    let name = &corner.node().instance_id;
    service.set(
        documents::SPOT,
        Answer::body(documents::spot(in_two_minutes())),
    );
    agent
        .await_answer("/metrics", |_, body| body.contains("outcome=\"Ignored\""))
        .await
        .unwrap();
    assert!(corner.incident(name).await.is_none());
    let wanted = r#"{"spec":{"actions":{"spotInterruption":"CordonAndDrain"}}}"#;
    let patch = ["patch", "tp", &corner.name, "--type", "merge", "-p", wanted];
    corner.control_plane.kubectl(&patch).await.unwrap();
    corner.await_incident(name, |_| true).await;
}

#[tokio::test]
async fn the_policy_tells_whether_the_agents_are_ready() {
    let corner = Corner::metadata(&world().await.control_plane, "agents").await;
    // The simulated kubelets make every pod of the DaemonSet ready.
    let api = Api::<TerminationPolicy>::all(corner.client.clone());
    let polls = |policy: Option<&TerminationPolicy>| {
        let status = policy.and_then(|p| p.status.as_ref());
        status
            .is_some_and(|s| s.ready_sources == "1/1" && s.sources[0].state == SourceState::Polling)
    };
    within(await_object(api, &corner.name, polls)).await;
}
