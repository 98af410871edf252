//! What every test starts from: the shared world, and a corner of it.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use node_termination_operator::api::policy::TerminationPolicy;
use node_termination_operator::api::termination::{NodeTermination, NodeTerminationStatus, Phase};
use serde_json::{Value, json};
use testbed::aws::{Aws, Queue, REGION, events};
use testbed::cluster::{self, TestNode, await_object, map};
use testbed::{ControlPlane, Operator, operator};
use tokio::sync::OnceCell;

/// The label that a test's nodes and its policy share.
const TEAM: &str = "team";

/// What all tests share.
pub struct World {
    pub control_plane: ControlPlane,
    pub aws: Aws,
    pub operator: Operator,
}

/// The shared world, started by the first test that asks. The test bed's watchdog ends it with this process.
pub async fn world() -> &'static World {
    static WORLD: OnceCell<World> = OnceCell::const_new();
    WORLD.get_or_init(start).await
}

async fn start() -> World {
    let control_plane = operator::control_plane(true).await.unwrap();
    operator::install(&control_plane, Path::new(env!("CARGO_MANIFEST_DIR")))
        .await
        .unwrap();
    let aws = Aws::start().unwrap();
    let operator = Operator::start(binary(), &control_plane, &aws, "operator", 15, &[]).unwrap();
    operator.await_ready().await.unwrap();
    operator.await_leader().await.unwrap();
    World {
        control_plane,
        aws,
        operator,
    }
}

/// The operator's binary.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_node-termination-operator"))
}

/// One test's corner: nodes, a policy for them, a queue, a namespace.
pub struct Corner {
    pub world: &'static World,
    pub client: Client,
    pub name: String,
    pub namespace: String,
    pub nodes: Vec<TestNode>,
    pub queue: Queue,
}

impl Corner {
    /// A corner with so many nodes, and a policy with these settings beside its selector and its queue.
    pub async fn new(name: &str, nodes: usize, settings: Value) -> Self {
        let world = world().await;
        let client = world.control_plane.client().await.unwrap();
        let namespace = cluster::namespace(&client, name).await.unwrap();
        let name = namespace.clone();
        let queue = world.aws.create_queue(&name).unwrap();
        let nodes = cluster::make_nodes(&client, &name, nodes, &map(&[(TEAM, &name)]))
            .await
            .unwrap();
        let corner = Self {
            world,
            client,
            name,
            namespace,
            nodes,
            queue,
        };
        corner.apply_policy(settings).await;
        corner
            .await_policy(|p| {
                p.status.as_ref().is_some_and(|s| {
                    s.ready_sources == "1/1" && s.observed_generation == p.metadata.generation
                })
            })
            .await;
        corner
    }

    /// The body of a policy with these settings beside its selector and its queue.
    pub fn policy(&self, settings: &Value) -> TerminationPolicy {
        let mut spec = json!({
            "nodeSelector": {"matchLabels": {TEAM: self.name}},
            "sources": [{"name": "events", "sqs": {"queueURL": self.queue.url(), "region": REGION}}],
        });
        spec.as_object_mut()
            .unwrap()
            .extend(settings.as_object().unwrap().clone());
        let object = json!({
            "apiVersion": "nodetermination.dev/v1alpha1",
            "kind": "TerminationPolicy",
            "metadata": {"name": self.name},
            "spec": spec,
        });
        serde_json::from_value(object).unwrap()
    }

    pub async fn apply_policy(&self, settings: Value) {
        Api::all(self.client.clone())
            .create(&PostParams::default(), &self.policy(&settings))
            .await
            .unwrap();
    }

    pub async fn await_policy(&self, good: impl Fn(&TerminationPolicy) -> bool) {
        let api = Api::<TerminationPolicy>::all(self.client.clone());
        within(await_object(api, &self.name, |p| p.is_some_and(&good))).await;
    }

    /// Sends a spot notice for the node, as of now.
    pub fn interrupt(&self, node: &TestNode) {
        self.interrupt_at(node, Timestamp::now());
    }

    /// Sends a spot notice for the node, as of then.
    pub fn interrupt_at(&self, node: &TestNode, time: Timestamp) {
        self.queue
            .send(events::spot_interruption(&node.instance_id, time))
            .unwrap();
    }

    /// Waits until the incident of that name is as it should be.
    pub async fn await_incident(
        &self,
        name: &str,
        good: impl Fn(&NodeTermination) -> bool,
    ) -> NodeTermination {
        let api = Api::<NodeTermination>::all(self.client.clone());
        within(await_object(api, name, |i| i.is_some_and(&good)))
            .await
            .unwrap()
    }

    /// Waits until the incident is in that phase.
    pub async fn await_phase(&self, name: &str, phase: Phase) -> NodeTermination {
        self.await_incident(name, |i| status(i).phase == Some(phase))
            .await
    }

    /// Waits until the node is as it should be.
    pub async fn await_node(&self, node: &TestNode, good: impl Fn(&Node) -> bool) -> Node {
        let api = Api::<Node>::all(self.client.clone());
        within(await_object(api, &node.name, |n| n.is_some_and(&good)))
            .await
            .unwrap()
    }
}

/// The incident's status.
pub fn status(incident: &NodeTermination) -> NodeTerminationStatus {
    incident.status.clone().unwrap_or_default()
}

/// Whether the node is closed to new pods.
pub fn is_cordoned(node: &Node) -> bool {
    node.spec
        .as_ref()
        .is_some_and(|s| s.unschedulable == Some(true))
}

/// Whether the node carries nothing of ours.
pub fn is_untouched(node: &Node) -> bool {
    let ours = |key: &str| key.starts_with("nodetermination.dev/");
    let spec = node.spec.clone().unwrap_or_default();
    !is_cordoned(node)
        && !spec.taints.unwrap_or_default().iter().any(|t| ours(&t.key))
        && !node.annotations().keys().any(|k| ours(k))
}

/// What comes within two minutes: a spot notice has no more. If it does not, the operator's log tells why.
pub async fn within<T: Debug>(what: impl Future<Output = anyhow::Result<T>>) -> T {
    match tokio::time::timeout(Duration::from_mins(2), what).await {
        Ok(result) => result.unwrap(),
        Err(elapsed) => panic!(
            "it did not happen within two minutes ({elapsed}); the operator said:\n{}",
            world().await.operator.process().tail()
        ),
    }
}
