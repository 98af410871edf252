//! What a policy says of nodes that others drain, of spot nodes that nobody drains, and of hooks that are too short.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use node_termination_operator::api::condition;
use node_termination_operator::api::policy::TerminationPolicy;
use serde_json::{Value, json};
use testbed::cluster::{TestNode, make_nodes, map};

use crate::scene::{Corner, patch};

/// What the condition of that type says, while it holds.
fn said(policy: &TerminationPolicy, kind: &str) -> Option<String> {
    let conditions = &policy.status.as_ref()?.conditions;
    assert!(
        condition::holds(conditions, "Ready"),
        "it is ready throughout"
    );
    let found = condition::find(conditions, kind)?;
    (found.status == "True").then(|| format!("{}: {}", found.reason, found.message))
}

async fn await_said(corner: &Corner, kind: &str, words: &[&str]) {
    let fits =
        |p: &TerminationPolicy| said(p, kind).is_some_and(|s| words.iter().all(|w| s.contains(w)));
    corner.await_policy(fits).await;
}

async fn label(corner: &Corner, node: &TestNode, labels: Value) {
    let body = json!({"metadata": {"labels": labels}});
    patch::<Node>(&corner.client, &node.name, body).await;
}

#[tokio::test]
async fn a_policy_says_which_of_its_nodes_others_drain_until_it_excludes_them() {
    let corner = Corner::new("overlaps", 3, json!({})).await;
    let [first, second, _] = &corner.nodes[..] else {
        panic!("three nodes")
    };
    label(&corner, first, json!({"karpenter.sh/nodepool": "general"})).await;
    label(
        &corner,
        second,
        json!({"eks.amazonaws.com/nodegroup": "web"}),
    )
    .await;
    let (karpenter, managed) = ("OverlapsKarpenter", "OverlapsManagedNodes");
    let words = ["NodesOfKarpenter: 1 of its 3 nodes", &first.name];
    await_said(&corner, karpenter, &words).await;
    let words = ["NodesOfEKS: 1 of its 3 nodes", &second.name];
    await_said(&corner, managed, &words).await;
    let absent = |key: &str| json!({"key": key, "operator": "DoesNotExist"});
    let selector = json!({"matchExpressions": [
        absent("karpenter.sh/nodepool"),
        absent("eks.amazonaws.com/nodegroup"),
    ]});
    // Merged: its nodes are still those of its team.
    corner
        .change_policy(json!({"nodeSelector": selector}))
        .await;
    corner
        .await_policy(|p| said(p, karpenter).is_none() && said(p, managed).is_none())
        .await;
}

#[tokio::test]
async fn spot_nodes_without_a_policy_are_named_on_the_policies_that_there_are_and_counted() {
    let corner = Corner::new("uncovered", 1, json!({})).await;
    let uncovered = "SpotNodesUncovered";
    let spot = map(&[("node.kubernetes.io/lifecycle", "spot")]);
    let prefix = format!("0-{}", corner.name);
    let nodes = make_nodes(&corner.client, &prefix, 1, &spot).await.unwrap();
    await_said(
        &corner,
        uncovered,
        &["NoPolicy: ", " spot nodes have no policy", &nodes[0].name],
    )
    .await;
    let operator = &corner.world.operator;
    let counted = operator
        .metric("node_termination_operator_uncovered_spot_nodes", &[])
        .await
        .unwrap();
    assert!(counted >= 1.0, "{counted}");
    label(&corner, &nodes[0], json!({"team": corner.name})).await;
    let named =
        |p: &TerminationPolicy| said(p, uncovered).is_some_and(|s| s.contains(&nodes[0].name));
    corner.await_policy(|p| !named(p)).await;
}

#[tokio::test]
async fn a_hook_that_times_out_before_the_next_heartbeat_is_told_on_the_policy_until_it_is_edited()
{
    let heartbeat =
        |seconds: u32| json!({"lifecycle": {"heartbeat": {"intervalSeconds": seconds}}});
    let corner = Corner::new("short-hook", 1, heartbeat(600)).await;
    corner.put_hook("drain", 300);
    let node = &corner.nodes[0];
    corner.scale_in(node, Timestamp::now());
    let kind = "HeartbeatShortened";
    let told = format!(
        "IntervalNotBelowTimeout: NodeTermination {}: heartbeats come every 150 s",
        node.instance_id
    );
    await_said(&corner, kind, &[&told]).await;
    corner.change_policy(heartbeat(120)).await;
    corner.await_policy(|p| said(p, kind).is_none()).await;
}
