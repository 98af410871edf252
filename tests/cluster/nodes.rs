//! What is done to a node and its pods, and what is not.

use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use node_termination_operator::api::termination::{Outcome, Phase};
use serde_json::{Value, json};
use testbed::aws::ActionState;
use testbed::cluster::{PodOptions, TestNode, await_object, delete_node, make_nodes, map};
use testbed::operator;

use crate::budgets::{await_blocked, keep};
use crate::scene::{
    Corner, TEAM, is_cordoned, is_untouched, something_else_is_drained, status, within,
};

const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

#[tokio::test]
async fn a_new_machine_under_the_old_name_is_not_touched_and_the_old_incident_ends() {
    let corner = Corner::new("replaced", 1, json!({})).await;
    let node = &corner.nodes[0];
    let web = PodOptions::default().label("app", "web");
    corner.make_pods(node, 1, web).await;
    keep(&corner, "pdb", 1).await;
    corner.interrupt(node);
    await_blocked(&corner, node, 1).await;
    delete_node(&corner.client, &node.name).await.unwrap();
    let labels = map(&[(TEAM, &corner.name)]);
    let new = make_nodes(&corner.client, &corner.name, 1, &labels)
        .await
        .unwrap();
    assert!(new[0].name == node.name && new[0].instance_id != node.instance_id);
    let incident = corner
        .await_phase(&node.instance_id, Phase::Completed)
        .await;
    assert_eq!(status(&incident).outcome, Some(Outcome::NodeGone));
    something_else_is_drained().await;
    corner.await_node(node, is_untouched).await;
    let patches = corner.requests(|e| e.resource == "nodes" && e.name == node.name);
    assert_eq!(patches.len(), 1, "the cordon of the old one: {patches:?}");
    assert!(corner.evictions().is_empty());
}

/// A DaemonSet for the corner's nodes, whose own controller makes its pods.
pub async fn make_daemon_set(corner: &Corner) {
    let object = json!({
        "metadata": {"name": "daemon"},
        "spec": {
            "selector": {"matchLabels": {"app": "daemon"}},
            "template": {
                "metadata": {"labels": {"app": "daemon"}},
                "spec": {
                    "nodeSelector": {TEAM: corner.name},
                    "containers": [{"name": "main", "image": "example.invalid/none"}],
                },
            },
        },
    });
    let object: DaemonSet = serde_json::from_value(object).unwrap();
    let api = Api::<DaemonSet>::namespaced(corner.client.clone(), &corner.namespace);
    api.create(&PostParams::default(), &object).await.unwrap();
    let ready = |d: Option<&DaemonSet>| {
        let status = d.and_then(|d| d.status.as_ref());
        status.is_some_and(|s| s.number_ready == 1)
    };
    within(await_object(api, "daemon", ready)).await;
}

#[tokio::test]
async fn daemon_mirror_and_skipped_pods_stay_and_the_load_balancers_are_told() {
    let skip = json!({"skipPodSelector": {"matchLabels": {"keep": "yes"}}});
    let settings = json!({"cordon": {"excludeFromLoadBalancers": true}, "drain": skip});
    let corner = Corner::new("stay", 1, settings).await;
    let node = &corner.nodes[0];
    make_daemon_set(&corner).await;
    let kept = PodOptions::default().label("keep", "yes");
    let mirror = PodOptions::default().annotation("kubernetes.io/config.mirror", "hash");
    let stay = corner.make_pods(node, 1, kept).await;
    let mirrors = corner.make_pods(node, 1, mirror).await;
    let go = corner.make_pods(node, 2, PodOptions::default()).await;
    corner.interrupt(node);
    corner.await_gone(&go).await;
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    let pods = status(&incident).pods.unwrap();
    assert_eq!((pods.summary.as_str(), pods.skipped), ("2/2", 3));
    let api = Api::<Pod>::namespaced(corner.client.clone(), &corner.namespace);
    let left = api.list(&ListParams::default()).await.unwrap().items;
    assert!(left.iter().all(|p| p.metadata.deletion_timestamp.is_none()));
    for name in [stay[0].name_any(), mirrors[0].name_any()] {
        assert!(left.iter().any(|p| p.name_any() == name), "{name}");
    }
    assert_eq!(left.len(), 3);
    assert_eq!(corner.evictions().len(), 2);
    let closed = corner.await_node(node, is_cordoned).await;
    assert_eq!(
        closed.labels().get(EXCLUDE).map(String::as_str),
        Some("true")
    );
    let taints = closed.spec.unwrap().taints.unwrap();
    let ours = taints
        .iter()
        .find(|t| t.key == "nodetermination.dev/terminating");
    assert_eq!(ours.unwrap().value.as_deref(), Some("SpotInterruption"));
}

#[tokio::test]
async fn the_operators_own_pod_is_the_last_to_go() {
    let corner = Corner::new("own", 1, json!({})).await;
    let node = &corner.nodes[0];
    // As the Deployment would make it: the replica's identity is its pod's name.
    let safe = json!({
        "allowPrivilegeEscalation": false, "runAsNonRoot": true,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
    });
    let container =
        json!({"name": "main", "image": "example.invalid/none", "securityContext": safe});
    let own = json!({
        "metadata": {"name": corner.world.operator.identity()},
        "spec": {"nodeName": node.name, "containers": [container]},
    });
    let own: Pod = serde_json::from_value(own).unwrap();
    let home = Api::<Pod>::namespaced(corner.client.clone(), operator::NAME);
    home.create(&PostParams::default(), &own).await.unwrap();
    let slow = PodOptions::default().gone_after(Duration::from_secs(3));
    let pods = corner.make_pods(node, 1, slow).await;
    corner.interrupt(node);
    corner.await_gone(&pods).await;
    corner.await_phase(&node.instance_id, Phase::Released).await;
    let others = corner.evictions();
    let own = corner.requests(|e| e.namespace == operator::NAME && e.subresource == "eviction");
    assert_eq!((others.len(), own.len()), (1, 1));
    let waited = own[0].time.duration_since(others[0].time);
    assert!(waited.as_secs() >= 3, "{waited:?}");
}

/// Both kinds of notice are recorded, and nothing else happens.
async fn is_only_observed(name: &str, settings: Value) {
    let corner = Corner::new(name, 1, settings).await;
    corner.put_hook("drain", 300);
    let node: &TestNode = &corner.nodes[0];
    corner.make_pods(node, 1, PodOptions::default()).await;
    corner.interrupt(node);
    let action = corner.scale_in(node, corner.world.aws.now()).remove(0);
    let incident = corner
        .await_incident(&node.instance_id, |i| {
            i.spec.signals.len() == 2 && status(i).phase == Some(Phase::Released)
        })
        .await;
    assert_eq!(status(&incident).outcome, Some(Outcome::Observed));
    something_else_is_drained().await;
    let nodes = Api::<Node>::all(corner.client.clone());
    assert!(is_untouched(&nodes.get(&node.name).await.unwrap()));
    assert!(corner.requests(|e| e.name == node.name).is_empty());
    assert!(
        corner
            .requests(|e| e.namespace == corner.namespace)
            .is_empty()
    );
    let state = corner.world.aws.action_state(&action.token);
    assert!(
        matches!(state, Some(ActionState::Waiting { .. })),
        "{state:?}"
    );
    for operation in ["CompleteLifecycleAction", "RecordLifecycleActionHeartbeat"] {
        assert!(corner.calls(operation).is_empty(), "{operation}");
    }
    delete_node(&corner.client, &node.name).await.unwrap();
    let incident = corner
        .await_phase(&node.instance_id, Phase::Completed)
        .await;
    assert_eq!(status(&incident).outcome, Some(Outcome::Observed));
}

#[tokio::test]
async fn observing_changes_nothing_and_leaves_hooks_alone() {
    let heartbeat = json!({"heartbeat": {"intervalSeconds": 30, "untilSeconds": 600}});
    let actions = json!({"spotInterruption": "Observe", "autoScalingTermination": "Observe"});
    tokio::join!(
        is_only_observed(
            "observe",
            json!({"mode": "Observe", "lifecycle": heartbeat})
        ),
        is_only_observed(
            "observed",
            json!({"actions": actions, "lifecycle": heartbeat})
        ),
    );
}
