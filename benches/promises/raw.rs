//! The raw limit: a client that does nothing else.

use std::time::Instant;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::core::{PartialObjectMeta, Status};
use kube::{Api, Client, ResourceExt};
use node_termination_operator::cluster::record::{self, Identity};
use node_termination_operator::event::{self, Parsed, identity};
use serde_json::json;
use testbed::aws::events;
use testbed::cluster::TestNode;

use crate::bed::{Bed, CONNECTIONS};
use crate::seen::{self, Round};
use crate::stage::Stage;

/// One record and one cordon for each node, then one eviction for each pod.
pub async fn run(bed: &Bed, stage: &Stage) -> anyhow::Result<Round> {
    let client = bed.control_plane.client().await?;
    let pods: Api<PartialObjectMeta<Pod>> = Api::namespaced(client.clone(), &stage.namespace);
    let pods = pods.list(&ListParams::default()).await?.items;
    let seen = seen::watch(bed, stage).await?;
    let start = Instant::now();
    let nodes = stage.nodes.iter().map(|n| record_and_cordon(&client, n));
    at_once(nodes.collect::<Vec<_>>()).await?;
    let pods = pods
        .iter()
        .map(|p| evict(&client, &stage.namespace, p.name_any()));
    at_once(pods.collect::<Vec<_>>()).await?;
    let round = Round::new(seen.all().await?, start);
    bed.forget_incidents().await?;
    Ok(round)
}

/// Sends requests over all connections.
pub async fn at_once(
    requests: Vec<impl Future<Output = anyhow::Result<()>>>,
) -> anyhow::Result<()> {
    let requests = futures::stream::iter(requests).buffer_unordered(CONNECTIONS);
    requests.try_collect().await
}

/// What the operator does about a spot notice, at least.
pub async fn record_and_cordon(client: &Client, node: &TestNode) -> anyhow::Result<()> {
    let notice = events::spot_interruption(&node.instance_id, Timestamp::now());
    record(client, node, &notice).await?;
    let nodes: Api<PartialObjectMeta<Node>> = Api::all(client.clone());
    let taint = json!({"key": "nodetermination.dev/terminating", "effect": "NoSchedule"});
    let cordon = json!({"spec": {"unschedulable": true, "taints": [taint]}});
    let cordon = Patch::Merge(cordon);
    nodes
        .patch(&node.name, &PatchParams::default(), &cordon)
        .await?;
    Ok(())
}

/// Records what a message says about the node.
pub async fn record(client: &Client, node: &TestNode, message: &str) -> anyhow::Result<()> {
    let Parsed::Signals(heard) = event::parse(message)? else {
        anyhow::bail!("no signal: {message}");
    };
    let signal = &heard.first().context("a signal")?.signal;
    let whose = Identity {
        node_name: node.name.clone(),
        node_uid: node.uid.clone(),
        instance_id: node.instance_id.clone(),
    };
    let manager = identity::field_manager(&signal.id);
    record::apply(client, &node.instance_id, &manager, &whose, signal).await?;
    Ok(())
}

/// Tells a pod to end.
pub async fn evict(client: &Client, namespace: &str, pod: String) -> anyhow::Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}});
    let post = PostParams::default();
    let _: Status = pods
        .create_subresource("eviction", &pod, &post, &body)
        .await?;
    Ok(())
}
