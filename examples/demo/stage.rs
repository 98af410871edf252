//! What runs, and how a story shows it.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use kube::{Api, Client};
use node_termination_operator::api::termination::{NodeTermination, NodeTerminationStatus, Phase};
use testbed::aws::{Aws, Queue};
use testbed::cluster::{self, TestNode, await_object};
use testbed::{ControlPlane, Operator, binaries::Binaries, operator};

use super::REPOSITORY;

/// How long a pod takes to stop.
pub const STOPS_AFTER: Duration = Duration::from_secs(3);
/// Nothing in the demo takes longer; if something does, the operator's log tells why.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Everything that runs, and the actors. Dropped, it takes all processes and files with it.
pub struct Stage {
    pub binary: PathBuf,
    pub operator: Operator,
    pub client: Client,
    pub nodes: Vec<TestNode>,
    pub namespace: String,
    pub queue: Queue,
    pub aws: Aws,
    pub control_plane: ControlPlane,
}

impl Stage {
    pub async fn build(binary: &Path) -> anyhow::Result<Self> {
        headline("A control plane, the AWS stand-in, and the operator as a process");
        let control_plane = operator::control_plane(false).await?;
        operator::install(&control_plane, Path::new(REPOSITORY)).await?;
        let aws = Aws::start()?;
        let operator = Operator::start(binary, &control_plane, &aws, "demo", 15, &[])?;
        operator.await_ready().await?;
        operator.await_leader().await?;
        let version = testbed::binaries::KUBERNETES_VERSION;
        println!("Kubernetes {version} answers at {}", control_plane.url());
        let client = control_plane.client().await?;
        let nodes = cluster::make_nodes(&client, "node", 3, &cluster::map(&[])).await?;
        let namespace = cluster::namespace(&client, "shop").await?;
        let queue = aws.create_queue("node-events")?;
        Ok(Self {
            binary: binary.to_owned(),
            operator,
            client,
            nodes,
            namespace,
            queue,
            aws,
            control_plane,
        })
    }

    pub async fn await_phase(&self, node: &TestNode, phase: Phase) -> anyhow::Result<()> {
        self.await_status(node, |status| status.phase == Some(phase))
            .await
    }

    pub async fn await_status(
        &self,
        node: &TestNode,
        good: impl Fn(&NodeTerminationStatus) -> bool,
    ) -> anyhow::Result<()> {
        let api = Api::<NodeTermination>::all(self.client.clone());
        await_object(api, &node.instance_id, |t: Option<&NodeTermination>| {
            t.and_then(|t| t.status.as_ref()).is_some_and(&good)
        })
        .await?;
        Ok(())
    }

    /// Runs kubectl and shows what it was asked and what it says.
    pub async fn show(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let said = self.control_plane.kubectl(arguments).await?;
        println!("$ kubectl {}\n{said}", arguments.join(" "));
        Ok(())
    }

    /// Shows some sections of the description of a node's incident.
    pub async fn describe(&self, node: &TestNode, sections: &[&str]) -> anyhow::Result<()> {
        let name = &node.instance_id;
        let said = self
            .control_plane
            .kubectl(&["describe", "nt", name])
            .await?;
        println!("$ kubectl describe nt {name}    # parts of it");
        for section in sections {
            println!("{}", excerpt(&said, section));
        }
        Ok(())
    }

    pub fn look_around(&self) -> anyhow::Result<()> {
        headline("It keeps running, until Ctrl-C. To look around, in another terminal:");
        let binaries = Binaries::resolve()?;
        println!(
            "export KUBECONFIG={}",
            self.control_plane.kubeconfig().display()
        );
        println!("alias kubectl={}", binaries.path("kubectl").display());
        println!("kubectl get nt,tp,nodes");
        println!("kubectl explain nodetermination.status");
        println!("less {}/demo-*.log", self.control_plane.folder().display());
        Ok(())
    }
}

/// A line of a description and what is indented below it, without what tells little.
fn excerpt(said: &str, heading: &str) -> String {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let dull = |line: &str| {
        let line = line.trim_start();
        ["Last Transition Time:", "Observed Generation:", "UID:"]
            .iter()
            .any(|field| line.starts_with(field))
    };
    let mut lines = said.lines().skip_while(|line| line.trim() != heading);
    let Some(first) = lines.next() else {
        return format!("{heading} none");
    };
    let below = lines.take_while(|line| indent(line) > indent(first));
    let kept = std::iter::once(first).chain(below.filter(|line| !dull(line)));
    kept.collect::<Vec<_>>().join("\n")
}

pub fn headline(text: &str) {
    println!("\n== {text}");
}

/// What is over within the patience, or an error that says what was awaited.
pub async fn within<T>(
    what: &str,
    step: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    tokio::time::timeout(PATIENCE, step)
        .await
        .with_context(|| format!("{what}: not within {PATIENCE:?}"))?
}
