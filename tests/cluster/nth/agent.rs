//! A node with its agent, and the metadata that the agent reads.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};
use testbed::cluster::TestNode;
use testbed::imds::{Answer, Imds};
use testbed::{Operator, operator};

use crate::scene::{Corner, WITH_AGENT, binary, patch};

/// A corner of one node whose policy reads metadata.
pub struct Instance {
    pub corner: Corner,
    pub metadata: Imds,
    pub agent: Operator,
}

impl Instance {
    /// The node, a policy with these settings beside its metadata source, and an agent that reads the metadata.
    pub async fn new(name: &str, settings: Value) -> Self {
        let corner = corner(name, settings).await;
        let metadata = Imds::start(&corner.nodes[0].instance_id).unwrap();
        let agent = start_agent(&corner, &metadata.env()).await;
        agent.await_ready().await.unwrap();
        Self {
            corner,
            metadata,
            agent,
        }
    }

    /// The node.
    pub fn node(&self) -> &TestNode {
        &self.corner.nodes[0]
    }

    /// Shows this text at a path of the metadata from now on.
    pub fn show(&self, path: &str, text: String) {
        self.metadata.set(path, Answer::body(text));
    }

    /// The agent ends, as with its machine, and another one starts.
    pub async fn restart_agent(&mut self) {
        self.agent.kill();
        self.agent = start_agent(&self.corner, &self.metadata.env()).await;
        self.agent.await_ready().await.unwrap();
    }
}

/// The node and its policy.
pub async fn corner(name: &str, settings: Value) -> Corner {
    let corner = Corner::without_policy(name, 1).await;
    let label = json!({"metadata": {"labels": {WITH_AGENT: "true"}}});
    patch::<Node>(&corner.client, &corner.nodes[0].name, label).await;
    let mut policy = json!({"sources": [{"name": "metadata", "imds": {"pollIntervalSeconds": 1}}]});
    policy
        .as_object_mut()
        .unwrap()
        .extend(settings.as_object().unwrap().clone());
    corner.apply_policy(policy).await;
    corner
}

/// Starts the node's agent with the token of its pod.
pub async fn start_agent(corner: &Corner, environment: &[(&str, &str)]) -> Operator {
    let node = &corner.nodes[0].name;
    let token = operator::agent_token(&corner.client, node).await.unwrap();
    let control_plane = &corner.world.control_plane;
    // A restarted agent has a token of its own.
    let identity = format!("agent-{node}-{}", Timestamp::now().as_millisecond());
    let kubeconfig = control_plane
        .kubeconfig_with_token(&identity, &token)
        .unwrap();
    Operator::start_agent(binary(), control_plane, &kubeconfig, &identity, environment).unwrap()
}
