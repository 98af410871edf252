//! What the tests start from: a control plane with the agent's manifests, and a node with its metadata service.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::api::PostParams;
use kube::{Api, Client};
use node_termination_operator::api::policy::TerminationPolicy;
use node_termination_operator::api::termination::NodeTermination;
use serde_json::{Value, json};
use testbed::aws::Aws;
use testbed::cluster::{TestNode, await_object, make_nodes, map};
use testbed::imds::Imds;
use testbed::{ControlPlane, Operator, operator};
use tokio::sync::OnceCell;

/// The label that a test's nodes and its policy share.
pub const TEAM: &str = "team";
/// What a spot notice, and so anything else here, may take.
pub const PATIENCE: Duration = Duration::from_mins(2);
/// The user that the agents are.
pub const AGENT_USER: &str =
    "system:serviceaccount:node-termination-operator:node-termination-operator-agent";

/// What the tests with a controller share.
pub struct World {
    pub control_plane: ControlPlane,
    pub aws: Aws,
    _operator: Operator,
}

/// The shared world, started by the first test that asks.
pub async fn world() -> &'static World {
    static WORLD: OnceCell<World> = OnceCell::const_new();
    WORLD
        .get_or_init(async || {
            let control_plane = control_plane().await;
            let aws = Aws::start().unwrap();
            let operator =
                Operator::start(binary(), &control_plane, &aws, "operator", 15, &[]).unwrap();
            operator.await_ready().await.unwrap();
            operator.await_leader().await.unwrap();
            World {
                control_plane,
                aws,
                _operator: operator,
            }
        })
        .await
}

/// A control plane with our kinds and the agent's manifests.
pub async fn control_plane() -> ControlPlane {
    let control_plane = operator::control_plane(true).await.unwrap();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    operator::install(&control_plane, repository).await.unwrap();
    operator::install_agent(&control_plane, repository)
        .await
        .unwrap();
    let client = control_plane.client().await.unwrap();
    let policies = Api::<TerminationPolicy>::all(client.clone());
    await_object(policies, "none", |p| p.is_none())
        .await
        .unwrap();
    let incidents = Api::<NodeTermination>::all(client);
    await_object(incidents, "none", |i| i.is_none())
        .await
        .unwrap();
    control_plane
}

/// The operator's binary.
fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_node-termination-operator"))
}

/// One test's corner: nodes and a policy for them.
pub struct Corner<'a> {
    pub control_plane: &'a ControlPlane,
    pub client: Client,
    pub name: String,
    pub nodes: Vec<TestNode>,
}

impl<'a> Corner<'a> {
    /// So many nodes, and a policy with these settings beside its selector.
    pub async fn new(
        control_plane: &'a ControlPlane,
        name: &str,
        nodes: usize,
        settings: Value,
    ) -> Self {
        let client = control_plane.client().await.unwrap();
        let nodes = make_nodes(&client, name, nodes, &map(&[(TEAM, name)]))
            .await
            .unwrap();
        let corner = Self {
            control_plane,
            client,
            name: name.to_owned(),
            nodes,
        };
        corner.apply_policy(settings).await;
        corner
    }

    /// The same with an imds source that is read every second.
    pub async fn metadata(control_plane: &'a ControlPlane, name: &str) -> Self {
        Self::new(control_plane, name, 1, imds(&json!({}))).await
    }

    async fn apply_policy(&self, settings: Value) {
        let mut spec = json!({"nodeSelector": {"matchLabels": {TEAM: self.name}}});
        spec.as_object_mut()
            .unwrap()
            .extend(settings.as_object().unwrap().clone());
        let object = json!({
            "apiVersion": "nodetermination.dev/v1alpha1",
            "kind": "TerminationPolicy",
            "metadata": {"name": self.name},
            "spec": spec,
        });
        let policy: TerminationPolicy = serde_json::from_value(object).unwrap();
        Api::all(self.client.clone())
            .create(&PostParams::default(), &policy)
            .await
            .unwrap();
    }

    pub fn node(&self) -> &TestNode {
        &self.nodes[0]
    }

    /// The kubeconfig of the agent on that node, with a token that is bound to its pod.
    pub async fn kubeconfig(&self, node: &TestNode) -> PathBuf {
        let token = operator::agent_token(&self.client, &node.name)
            .await
            .unwrap();
        let name = format!("agent-{}", node.name);
        self.control_plane
            .kubeconfig_with_token(&name, &token)
            .unwrap()
    }

    /// Starts the agent of that node, with its own token.
    pub async fn start_agent(&self, node: &TestNode, environment: &[(&str, &str)]) -> Operator {
        let kubeconfig = self.kubeconfig(node).await;
        self.start_agent_as(&kubeconfig, environment)
    }

    pub fn start_agent_as(&self, kubeconfig: &Path, environment: &[(&str, &str)]) -> Operator {
        let name = format!("agent-{}", self.name);
        Operator::start_agent(binary(), self.control_plane, kubeconfig, &name, environment).unwrap()
    }

    /// The metadata service of the first node, and its agent, which reads it.
    pub async fn reading(&self) -> (Imds, Operator) {
        let imds = Imds::start(&self.node().instance_id).unwrap();
        let agent = self.start_agent(self.node(), &imds.env()).await;
        agent.await_ready().await.unwrap();
        (imds, agent)
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

    /// The incident of that name, if there is one.
    pub async fn incident(&self, name: &str) -> Option<NodeTermination> {
        let api = Api::<NodeTermination>::all(self.client.clone());
        api.get_opt(name).await.unwrap()
    }

    /// What agents have asked of the API server about the first node and its incidents, as `verb resource`.
    pub fn requests(&self) -> Vec<String> {
        let entries = self.control_plane.audit_log().unwrap().entries().unwrap();
        let node = self.node();
        let about = |name: &str| name == node.name || name.starts_with(&node.instance_id);
        entries
            .into_iter()
            .filter(|e| e.user == AGENT_USER && about(&e.name))
            .map(|e| format!("{} {}", e.verb, e.resource))
            .collect()
    }
}

/// Settings with an imds source that is read every second.
pub fn imds(more: &Value) -> Value {
    let mut settings =
        json!({"sources": [{"name": "metadata", "imds": {"pollIntervalSeconds": 1}}]});
    settings
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    settings
}

/// What comes within two minutes.
pub async fn within<T: Debug>(what: impl Future<Output = anyhow::Result<T>>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it did not happen within two minutes")
        .unwrap()
}
