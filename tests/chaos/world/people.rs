//! The lane of people, who know nothing of what fails.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use node_termination_operator::api::policy::TerminationPolicy;
use node_termination_operator::api::termination::NodeTermination;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::{GIVEN_UP_AFTER, World, cast, until};
use crate::history::Done;
use crate::invariants::{LABEL, TAINT};
use crate::plan::Deed;
use crate::plan::deed::DeedKind;

/// Every deed at its time.
pub async fn act(world: &World, start: Instant) {
    let mut holds = JoinSet::new();
    for step in &world.plan.deeds {
        until(step, start).await;
        let Deed { node, kind } = step.act;
        let time = Timestamp::now();
        let index = {
            let mut log = world.log();
            log.deeds.push(Done {
                time,
                node,
                kind,
                certain: false,
            });
            log.deeds.len() - 1
        };
        let done = timeout(GIVEN_UP_AFTER, carry_out(world, step.act)).await;
        world.log().deeds[index].certain = matches!(done, Ok(Ok(true)));
        if let DeedKind::Hold { lasting } = kind {
            let api = Api::<NodeTermination>::all(world.client.clone());
            let name = world.nodes[node].instance_id.clone();
            holds.spawn(async move {
                sleep(lasting).await;
                let_go(&api, &name).await;
            });
        }
    }
    holds.join_all().await;
}

/// `false`: there was nothing to do it to.
async fn carry_out(world: &World, deed: Deed) -> kube::Result<bool> {
    let name = &world.nodes[deed.node].name;
    let incident = &world.nodes[deed.node].instance_id;
    let nodes = Api::<Node>::all(world.client.clone());
    let incidents = Api::<NodeTermination>::all(world.client.clone());
    let done = match deed.kind {
        DeedKind::Uncordon => merge(&nodes, name, json!({"spec": {"unschedulable": null}})).await,
        DeedKind::Label => {
            merge(
                &nodes,
                name,
                json!({"metadata": {"labels": {LABEL: "mine"}}}),
            )
            .await
        }
        DeedKind::Taint => taint(&nodes, name).await,
        DeedKind::Cancel => merge(&incidents, incident, json!({"spec": {"cancel": true}})).await,
        DeedKind::Hold { .. } => merge(&incidents, incident, json!({"spec": {"hold": true}})).await,
        DeedKind::DeleteIncident => delete(&incidents, incident).await,
        DeedKind::DeleteNode => delete(&nodes, name).await,
        DeedKind::EditPolicy => {
            let policies = Api::<TerminationPolicy>::all(world.client.clone());
            let pool = world.plan.nodes[deed.node].pool.name();
            let limit = 1000 + Timestamp::now().as_second() % 1000;
            merge(&policies, pool, json!({"spec": {"historyLimit": limit}})).await
        }
        DeedKind::DeletePod => delete_pod(world, name).await,
    };
    match done {
        Ok(()) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

async fn merge<K>(api: &Api<K>, name: &str, patch: Value) -> kube::Result<()>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let params = PatchParams::default();
    api.patch(name, &params, &Patch::Merge(patch))
        .await
        .map(drop)
}

async fn delete<K>(api: &Api<K>, name: &str) -> kube::Result<()>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    api.delete(name, &DeleteParams::default()).await.map(drop)
}

/// As `kubectl taint` does it: the list as it was read, and one more.
async fn taint(nodes: &Api<Node>, name: &str) -> kube::Result<()> {
    let node = nodes.get(name).await?;
    let taints = node.spec.as_ref().and_then(|s| s.taints.clone());
    let mut taints = json!(taints.unwrap_or_default());
    let (key, effect) = TAINT.split_once(':').unwrap_or_default();
    let all = taints.as_array_mut().into_iter();
    all.for_each(|t| t.push(json!({"key": key, "effect": effect})));
    let version = node.resource_version();
    merge(
        nodes,
        name,
        json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}}),
    )
    .await
}

async fn delete_pod(world: &World, node: &str) -> kube::Result<()> {
    match world.observer.any_pod_on(node) {
        Some(pod) => delete(&cast::pods(&world.client), &pod).await,
        None => Ok(()),
    }
}

/// Until it is done: an incident on hold would never end.
async fn let_go(api: &Api<NodeTermination>, name: &str) {
    loop {
        let patch = merge(api, name, json!({"spec": {"hold": false}}));
        match timeout(GIVEN_UP_AFTER, patch).await {
            Ok(Err(kube::Error::Api(_)) | Ok(())) => return,
            _ => sleep(std::time::Duration::from_millis(300)).await,
        }
    }
}
