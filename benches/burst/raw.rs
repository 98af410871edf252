//! The raw limit: a client that does nothing else.

use std::time::Instant;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{PartialObjectMeta, Status};
use kube::{Api, Client, ResourceExt};
use node_termination_operator::api::Time;
use node_termination_operator::api::termination::{NodeTermination, Signal, SignalKind};
use node_termination_operator::cluster::record::{self, Identity};
use node_termination_operator::event::identity;
use serde_json::json;
use testbed::ControlPlane;
use testbed::cluster::TestNode;

use crate::{Round, Stage, seen};

/// Requests in flight, each on a connection of its own.
const CONNECTIONS: usize = 32;

pub async fn run(name: &'static str, control_plane: &ControlPlane, stage: &Stage) -> Round {
    let client = control_plane.client().await.unwrap();
    let pods: Api<PartialObjectMeta<Pod>> = Api::namespaced(client.clone(), &stage.namespace);
    let pods: Vec<String> = pods
        .list(&ListParams::default())
        .await
        .unwrap()
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    let seen = seen::watch(control_plane.client().await.unwrap(), stage).await;
    let start = Instant::now();
    futures::stream::iter(&stage.nodes)
        .for_each_concurrent(CONNECTIONS, |node| record_and_cordon(&client, node))
        .await;
    futures::stream::iter(&pods)
        .for_each_concurrent(CONNECTIONS, |pod| evict(&client, &stage.namespace, pod))
        .await;
    let seen = seen.await.unwrap();
    let records: Api<NodeTermination> = Api::all(client);
    records
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await
        .unwrap();
    Round {
        name,
        cordoned: seen.cordoned_after(start),
        gone: seen.gone.duration_since(start),
        cost: None,
    }
}

async fn record_and_cordon(client: &Client, node: &TestNode) {
    let notice = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    let id = identity::spot_interruption(&node.instance_id, notice, Some("terminate"));
    let signal = Signal {
        deadline: Some(Time(notice + SignedDuration::from_secs(120))),
        instance_action: Some("terminate".into()),
        ..Signal::new(id, SignalKind::SpotInterruption, Time(notice))
    };
    let whose = Identity {
        node_name: node.name.clone(),
        node_uid: node.uid.clone(),
        instance_id: node.instance_id.clone(),
    };
    let manager = identity::field_manager(&signal.id);
    record::apply(client, &node.instance_id, &manager, &whose, &signal)
        .await
        .unwrap();
    let nodes: Api<PartialObjectMeta<Node>> = Api::all(client.clone());
    let cordon = json!({"spec": {"unschedulable": true, "taints": [{"key": "nodetermination.dev/terminating", "effect": "NoSchedule"}]}});
    nodes
        .patch(&node.name, &PatchParams::default(), &Patch::Merge(cordon))
        .await
        .unwrap();
}

async fn evict(client: &Client, namespace: &str, pod: &str) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}});
    let evicted: Result<Status, _> = pods
        .create_subresource("eviction", pod, &PostParams::default(), &body)
        .await;
    evicted.unwrap();
}
