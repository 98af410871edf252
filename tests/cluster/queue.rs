//! Queues: what comes twice, broken, for somebody else or not at all.

use std::time::{Duration, Instant};

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use node_termination_operator::api::policy::{SourceState, TerminationPolicy};
use node_termination_operator::api::termination::{NodeTermination, Phase};
use serde_json::{Value, json};
use testbed::aws::{ActionState, Fault, FaultKind, REGION, events};
use testbed::cluster::{PodOptions, make_nodes, map};

use crate::scene::{Corner, is_cordoned, is_untouched, something_else_is_drained, status, world};

const RECEIVE: &str = "ReceiveMessage";
const DISCARDED: &str = "node_termination_operator_messages_discarded_total";
const SIGNALS: &str = "node_termination_operator_signals_total";
/// How long a message may take to be settled on a busy machine.
const SETTLED: Duration = Duration::from_secs(60);

/// An instance that is no node of the cluster.
fn foreign_instance() -> String {
    let digits = format!("{:017x}", Timestamp::now().as_nanosecond());
    format!("i-{}", &digits[digits.len() - 17..])
}

fn source(corner: &Corner, settings: Value) -> Value {
    let mut sqs =
        json!({"queueURL": corner.queue.url(), "region": REGION, "visibilityTimeoutSeconds": 5});
    sqs.as_object_mut()
        .unwrap()
        .extend(settings.as_object().unwrap().clone());
    json!({"sources": [{"name": "events", "sqs": sqs}]})
}

async fn corner_with_source(name: &str, nodes: usize, settings: Value) -> Corner {
    let corner = Corner::without_policy(name, nodes).await;
    corner.apply_policy(source(&corner, settings)).await;
    corner.await_polling().await;
    corner
}

async fn count(name: &str, labels: &[&str]) -> f64 {
    world().await.operator.metric(name, labels).await.unwrap()
}

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

#[tokio::test]
async fn a_notice_that_comes_again_changes_nothing() {
    let corner = Corner::new("twice", 1, json!({})).await;
    let node = &corner.nodes[0];
    let pods = corner.make_pods(node, 2, PodOptions::default()).await;
    let notice = Timestamp::now();
    for _ in 0..3 {
        corner.interrupt_at(node, notice);
    }
    corner.await_gone(&pods).await;
    let before = corner.await_phase(&node.instance_id, Phase::Released).await;
    corner.queue.await_empty(SETTLED).await.unwrap();
    corner.interrupt_at(node, notice);
    corner.queue.await_empty(SETTLED).await.unwrap();
    something_else_is_drained().await;
    let after = corner.incident(&node.instance_id).await.unwrap();
    assert_eq!(after.spec.signals.len(), 1);
    assert_eq!(after.resource_version(), before.resource_version());
    assert_eq!(corner.evictions().len(), 2, "one for each pod");
}

#[tokio::test]
async fn a_malformed_message_stops_no_other_and_goes_after_five_receives() {
    let corner = corner_with_source("malformed", 1, json!({})).await;
    let node = &corner.nodes[0];
    let before = count(DISCARDED, &["reason=\"Malformed\""]).await;
    let sent = Instant::now();
    let cut_short = events::spot_interruption(&node.instance_id, Timestamp::now()).replace('}', "");
    corner.queue.send("not json").unwrap();
    corner.queue.send(cut_short).unwrap();
    corner.interrupt(node);
    corner.await_node(node, is_cordoned).await;
    assert_eq!(
        corner.queue.depth().total(),
        2,
        "a dead-letter queue may take them"
    );
    corner.queue.await_empty(SETTLED).await.unwrap();
    assert!(
        sent.elapsed() >= Duration::from_secs(20),
        "hidden four times for 5 s"
    );
    let after = count(DISCARDED, &["reason=\"Malformed\""]).await;
    assert!(after >= before + 2.0, "{before} {after}");
}

#[tokio::test]
async fn a_message_for_another_cluster_is_given_back_at_once_and_deleted_when_it_has_expired() {
    let corner = Corner::new("foreign", 1, json!({})).await;
    let instance = foreign_instance();
    let notice = events::spot_interruption(&instance, Timestamp::now());
    corner.queue.send(notice).unwrap();
    let call = corner
        .await_call("ChangeMessageVisibilityBatch", |c| c.outcome.is_ok())
        .await;
    assert_eq!(
        call.params["Entries"][0]["VisibilityTimeout"], 0,
        "{call:?}"
    );
    assert_eq!(corner.queue.depth().total(), 1);
    // Whoever has the node hears of it: now we are that cluster.
    let node = json!({
        "metadata": {"name": format!("{}-late", corner.name), "labels": {"team": corner.name}},
        "spec": {"providerID": format!("aws:///eu-central-1a/{instance}")},
    });
    let node: Node = serde_json::from_value(node).unwrap();
    let nodes = Api::<Node>::all(corner.client.clone());
    nodes.create(&PostParams::default(), &node).await.unwrap();
    corner.await_incident(&instance, |_| true).await;
    corner.queue.await_empty(SETTLED).await.unwrap();

    let before = count(DISCARDED, &["reason=\"Expired\""]).await;
    let long_ago = Timestamp::now() - SignedDuration::from_secs(200);
    let expired = foreign_instance();
    let notice = events::spot_interruption(&expired, long_ago);
    corner.queue.send(notice).unwrap();
    corner.queue.await_empty(SETTLED).await.unwrap();
    assert!(count(DISCARDED, &["reason=\"Expired\""]).await > before);
    assert!(corner.incident(&expired).await.is_none());
}

#[tokio::test]
async fn a_message_about_an_unknown_instance_is_deleted_at_once_if_the_policy_says_so() {
    let corner = corner_with_source("delete", 1, json!({"unknownInstances": "Delete"})).await;
    let before = count(DISCARDED, &["reason=\"UnknownInstance\""]).await;
    let notice = events::spot_interruption(&foreign_instance(), Timestamp::now());
    corner.queue.send(notice).unwrap();
    corner.queue.await_empty(SETTLED).await.unwrap();
    assert!(corner.calls("ChangeMessageVisibilityBatch").is_empty());
    assert!(count(DISCARDED, &["reason=\"UnknownInstance\""]).await > before);
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

/// Sends both kinds of notice for a node and awaits that they are acknowledged, with no other trace.
async fn is_only_acknowledged(corner: &Corner, name: &str, instance: &str) {
    corner.put_hook("drain", 300);
    let aws = &corner.world.aws;
    let queue = Some(&corner.queue);
    let action = aws
        .start_termination(&corner.name, instance, queue)
        .unwrap()
        .remove(0);
    let notice = events::spot_interruption(instance, Timestamp::now());
    corner.queue.send(notice).unwrap();
    corner.queue.await_empty(SETTLED).await.unwrap();
    something_else_is_drained().await;
    assert!(corner.incident(instance).await.is_none());
    let state = aws.action_state(&action.token);
    assert!(
        matches!(state, Some(ActionState::Waiting { .. })),
        "{state:?}"
    );
    assert!(corner.calls("CompleteLifecycleAction").is_empty());
    let nodes = Api::<Node>::all(corner.client.clone());
    assert!(is_untouched(&nodes.get(name).await.unwrap()));
    assert!(corner.requests(|e| e.name == name).is_empty());
}

#[tokio::test]
async fn a_notice_for_a_node_without_a_policy_is_acknowledged_and_its_hook_left_alone() {
    let corner = Corner::new("nobody", 0, json!({})).await;
    let prefix = format!("{}-free", corner.name);
    let nodes = make_nodes(&corner.client, &prefix, 1, &map(&[]))
        .await
        .unwrap();
    let before = count(SIGNALS, &["outcome=\"NoPolicy\""]).await;
    is_only_acknowledged(&corner, &nodes[0].name, &nodes[0].instance_id).await;
    assert!(count(SIGNALS, &["outcome=\"NoPolicy\""]).await >= before + 2.0);
}

#[tokio::test]
async fn a_notice_that_the_policy_ignores_is_acknowledged_and_its_hook_left_alone() {
    let actions = json!({"spotInterruption": "Ignore", "autoScalingTermination": "Ignore"});
    let corner = Corner::new("ignored", 1, json!({"actions": actions})).await;
    let node = &corner.nodes[0];
    let before = count(SIGNALS, &["outcome=\"Ignored\""]).await;
    is_only_acknowledged(&corner, &node.name, &node.instance_id).await;
    assert!(count(SIGNALS, &["outcome=\"Ignored\""]).await >= before + 2.0);
}

#[tokio::test]
async fn two_policies_on_one_queue_share_one_monitor() {
    let corner = Corner::new("shared", 1, json!({})).await;
    let mut second = corner.policy(json!({"priority": 1}));
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
