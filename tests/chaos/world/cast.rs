//! Nodes and pods: those of the plan, and those of real controllers, which the scheduler places and makes anew elsewhere.

use std::fmt::Debug;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testbed::cluster::{
    Budget, PodOptions, TestNode, await_object, make_deployment, make_nodes, make_pdb, make_pods,
    map,
};

use super::NAMESPACE;
use super::pools::POOL;
use crate::plan::{NodePlan, Plan};

/// The label of pods whose budget never has room.
const KEPT: (&str, &str) = ("chaos", "kept");
/// Nodes and their pods that are made at once.
const PARALLEL: usize = 10;

/// Makes all of them, and waits until the pods run.
pub async fn make(client: &Client, plan: &Plan) -> Vec<TestNode> {
    make_namespace(client).await;
    let nodes = make_nodes(client, "node", plan.nodes.len(), &map(&[]))
        .await
        .unwrap();
    let dress = nodes
        .iter()
        .zip(&plan.nodes)
        .map(|(node, plan)| dress(client, node, plan));
    let dress: Vec<_> = dress.collect();
    futures::stream::iter(dress)
        .buffer_unordered(PARALLEL)
        .collect::<Vec<()>>()
        .await;
    let kept = plan
        .nodes
        .iter()
        .flat_map(|n| &n.pods)
        .filter(|p| p.kept)
        .count();
    if kept > 0 {
        let all = Budget::MinAvailable(number(kept));
        let labels = map(&[KEPT]);
        make_pdb(client, NAMESPACE, "kept", &labels, all)
            .await
            .unwrap();
    }
    make_workloads(client, plan.nodes.len()).await;
    nodes
}

async fn make_namespace(client: &Client) {
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).unwrap();
    let api = Api::<Namespace>::all(client.clone());
    api.create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), NAMESPACE);
    await_object(accounts, "default", |a| a.is_some())
        .await
        .unwrap();
}

/// The node's pool, its boot ID, perhaps a cordon, and its own pods.
async fn dress(client: &Client, node: &TestNode, plan: &NodePlan) {
    let api = Api::<Node>::all(client.clone());
    let mut patch = json!({"metadata": {"labels": {POOL: plan.pool.name()}}});
    if plan.cordoned {
        patch["spec"] = json!({"unschedulable": true});
    }
    let params = PatchParams::default();
    api.patch(&node.name, &params, &Patch::Merge(patch))
        .await
        .unwrap();
    boot(client, &node.name, "first").await;
    for pod in &plan.pods {
        let mut options = PodOptions::default()
            .grace(pod.grace.into())
            .gone_after(pod.gone_after);
        if pod.kept {
            options = options.label(KEPT.0, KEPT.1);
        }
        make_pods(client, NAMESPACE, &node.name, 1, &options)
            .await
            .unwrap();
    }
}

/// Gives the node a boot ID.
pub async fn boot(client: &Client, node: &str, id: &str) {
    let api = Api::<Node>::all(client.clone());
    let booted = json!({"status": {"nodeInfo": {"bootID": id}}});
    api.patch_status(node, &PatchParams::default(), &Patch::Strategic(booted))
        .await
        .unwrap();
}

/// Deployments with a roomy and with a tight budget, a `StatefulSet` that uses its names again, a `DaemonSet`, a Job.
async fn make_workloads(client: &Client, nodes: usize) {
    let count = |share: usize| i32::try_from((nodes / share).max(2)).unwrap();
    let plain = PodOptions::default();
    for (name, replicas, room) in [
        ("roomy", count(1), "50%".to_owned()),
        ("tight", count(4), "2".to_owned()),
    ] {
        make_deployment(client, NAMESPACE, name, replicas, &plain)
            .await
            .unwrap();
        let room = room
            .parse()
            .map_or(IntOrString::String(room), IntOrString::Int);
        let labels = map(&[("app", name)]);
        make_pdb(
            client,
            NAMESPACE,
            name,
            &labels,
            Budget::MaxUnavailable(room),
        )
        .await
        .unwrap();
    }
    create::<StatefulSet>(client, "stateful", |template| {
        json!({"replicas": count(5), "podManagementPolicy": "Parallel", "serviceName": "none", "template": template})
    })
    .await;
    create::<DaemonSet>(client, "daemon", |template| json!({"template": template})).await;
    create::<Job>(client, "job", |mut template| {
        template["spec"]["restartPolicy"] = json!("Never");
        json!({"parallelism": count(10), "completions": count(10), "manualSelector": true, "template": template})
    })
    .await;
}

async fn create<K>(client: &Client, name: &str, spec: impl FnOnce(Value) -> Value)
where
    K: Clone + Debug + DeserializeOwned + Serialize + Resource<Scope = NamespaceResourceScope>,
    K::DynamicType: Default,
{
    let labels = json!({"app": name});
    let container = json!({"name": "main", "image": "example.invalid/none"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
    let mut spec = spec(template);
    spec["selector"] = json!({"matchLabels": labels});
    let object: K =
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap();
    let api = Api::<K>::namespaced(client.clone(), NAMESPACE);
    api.create(&PostParams::default(), &object).await.unwrap();
}

fn number(count: usize) -> IntOrString {
    IntOrString::Int(count.try_into().unwrap())
}

/// All pods of the run.
pub fn pods(client: &Client) -> Api<Pod> {
    Api::namespaced(client.clone(), NAMESPACE)
}
