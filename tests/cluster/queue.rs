//! Messages: what comes twice, broken, or for somebody else.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use node_termination_operator::api::termination::Phase;
use serde_json::{Value, json};
use testbed::aws::{ActionState, REGION, events};
use testbed::cluster::{PodOptions, make_nodes, map};

use crate::scene::{Corner, is_cordoned, is_untouched, something_else_is_drained, world};

const DISCARDED: &str = "node_termination_operator_messages_discarded_total";
const SIGNALS: &str = "node_termination_operator_signals_total";
/// How long a message may take to be settled on a busy machine.
const SETTLED: Duration = Duration::from_mins(1);

/// An instance that is no node of the cluster.
fn foreign_instance() -> String {
    let digits = format!("{:017x}", Timestamp::now().as_nanosecond());
    format!("i-{}", &digits[digits.len() - 17..])
}

/// Settings of a policy whose queue has these, beside a short visibility time-out.
pub fn source(corner: &Corner, settings: &Value) -> Value {
    let mut sqs =
        json!({"queueURL": corner.queue.url(), "region": REGION, "visibilityTimeoutSeconds": 5});
    sqs.as_object_mut()
        .unwrap()
        .extend(settings.as_object().unwrap().clone());
    json!({"sources": [{"name": "events", "sqs": sqs}]})
}

/// A corner whose policy has these settings for its queue, beside a short visibility time-out.
pub async fn corner_with_source(name: &str, nodes: usize, settings: Value) -> Corner {
    let corner = Corner::without_policy(name, nodes).await;
    corner.apply_policy(source(&corner, &settings)).await;
    corner.await_polling().await;
    corner
}

async fn count(name: &str, labels: &[&str]) -> f64 {
    world().await.operator.metric(name, labels).await.unwrap()
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
