//! The nodes of one round, and their pods.

use std::time::Instant;

use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use testbed::cluster::{self, PodOptions, TestNode, make_nodes, make_pods, map};

use crate::bed::Bed;

/// The label of the nodes of one round.
pub const ROUND: &str = "bench/round";
/// Nodes that are filled at once, each by many requests.
const FILLED_AT_ONCE: usize = 8;
/// Nodes that are made and waited for together.
const MADE_AT_ONCE: usize = 1000;

/// The nodes of one round, and their pods' namespace.
pub struct Stage {
    pub name: String,
    pub namespace: String,
    pub nodes: Vec<TestNode>,
    /// All their pods.
    pub pods: usize,
}

impl Stage {
    /// So many nodes with so many pods on each.
    pub async fn set(bed: &Bed, name: &str, nodes: usize, pods: usize) -> anyhow::Result<Self> {
        eprintln!("  {name}: {nodes} nodes with {pods} pods each");
        let start = Instant::now();
        let labels = map(&[(ROUND, name)]);
        let mut stage = Self {
            name: name.to_owned(),
            namespace: cluster::namespace(&bed.client, name).await?,
            pods: nodes * pods,
            nodes: Vec::new(),
        };
        while stage.nodes.len() < nodes {
            let prefix = format!("{name}-{}", stage.nodes.len() / MADE_AT_ONCE);
            let more = MADE_AT_ONCE.min(nodes - stage.nodes.len());
            let made = make_nodes(&bed.client, &prefix, more, &labels).await?;
            stage.nodes.extend(made);
        }
        if pods > 0 {
            stage.fill(bed, pods, &PodOptions::default()).await?;
        }
        eprintln!("  {name}: made in {:.0?}", start.elapsed());
        Ok(stage)
    }

    /// So many pods on each node.
    pub async fn fill(&self, bed: &Bed, pods: usize, options: &PodOptions) -> anyhow::Result<()> {
        let (client, namespace) = (&bed.client, &self.namespace);
        let fill = |node: &TestNode| {
            let node = node.name.clone();
            async move { make_pods(client, namespace, &node, pods, options).await }
        };
        let each: Vec<_> = self.nodes.iter().map(fill).collect();
        let made = futures::stream::iter(each).buffer_unordered(FILLED_AT_ONCE);
        made.try_for_each(|_| async { Ok(()) }).await
    }

    /// What selects the nodes of this round.
    pub fn label(&self) -> String {
        format!("{ROUND}={}", self.name)
    }

    /// A policy's selector of these nodes.
    pub fn selector(&self) -> Value {
        json!({"nodeSelector": {"matchLabels": {ROUND: self.name}}})
    }

    /// Takes the nodes away: what a round has left on them must not cost the next one.
    pub async fn clear(&self, bed: &Bed) -> anyhow::Result<()> {
        bed.delete_nodes(&self.label()).await
    }
}
