//! A launch is held when the leader ends: the next one completes it.

use std::time::Duration;

use kube::Api;
use kube::api::{Patch, PatchParams};
use node_termination_operator::api::policy::TerminationPolicy;
use serde_json::json;
use testbed::aws::{Call, LifecycleAction, REGION};
use testbed::cluster::{get_ready, instance_id, join_node, map};
use tokio::time::Instant;

use crate::stage::{FAILOVER_MARGIN, Stage};

/// The step of a lease.
const LEASE: Duration = Duration::from_secs(30);
const HIDE: &str = "ChangeMessageVisibilityBatch";

fn hides_for(call: &Call, seconds: u64) -> bool {
    let entries = call.params["Entries"].as_array().into_iter().flatten();
    let all = entries.filter(|e| e["VisibilityTimeout"] == seconds);
    call.operation == HIDE && call.outcome.is_ok() && all.count() > 0
}

/// A stage whose leader holds the launch of an instance that has not joined yet.
async fn held() -> (Stage, LifecycleAction) {
    let stage = Stage::new(json!({})).await;
    let sqs =
        json!({"queueURL": stage.queue.url(), "region": REGION, "launchHooks": {"complete": true}});
    let asks = json!({"spec": {"sources": [{"name": "events", "sqs": sqs}]}});
    let policies = Api::<TerminationPolicy>::all(stage.client.clone());
    let (params, asks) = (PatchParams::default(), Patch::Merge(asks));
    policies.patch("all", &params, &asks).await.unwrap();
    let minutes = Duration::from_mins(10);
    stage.aws.put_launch_hook("workers", "ready", minutes);
    let queue = Some(&stage.queue);
    let actions = stage.aws.start_launch("workers", &instance_id(), queue);
    let action = actions.unwrap().remove(0);
    stage.await_call("it is leased", |c| hides_for(c, 30)).await;
    (stage, action)
}

/// The instance joins the cluster and gets ready.
async fn get_there(stage: &Stage, action: &LifecycleAction) {
    let instance = &action.instance_id;
    join_node(&stage.client, "new", instance, &map(&[]))
        .await
        .unwrap();
    get_ready(&stage.client, "new").await.unwrap();
}

fn completions(stage: &Stage) -> usize {
    let calls = stage.aws.calls().into_iter();
    calls
        .filter(|c| c.operation == "CompleteLifecycleAction")
        .count()
}

#[tokio::test]
async fn a_launch_that_the_killed_leader_held_is_completed_by_the_next_when_its_lease_has_lapsed() {
    let (stage, action) = held().await;
    let killed = stage.kill_first();
    get_there(&stage, &action).await;
    stage.await_second(killed).await;
    assert_eq!((stage.queue.depth().in_flight, completions(&stage)), (1, 0));
    stage.aws.advance(LEASE);
    stage.await_completed(&action).await;
    stage.await_empty_queue().await;
    assert_eq!(completions(&stage), 1);
}

#[tokio::test]
async fn a_launch_that_the_leader_held_is_completed_at_once_by_the_next_if_it_was_told_to_end() {
    let (stage, action) = held().await;
    let told = Instant::now();
    stage
        .first
        .terminate(Duration::from_secs(10))
        .await
        .unwrap();
    stage
        .await_call("it is given back", |c| hides_for(c, 0))
        .await;
    get_there(&stage, &action).await;
    stage.await_completed(&action).await;
    println!("completed {:.1?} after the end", told.elapsed());
    assert!(
        told.elapsed() + FAILOVER_MARGIN < LEASE,
        "{:?}",
        told.elapsed()
    );
    stage.await_empty_queue().await;
}
