//! Each sort of pod on a real control plane: who leaves how, who is left, and what is said of it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod, Toleration};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};
use node_termination_operator::api::termination::{
    BlockReason, LeftReason, NodeTermination, Outcome, Phase,
};
use serde_json::{Value, json};
use testbed::Webhook;
use testbed::cluster::{
    PodOptions, TestNode, await_count, await_object, get_ready, instance_id, join_node,
    make_deployment, map,
};

use crate::budgets::{await_blocked, keep, web};
use crate::nodes::make_daemon_set;
use crate::scene::{Corner, TEAM, is_cordoned, says, something_else_is_drained, status, within};

fn api(corner: &Corner) -> Api<Pod> {
    Api::namespaced(corner.client.clone(), &corner.namespace)
}

async fn patch_status(corner: &Corner, pod: &Pod, body: Value) {
    let patch = Patch::Strategic(json!({"status": body}));
    api(corner)
        .patch_status(&pod.name_any(), &PatchParams::default(), &patch)
        .await
        .unwrap();
}

async fn delete(corner: &Corner, pod: &Pod) {
    let name = pod.name_any();
    api(corner)
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
}

/// A spot notice of the node that leaves half a minute.
fn interrupt_late(corner: &Corner, node: &TestNode) {
    corner.interrupt_at(node, Timestamp::now() - SignedDuration::from_secs(90));
}

/// A second node that the corner's pods may go to.
async fn join_spare(corner: &Corner) {
    let name = format!("{}-spare", corner.name);
    let labels = map(&[(TEAM, &corner.name)]);
    join_node(&corner.client, &name, &instance_id(), &labels)
        .await
        .unwrap();
    get_ready(&corner.client, &name).await.unwrap();
}

async fn released(corner: &Corner) -> NodeTermination {
    let node = &corner.nodes[0];
    corner.await_phase(&node.instance_id, Phase::Released).await
}

/// How many Events of that reason tell of the incident.
async fn events(corner: &Corner, reason: &str) -> Vec<Event> {
    let name = &corner.nodes[0].instance_id;
    let fields = format!("involvedObject.name={name},reason={reason}");
    let api = Api::<Event>::all(corner.client.clone());
    let listed = api.list(&ListParams::default().fields(&fields)).await;
    listed.unwrap().items
}

#[tokio::test]
async fn pods_that_have_ended_or_end_get_no_request_and_a_finalizer_of_a_stopped_one_is_named() {
    let corner = Corner::new("ended", 1, json!({})).await;
    let node = &corner.nodes[0];
    let finished = corner.make_pods(node, 1, PodOptions::default()).await;
    patch_status(&corner, &finished[0], json!({"phase": "Succeeded"})).await;
    let slow = PodOptions::default().gone_after(Duration::from_secs(4));
    let ending = corner.make_pods(node, 1, slow).await;
    let kept = corner.make_pods(node, 1, PodOptions::default()).await;
    let finalizer = Patch::Merge(json!({"metadata": {"finalizers": ["example.com/hold"]}}));
    api(&corner)
        .patch(&kept[0].name_any(), &PatchParams::default(), &finalizer)
        .await
        .unwrap();
    delete(&corner, &kept[0]).await;
    patch_status(&corner, &kept[0], json!({"phase": "Failed"})).await;
    delete(&corner, &ending[0]).await;
    corner.interrupt(node);
    let incident = released(&corner).await;
    assert_eq!(status(&incident).outcome, Some(Outcome::Drained));
    assert!(corner.evictions().is_empty() && corner.deletions().is_empty());
    let left = status(&incident).left;
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].pod.ends_with(&kept[0].name_any()));
    assert_eq!(left[0].reason, LeftReason::Finalizers);
    assert!(left[0].message.contains("example.com/hold"));
    let released = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api(&corner)
        .patch(&kept[0].name_any(), &PatchParams::default(), &released)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_pod_that_ends_too_slowly_is_cut_short_past_its_budget() {
    let corner = Corner::new("slow", 1, json!({})).await;
    let node = &corner.nodes[0];
    let slow = web().grace(600).gone_after(Duration::from_secs(20));
    let pods = corner.make_pods(node, 1, slow).await;
    keep(&corner, "pdb", 1).await;
    delete(&corner, &pods[0]).await;
    corner.interrupt(node);
    let cut = |p: Option<&Pod>| {
        p.is_some_and(|p| {
            let grace = p.metadata.deletion_grace_period_seconds;
            grace.is_some_and(|grace| grace <= 112)
        })
    };
    within(await_object(api(&corner), &pods[0].name_any(), cut)).await;
    corner
        .await_incident(&node.instance_id, |i| {
            says(i, "DeadlineAtRisk", true, "GraceCut")
        })
        .await;
    let incident = released(&corner).await;
    assert_eq!(status(&incident).outcome, Some(Outcome::Drained));
    assert!(says(&incident, "DeadlineAtRisk", false, "Drained"));
    assert_eq!(events(&corner, "DeadlineAtRisk").await.len(), 1);
    assert_eq!(corner.evictions().len(), 1);
    assert!(corner.deletions().is_empty());
}

#[tokio::test]
async fn pods_without_a_controller_leave_and_the_last_event_warns_that_nothing_brings_them_back() {
    let corner = Corner::new("bare", 1, json!({})).await;
    let pods = corner
        .make_pods(&corner.nodes[0], 2, PodOptions::default())
        .await;
    corner.interrupt(&corner.nodes[0]);
    let incident = released(&corner).await;
    let mut named: Vec<String> = pods
        .iter()
        .map(|p| format!("{}/{}", corner.namespace, p.name_any()))
        .collect();
    named.sort();
    assert_eq!(status(&incident).unmanaged, named);
    something_else_is_drained().await;
    let warned = events(&corner, "Released").await;
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert_eq!(warned[0].type_.as_deref(), Some("Warning"));
    assert!(warned[0].message.as_ref().unwrap().contains(&named[0]));
}

#[tokio::test]
async fn a_deployment_that_tolerates_everything_is_evicted_once_and_what_comes_back_is_left_and_named()
 {
    let corner = Corner::new("tolerant", 1, json!({})).await;
    let node = &corner.nodes[0];
    let options = PodOptions {
        node_selector: map(&[(TEAM, &corner.name)]),
        tolerations: vec![Toleration {
            operator: Some("Exists".into()),
            ..Toleration::default()
        }],
        ..PodOptions::default()
    };
    make_deployment(&corner.client, &corner.namespace, "web", 2, &options)
        .await
        .unwrap();
    let slow = PodOptions::default().gone_after(Duration::from_secs(3));
    corner.make_pods(node, 1, slow).await;
    corner.interrupt(node);
    let incident = released(&corner).await;
    assert_eq!(status(&incident).outcome, Some(Outcome::Drained));
    something_else_is_drained().await;
    let evictions = corner.evictions();
    assert_eq!(evictions.len(), 3, "{evictions:?}");
    let left = status(&incident).left;
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.iter().all(|l| l.reason == LeftReason::Returned));
}

#[tokio::test]
async fn a_pod_that_is_bound_to_the_node_after_the_cordon_is_evicted_too() {
    let corner = Corner::new("late", 1, json!({})).await;
    let node = &corner.nodes[0];
    let slow = PodOptions::default().gone_after(Duration::from_secs(6));
    corner.make_pods(node, 1, slow).await;
    corner.interrupt(node);
    corner.await_node(node, is_cordoned).await;
    // As a scheduler does that has not seen the cordon.
    let late = corner.make_pods(node, 2, PodOptions::default()).await;
    corner.await_gone(&late).await;
    let incident = released(&corner).await;
    let said = status(&incident);
    assert_eq!(said.outcome, Some(Outcome::Drained));
    assert_eq!(said.pods.unwrap().summary, "3/3");
    // One that has just become Ready may be refused for its version: it was pinned while the pod was Pending.
    let evictions = corner.evictions();
    let accepted = evictions.iter().filter(|e| e.status_code == 201);
    assert_eq!(accepted.count(), 3, "{evictions:?}");
    assert!(
        evictions.iter().all(|e| matches!(e.status_code, 201 | 409)),
        "{evictions:?}"
    );
}

#[tokio::test]
async fn daemon_pods_that_are_to_leave_go_last_and_do_not_come_back_under_our_taint() {
    let drain = json!({"daemonSetPods": "EvictLast"});
    let corner = Corner::new("evictlast", 1, json!({"drain": drain})).await;
    let node = &corner.nodes[0];
    make_daemon_set(&corner).await;
    let slow = PodOptions::default().gone_after(Duration::from_secs(3));
    let pods = corner.make_pods(node, 1, slow).await;
    corner.interrupt(node);
    let incident = released(&corner).await;
    assert_eq!(status(&incident).outcome, Some(Outcome::Drained));
    something_else_is_drained().await;
    let evictions = corner.evictions();
    assert_eq!(evictions.len(), 2, "{evictions:?}");
    assert_eq!(evictions[0].name, pods[0].name_any());
    let waited = evictions[1].time.duration_since(evictions[0].time);
    assert!(waited.as_secs() >= 3, "{waited:?}");
    let left = api(&corner).list(&ListParams::default()).await.unwrap();
    assert!(left.items.is_empty(), "{:?}", left.items);
}

#[tokio::test]
async fn a_pod_that_is_not_ready_leaves_past_a_budget_without_room_if_that_says_always_allow() {
    let corner = Corner::new("sick", 1, json!({})).await;
    let node = &corner.nodes[0];
    let pods = corner.make_pods(node, 2, web()).await;
    let unready = json!({"conditions": [{"type": "Ready", "status": "False"}]});
    patch_status(&corner, &pods[0], unready).await;
    keep(&corner, "pdb", 2).await;
    let budgets = Api::<PodDisruptionBudget>::namespaced(corner.client.clone(), &corner.namespace);
    let always = Patch::Merge(json!({"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}}));
    budgets
        .patch("pdb", &PatchParams::default(), &always)
        .await
        .unwrap();
    let counted = |b: Option<&PodDisruptionBudget>| {
        let status = b.and_then(|b| b.status.as_ref());
        status.is_some_and(|s| s.current_healthy == 1)
    };
    within(await_object(budgets, "pdb", counted)).await;
    corner.interrupt(node);
    corner.await_gone(&pods[..1]).await;
    await_blocked(&corner, node, 1).await;
    let evictions = corner.evictions();
    assert_eq!(evictions.len(), 1, "{evictions:?}");
    assert_eq!(evictions[0].name, pods[0].name_any());
}

#[tokio::test]
async fn a_budget_that_can_not_be_computed_is_told_at_once_and_not_asked() {
    let corner = Corner::new("unsynced", 1, json!({})).await;
    let node = &corner.nodes[0];
    // A share of what a controller wants, of one that says not how many that is.
    let maps = Api::<ConfigMap>::namespaced(corner.client.clone(), &corner.namespace);
    let owner: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "owner"}})).unwrap();
    let owner = maps.create(&PostParams::default(), &owner).await.unwrap();
    let options = PodOptions {
        owner: owner.controller_owner_ref(&()),
        ..web()
    };
    corner.make_pods(node, 1, options).await;
    let budget: PodDisruptionBudget = serde_json::from_value(json!({
        "metadata": {"name": "pdb"},
        "spec": {"maxUnavailable": "50%", "selector": {"matchLabels": {"app": "web"}}},
    }))
    .unwrap();
    let budgets = Api::<PodDisruptionBudget>::namespaced(corner.client.clone(), &corner.namespace);
    budgets
        .create(&PostParams::default(), &budget)
        .await
        .unwrap();
    let failed = |b: Option<&PodDisruptionBudget>| {
        let status = b.and_then(|b| b.status.as_ref());
        let conditions = status.and_then(|s| s.conditions.as_ref());
        conditions.is_some_and(|c| c.iter().any(|c| c.reason == "SyncFailed"))
    };
    within(await_object(budgets, "pdb", failed)).await;
    corner.interrupt(node);
    let incident = await_blocked(&corner, node, 1).await;
    let blocked = &status(&incident).blocked[0];
    assert_eq!(blocked.reason, BlockReason::BudgetSyncFailed);
    assert_eq!(blocked.by, Some(format!("{}/pdb", corner.namespace)));
    something_else_is_drained().await;
    assert!(corner.evictions().is_empty());
}

#[tokio::test]
async fn a_webhook_that_denies_one_pod_holds_up_no_other_and_what_it_denies_to_the_last_is_left_and_told()
 {
    let corner = Corner::new("denied", 1, json!({})).await;
    let node = &corner.nodes[0];
    let guarded = corner.make_pods(node, 1, PodOptions::default()).await;
    let webhook = Webhook::start().unwrap();
    webhook.deny(403, "not today");
    let webhooks = Api::<ValidatingWebhookConfiguration>::all(corner.client.clone());
    let post = PostParams::default();
    let namespace = &corner.namespace;
    let mut names = Vec::new();
    for (name, asked) in [
        ("evictions.example.com", ("CREATE", "pods/eviction")),
        ("deletions.example.com", ("DELETE", "pods")),
    ] {
        let object = webhook.configuration(name, namespace, asked);
        names.push(webhooks.create(&post, &object).await.unwrap().name_any());
    }
    let deletion_is_denied = async {
        let params = DeleteParams::default().dry_run();
        loop {
            let name = guarded[0].name_any();
            if api(&corner).delete(&name, &params).await.is_err() {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within(deletion_is_denied).await;
    // This is how some tell that they move the pod themselves: it is no overload.
    webhook.deny(429, "it moves by itself");
    interrupt_late(&corner, node);
    let incident = await_blocked(&corner, node, 1).await;
    let blocked = &status(&incident).blocked[0];
    assert_eq!(blocked.reason, BlockReason::Webhook);
    assert_eq!(blocked.by.as_deref(), Some("evictions.example.com"));
    assert!(blocked.message.contains("it moves by itself"));
    assert!(blocked.force_time.is_some());
    assert!(says(&incident, "DeadlineAtRisk", true, "Refused"));
    let incident = released(&corner).await;
    assert_eq!(status(&incident).outcome, Some(Outcome::DrainIncomplete));
    assert!(says(&incident, "DeadlineAtRisk", true, "Missed"));
    let blocked = &status(&incident).blocked[0];
    assert_eq!(blocked.by.as_deref(), Some("deletions.example.com"));
    assert!(!corner.deletions().is_empty(), "at its last moment");
    let pod = api(&corner).get(&guarded[0].name_any()).await.unwrap();
    assert!(pod.metadata.deletion_timestamp.is_none());
    let name = "node_termination_operator_evictions_total";
    let overloads = corner
        .world
        .operator
        .metric(name, &["answer=\"Overloaded\""]);
    assert!(overloads.await.unwrap() < 1.0);
    for name in names {
        let params = DeleteParams::default();
        webhooks.delete(&name, &params).await.unwrap();
    }
}

#[tokio::test]
async fn a_job_does_not_count_the_pod_that_is_forced_out_as_its_failure() {
    let corner = Corner::new("job", 1, json!({})).await;
    let node = &corner.nodes[0];
    let job: Job = serde_json::from_value(json!({
        "metadata": {"name": "job"},
        "spec": {
            "backoffLimit": 0,
            "podFailurePolicy": {"rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]},
            "template": {
                "metadata": {"labels": {"app": "web"}, "annotations": {"testbed/lasting": "true"}},
                "spec": {
                    "restartPolicy": "Never",
                    "nodeSelector": {TEAM: corner.name},
                    "containers": [{"name": "main", "image": "example.invalid/none"}],
                },
            },
        },
    }))
    .unwrap();
    let jobs = Api::<Job>::namespaced(corner.client.clone(), &corner.namespace);
    jobs.create(&PostParams::default(), &job).await.unwrap();
    let runs = |j: Option<&Job>| {
        let status = j.and_then(|j| j.status.as_ref());
        status.is_some_and(|s| s.ready == Some(1))
    };
    within(await_object(jobs.clone(), "job", runs)).await;
    let selector = watcher::Config::default().labels("app=web");
    let params = ListParams::default().labels("app=web");
    let first = api(&corner).list(&params).await.unwrap().items.remove(0);
    keep(&corner, "pdb", 1).await;
    join_spare(&corner).await;
    interrupt_late(&corner, node);
    let told = |p: Option<&Pod>| p.is_some_and(|p| p.metadata.deletion_timestamp.is_some());
    within(await_object(api(&corner), &first.name_any(), told)).await;
    // What the kubelet says of a container that was killed.
    patch_status(&corner, &first, json!({"phase": "Failed"})).await;
    let next = |p: &Pod| p.uid() != first.uid() && p.metadata.deletion_timestamp.is_none();
    within(await_count(api(&corner), selector, 1, next)).await;
    let incident = released(&corner).await;
    assert_eq!(status(&incident).pods.unwrap().forced, 1);
    let job = jobs.get("job").await.unwrap().status.unwrap();
    assert_eq!(job.failed.unwrap_or(0), 0, "{job:?}");
    let over = job.conditions.unwrap_or_default();
    assert!(over.iter().all(|c| c.type_ != "Failed"), "{over:?}");
}
