//! The monitors of queues: when a queue fails, when policies share one, change and go.

use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use node_termination_operator::api::policy::{SourceState, TerminationPolicy};
use node_termination_operator::api::termination::NodeTermination;
use serde_json::{Value, json};
use testbed::aws::{Fault, FaultKind, REGION, events};

use crate::queue::corner_with_source;
use crate::scene::{Corner, is_cordoned, something_else_is_drained, status};

const RECEIVE: &str = "ReceiveMessage";
/// How long a message may take to be settled on a busy machine.
const SETTLED: Duration = Duration::from_mins(1);

fn is_in_state(
    policy: &TerminationPolicy,
    state: SourceState,
    reason: &str,
    stalled: bool,
) -> bool {
    let Some(status) = &policy.status else {
        return false;
    };
    let conditions = serde_json::to_value(&status.conditions).unwrap();
    let holds = |kind: &str| {
        let mut all = conditions.as_array().unwrap().iter();
        all.any(|c| c["type"] == kind && c["status"] == "True")
    };
    let source = &status.sources[0];
    let polls = state == SourceState::Polling;
    (source.state == state && source.reason == reason)
        && holds("Ready") == polls
        && holds("Stalled") == stalled
        && holds("Reconciling") == (!polls && !stalled)
}

/// One queue fails in this way: its policy tells, the notice that is sent meanwhile is served afterwards.
async fn fails_and_recovers(kind: FaultKind, reason: &str, stalled: bool) {
    let corner = corner_with_source("ailing", 2, json!({"receivers": 1})).await;
    let fault = Fault::new(RECEIVE, kind).on_queue(&corner.name);
    let fault = corner.world.aws.inject(fault);
    // The poll under way is answered; the next ones fail.
    corner.interrupt(&corner.nodes[0]);
    corner
        .await_policy(|p| is_in_state(p, SourceState::BackingOff, reason, stalled))
        .await;
    corner.interrupt(&corner.nodes[1]);
    something_else_is_drained().await;
    assert!(
        corner
            .incident(&corner.nodes[1].instance_id)
            .await
            .is_none()
    );
    drop(fault);
    corner
        .await_policy(|p| is_in_state(p, SourceState::Polling, "Polling", false))
        .await;
    for node in &corner.nodes {
        corner.await_node(node, is_cordoned).await;
    }
    corner.world.operator.process().check().unwrap();
}

#[tokio::test]
async fn a_queue_that_fails_is_told_in_its_policy_stops_no_other_and_is_heard_again_when_it_is_well()
 {
    let cases = [
        (FaultKind::InternalError, "Unavailable", false),
        (FaultKind::Throttling, "Throttled", false),
        (FaultKind::AccessDenied, "AccessDenied", true),
    ];
    join_all(cases.map(|(kind, reason, stalled)| fails_and_recovers(kind, reason, stalled))).await;
}

#[tokio::test]
async fn a_queue_that_is_missing_is_told_in_its_policy_and_heard_when_it_is_there() {
    let corner = corner_with_source("missing", 1, json!({"receivers": 1})).await;
    corner.queue.delete();
    corner
        .await_policy(|p| is_in_state(p, SourceState::BackingOff, "NotFound", true))
        .await;
    corner.world.aws.create_queue(&corner.name).unwrap();
    corner.interrupt(&corner.nodes[0]);
    corner
        .await_policy(|p| is_in_state(p, SourceState::Polling, "Polling", false))
        .await;
    corner.await_node(&corner.nodes[0], is_cordoned).await;
}

#[tokio::test]
async fn two_policies_on_one_queue_share_one_monitor() {
    let corner = Corner::new("shared", 1, json!({})).await;
    let mut second = corner.policy(&json!({"priority": 1}));
    second.metadata.name = Some(format!("{}-second", corner.name));
    let policies = Api::<TerminationPolicy>::all(corner.client.clone());
    policies
        .create(&PostParams::default(), &second)
        .await
        .unwrap();
    corner.interrupt(&corner.nodes[0]);
    let incident = corner
        .await_incident(&corner.nodes[0].instance_id, |i| status(i).policy.is_some())
        .await;
    assert_eq!(status(&incident).policy.unwrap().name, second.name_any());
    corner.queue.await_empty(SETTLED).await.unwrap();
    something_else_is_drained().await;
    // With the queue gone every poll under way ends.
    let now = corner.world.aws.now();
    corner.queue.delete();
    corner
        .await_policy(|p| is_in_state(p, SourceState::BackingOff, "NotFound", true))
        .await;
    let polls = corner.calls(RECEIVE).into_iter();
    let under_way = polls.filter(|c| c.time < now && !c.outcome.is_ok()).count();
    assert!(
        (1..=2).contains(&under_way),
        "two receivers, not {under_way}"
    );
}

#[tokio::test]
async fn a_changed_policy_moves_its_monitor_and_a_deleted_one_ends_it() {
    let corner = corner_with_source("moves", 2, json!({"receivers": 1})).await;
    let name = format!("{}-other", corner.name);
    let other = corner.world.aws.create_queue(&name).unwrap();
    let sqs = json!({"queueURL": other.url(), "region": REGION, "receivers": 1});
    corner
        .change_policy(json!({"sources": [{"name": "events", "sqs": sqs}]}))
        .await;
    let hung_up = Some("ClientGone");
    corner
        .await_call(RECEIVE, |c| c.outcome.code.as_deref() == hung_up)
        .await;
    corner.await_polling().await;
    corner.interrupt(&corner.nodes[0]);
    let notice = events::spot_interruption(&corner.nodes[1].instance_id, Timestamp::now());
    other.send(notice).unwrap();
    corner.await_node(&corner.nodes[1], is_cordoned).await;
    assert_eq!(
        corner.queue.depth().visible,
        1,
        "nobody reads the old queue"
    );

    let policies = Api::<TerminationPolicy>::all(corner.client.clone());
    policies
        .delete(&corner.name, &DeleteParams::default())
        .await
        .unwrap();
    let is_other = |url: &Value| url.as_str().is_some_and(|u| u.ends_with(&name));
    let ended = corner.world.aws.await_call(SETTLED, |c| {
        is_other(&c.params["QueueUrl"]) && c.outcome.code.as_deref() == hung_up
    });
    ended.await.unwrap();
    other.send("anything").unwrap();
    something_else_is_drained().await;
    assert_eq!(
        other.depth().visible,
        1,
        "nobody reads the queue of a deleted policy"
    );
    let incidents = Api::<NodeTermination>::all(corner.client.clone());
    let first = &corner.nodes[0].instance_id;
    assert!(incidents.get_opt(first).await.unwrap().is_none());
}
