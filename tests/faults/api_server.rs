//! The API server goes away in the middle of a drain, and comes back.

use std::time::Duration;

use node_termination_operator::api::condition;
use node_termination_operator::api::termination::{Outcome, Phase};
use serde_json::json;
use testbed::Operator;
use testbed::cluster::PodOptions;
use tokio::time::Instant;

use crate::stage::Stage;

/// How long after the return of the API server a notice may wait that was sent while it was away.
const CORDONED_WITHIN: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_drain_goes_on_after_an_outage_of_the_api_server_and_a_notice_sent_meanwhile_is_not_lost()
{
    let stage = Stage::new(json!({})).await;
    let (node, other) = (&stage.nodes[0], &stage.nodes[1]);
    let slow = PodOptions::default().gone_after(Duration::from_secs(5));
    let slow = stage.pods(node, 2, &slow).await;
    let blocked = stage.blocked_pods(node, 2).await;
    stage.interrupt(node);
    stage.await_terminating(&slow).await;

    stage.control_plane.stop_api_server().unwrap();
    stage.interrupt(other);
    for replica in [&stage.first, &stage.second] {
        let unready = replica.await_answer("/readyz", |code, body| {
            code == 503 && body.contains("api server: ")
        });
        stage.within("readiness tells", unready).await;
        assert_alive(replica).await;
    }
    // So long that its lease has lapsed: a restart that is over at once is no outage, and not told.
    let steps_down = stage.first.await_answer("/metrics", |_, body| {
        body.contains("node_termination_operator_leader 0")
    });
    stage.within("the leader steps down", steps_down).await;
    stage.control_plane.start_api_server().await.unwrap();
    let back = Instant::now();

    stage.await_cordoned(other).await;
    let took = back.elapsed();
    println!("cordoned {took:.1?} after the API server's return");
    assert!(took <= CORDONED_WITHIN, "{took:?}");
    stage.unblock().await;
    stage.await_gone(&blocked).await;
    stage.await_gone(&slow).await;
    let drained = stage.await_phase(node, Phase::Released).await;
    println!("released {:.1?} after its return", back.elapsed());
    assert_eq!(drained.outcome, Some(Outcome::Drained));
    assert_eq!(drained.pods.unwrap().summary, "4/4");
    let told = condition::find(&drained.conditions, "APIAvailable").unwrap();
    assert!(told.message.contains("gave no answer from"), "{told:?}");
    stage.await_phase(other, Phase::Released).await;
    stage.await_empty_queue().await;
    for replica in [&stage.first, &stage.second] {
        replica.await_ready().await.unwrap();
        assert_alive(replica).await;
    }
}

#[tokio::test]
async fn a_restart_of_the_api_server_mid_drain_is_survived_by_the_same_processes() {
    let stage = Stage::new(json!({})).await;
    let node = &stage.nodes[0];
    let slow = PodOptions::default().gone_after(Duration::from_secs(5));
    let slow = stage.pods(node, 2, &slow).await;
    let blocked = stage.blocked_pods(node, 1).await;
    stage.interrupt(node);
    stage.await_terminating(&slow).await;

    stage.control_plane.restart_api_server().await.unwrap();
    stage.unblock().await;
    stage.await_gone(&blocked).await;
    stage.await_gone(&slow).await;
    let drained = stage.await_phase(node, Phase::Released).await;
    assert_eq!(drained.outcome, Some(Outcome::Drained));
    assert_eq!(stage.end(node).await.pods.unwrap().summary, "3/3");
    for replica in [&stage.first, &stage.second] {
        assert_alive(replica).await;
    }
}

/// The process runs, and says that it is well.
async fn assert_alive(replica: &Operator) {
    replica.process().check().unwrap();
    let (code, body) = replica.get("/healthz").await.unwrap();
    assert_eq!(code, 200, "{body}");
}
