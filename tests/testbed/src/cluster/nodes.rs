//! Simulated EC2 instances.

use std::collections::BTreeMap;

use anyhow::Context;
use k8s_openapi::{
    api::core::v1::{Node, NodeSpec, NodeStatus},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
    runtime::watcher,
};
use uuid::Uuid;

use super::{BATCH, await_count, await_object, create_all, unique};

/// The annotation of a node that is not Ready yet; the kubelets' configuration reads it.
const NOT_READY: &str = "testbed.example.com/not-ready";

/// Where all simulated instances are.
const ZONE: &str = "eu-west-1a";

/// A node whose kubelet is simulated.
#[derive(Clone, Debug)]
pub struct TestNode {
    /// The name of the node.
    pub name: String,
    /// The UID of the node.
    pub uid: String,
    /// The id of the EC2 instance it pretends to be, as in its `spec.providerID`.
    pub instance_id: String,
}

/// Creates `count` nodes named `PREFIX-0`, `PREFIX-1` and so on, and waits until each is Ready and
/// pods can be scheduled to it. Each has room for 250 pods of any size. Fails when a name exists.
pub async fn make_nodes(
    client: &Client,
    prefix: &str,
    count: usize,
    labels: &BTreeMap<String, String>,
) -> anyhow::Result<Vec<TestNode>> {
    let api = Api::<Node>::all(client.clone());
    let batch = unique();
    let nodes = (0..count).map(|index| node(&format!("{prefix}-{index}"), &batch, labels));
    let nodes = create_all(&api, nodes.collect()).await?;
    let selector = watcher::Config::default().labels(&format!("{BATCH}={batch}"));
    await_count(api, selector, count, usable).await?;
    nodes.iter().map(describe).collect()
}

/// Creates the node of an instance that has just launched. It is not Ready before [`get_ready`].
pub async fn join_node(
    client: &Client,
    name: &str,
    instance_id: &str,
    labels: &BTreeMap<String, String>,
) -> anyhow::Result<TestNode> {
    let mut joining = node(name, name, labels);
    joining.metadata.annotations = Some(super::map(&[(NOT_READY, "true")]));
    if let Some(spec) = &mut joining.spec {
        spec.provider_id = Some(format!("aws:///{ZONE}/{instance_id}"));
    }
    let api = Api::<Node>::all(client.clone());
    describe(&api.create(&PostParams::default(), &joining).await?)
}

/// Lets a node become Ready that has joined.
pub async fn get_ready(client: &Client, name: &str) -> anyhow::Result<()> {
    let api = Api::<Node>::all(client.clone());
    let ready = serde_json::json!({"metadata": {"annotations": {NOT_READY: null}}});
    api.patch(name, &PatchParams::default(), &Patch::Merge(ready))
        .await?;
    await_object(api, name, |node| node.is_some_and(is_ready)).await?;
    Ok(())
}

/// Deletes a node and waits until it is gone. Its pods stay until the garbage collector of pods
/// takes them, 40 seconds later.
pub async fn delete_node(client: &Client, name: &str) -> anyhow::Result<()> {
    let api = Api::<Node>::all(client.clone());
    api.delete(name, &DeleteParams::default()).await?;
    await_object(api, name, |node| node.is_none()).await?;
    Ok(())
}

fn node(name: &str, batch: &str, labels: &BTreeMap<String, String>) -> Node {
    let mut all = super::map(&[
        (BATCH, batch),
        ("kubernetes.io/arch", "amd64"),
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("topology.kubernetes.io/region", "eu-west-1"),
        ("topology.kubernetes.io/zone", ZONE),
    ]);
    all.extend(labels.clone());
    let room = [("cpu", "1000"), ("memory", "4Ti"), ("pods", "250")];
    let room: BTreeMap<_, _> = room
        .map(|(name, quantity)| (name.to_owned(), Quantity(quantity.to_owned())))
        .into();
    Node {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(all),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            provider_id: Some(format!("aws:///{ZONE}/{}", instance_id())),
            ..NodeSpec::default()
        }),
        status: Some(NodeStatus {
            allocatable: Some(room.clone()),
            capacity: Some(room),
            ..NodeStatus::default()
        }),
    }
}

/// An instance's ID as EC2 writes it: `i-` and 17 hexadecimal digits.
#[must_use]
pub fn instance_id() -> String {
    let mut digits = Uuid::new_v4().simple().to_string();
    digits.truncate(17);
    format!("i-{digits}")
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|it| it.type_ == "Ready" && it.status == "True")
}

/// Ready, and without the taint a new node has until kube-controller-manager sees that it is.
fn usable(node: &Node) -> bool {
    let mut taints = node
        .spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten());
    is_ready(node) && !taints.any(|taint| taint.key == "node.kubernetes.io/not-ready")
}

fn describe(node: &Node) -> anyhow::Result<TestNode> {
    let provider_id = node
        .spec
        .as_ref()
        .and_then(|spec| spec.provider_id.as_deref());
    let instance_id = provider_id.and_then(|id| id.rsplit('/').next());
    Ok(TestNode {
        name: node.name_any(),
        uid: node.uid().context("a node without a UID")?,
        instance_id: instance_id
            .context("a node without an instance id")?
            .to_owned(),
    })
}
