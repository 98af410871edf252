//! One budget over many nodes, and names that come again.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::PostParams;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use node_termination_operator::api::termination::{Outcome, Phase};
use serde_json::json;
use testbed::cluster::{await_count, await_object, get_ready, instance_id, join_node, map};

use crate::budgets::{await_blocked, keep, keep_only, web};
use crate::scene::{Corner, TEAM, status, within};

/// How many nodes share the budget.
const NODES: usize = 10;

#[tokio::test]
async fn a_budget_of_one_over_ten_nodes_never_has_two_pods_down_and_they_go_in_the_order_of_their_deadlines()
 {
    let corner = Corner::new("ten", NODES + 1, json!({})).await;
    let (nodes, spare) = (&corner.nodes[..NODES], &corner.nodes[NODES]);
    let mut pods = Vec::new();
    for node in nodes {
        pods.extend(corner.make_pods(node, 1, web()).await);
    }
    let all = i32::try_from(NODES).unwrap();
    keep(&corner, "pdb", all).await;
    // The last node has the earliest deadline.
    let now = Timestamp::now();
    for (node, seconds) in nodes.iter().zip(0..) {
        corner.interrupt_at(node, now - SignedDuration::from_secs(seconds));
    }
    for node in nodes {
        await_blocked(&corner, node, 1).await;
    }
    assert!(corner.evictions().is_empty());
    keep_only(&corner, "pdb", all - 1).await;
    let api = Api::<Pod>::namespaced(corner.client.clone(), &corner.namespace);
    let budgets = Api::<PodDisruptionBudget>::namespaced(corner.client.clone(), &corner.namespace);
    for gone in pods.iter().rev() {
        // Each next one, and no other, goes when the one before has its replacement.
        within(await_object(api.clone(), &gone.name_any(), |p| p.is_none())).await;
        let selector = watcher::Config::default().labels("app=web");
        within(await_count(api.clone(), selector, NODES - 1, |_| true)).await;
        let tight = |b: Option<&PodDisruptionBudget>| {
            let status = b.and_then(|b| b.status.as_ref());
            status.is_some_and(|s| s.current_healthy == all - 1 && s.disruptions_allowed == 0)
        };
        within(await_object(budgets.clone(), "pdb", tight)).await;
        corner.make_pods(spare, 1, web()).await;
    }
    for node in nodes {
        let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
        assert_eq!(status(&incident).outcome, Some(Outcome::Drained));
        assert_eq!(status(&incident).pods.unwrap().forced, 0);
    }
    let evictions = corner.evictions();
    let accepted = evictions.iter().filter(|e| e.status_code == 201);
    let order: Vec<&str> = accepted.map(|e| e.name.as_str()).collect();
    let wanted: Vec<String> = pods.iter().rev().map(ResourceExt::name_any).collect();
    assert_eq!(order, wanted);
    let refused = evictions.len() - order.len();
    assert!(refused <= 2, "{refused} were sent in vain");
}

#[tokio::test]
async fn a_pod_that_takes_over_the_name_of_an_evicted_one_is_not_evicted_and_spends_no_budget() {
    let corner = Corner::new("names", 1, json!({})).await;
    let node = &corner.nodes[0];
    let object = json!({
        "metadata": {"name": "db"},
        "spec": {
            "serviceName": "db", "replicas": 3, "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "nodeSelector": {TEAM: corner.name},
                    "containers": [{"name": "main", "image": "example.invalid/none"}],
                },
            },
        },
    });
    let object: StatefulSet = serde_json::from_value(object).unwrap();
    let api = Api::<StatefulSet>::namespaced(corner.client.clone(), &corner.namespace);
    api.create(&PostParams::default(), &object).await.unwrap();
    let ready = |s: Option<&StatefulSet>| {
        let status = s.and_then(|s| s.status.as_ref());
        status.is_some_and(|s| s.ready_replicas == Some(3))
    };
    within(await_object(api.clone(), "db", ready)).await;
    keep(&corner, "pdb", 2).await;
    let spare = format!("{}-spare", corner.name);
    let labels = map(&[(TEAM, &corner.name)]);
    join_node(&corner.client, &spare, &instance_id(), &labels)
        .await
        .unwrap();
    get_ready(&corner.client, &spare).await.unwrap();
    // With a hook's long time: on a busy control plane three replacements may take longer than a spot notice gives.
    corner.put_hook("drain", 3600);
    corner.scale_in(node, Timestamp::now());
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    let pods = status(&incident).pods.unwrap();
    assert_eq!((pods.summary.as_str(), pods.forced), ("3/3", 0));
    within(await_object(api, "db", ready)).await;
    let evictions = corner.evictions();
    let accepted: Vec<_> = evictions.iter().filter(|e| e.status_code == 201).collect();
    assert_eq!(accepted.len(), 3, "{evictions:?}");
    for name in ["db-0", "db-1", "db-2"] {
        let of_name = accepted.iter().filter(|e| e.name == name);
        assert_eq!(of_name.count(), 1, "{name}");
    }
    assert!(
        evictions.iter().all(|e| e.status_code != 409),
        "a stale UID"
    );
    assert!(corner.deletions().is_empty());
}
