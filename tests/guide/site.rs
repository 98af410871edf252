//! A cluster as the guide leaves it: the kinds, the roles, an operator that leads, one node, a policy with a queue. The
//! guide's own commands are run in it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client, ResourceExt as _};
use node_termination_operator::api::policy::TerminationPolicy;
use node_termination_operator::api::termination::NodeTermination;
use serde_json::json;
use testbed::aws::{Aws, Queue, REGION};
use testbed::binaries::Binaries;
use testbed::cluster::{self, PodOptions, TestNode, await_object, map};
use testbed::{ControlPlane, Operator, operator};
use tokio::process::Command;
use tokio::time::timeout;

use crate::text::root;

/// What one step may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// What stands for `aws` in the commands: a message goes to whoever reads the pipe, and nothing else is served.
const AWS: &str = "#!/bin/sh
[ \"$1 $2\" = 'sqs send-message' ] || { echo \"not served: aws $*\" >&2; exit 1; }
while [ $# -gt 0 ]; do
  [ \"$1\" = --message-body ] && cat \"${2#file://}\" >\"$MESSAGES\"
  shift
done
";

pub struct Site {
    pub control_plane: ControlPlane,
    pub aws: Aws,
    pub client: Client,
    pub node: TestNode,
    pub queue: Queue,
}

impl Site {
    /// Everything but the operator's process.
    pub async fn new() -> Self {
        let site = Self::bare(1).await;
        operator::install(&site.control_plane, root())
            .await
            .unwrap();
        // A kind that was just defined is not watched at once everywhere.
        let policies = Api::<TerminationPolicy>::all(site.client.clone());
        await_object(policies, "none", |p| p.is_none())
            .await
            .unwrap();
        let incidents = Api::<NodeTermination>::all(site.client.clone());
        await_object(incidents, "none", |i| i.is_none())
            .await
            .unwrap();
        site
    }

    /// A cluster of so many nodes that knows nothing of ours, a queue, and a clone of the repository to type commands in.
    pub async fn bare(nodes: usize) -> Self {
        let control_plane = operator::control_plane(false).await.unwrap();
        let client = control_plane.client().await.unwrap();
        let aws = Aws::start().unwrap();
        let queue = aws.create_queue("node-events").unwrap();
        let nodes = cluster::make_nodes(&client, "node", nodes, &map(&[])).await;
        let site = Self {
            node: nodes.unwrap().remove(0),
            control_plane,
            aws,
            client,
            queue,
        };
        fs::create_dir_all(site.clone_of_ours().join("bin")).unwrap();
        for folder in ["manifests", "crds", "charts", "docs"] {
            let copy = Command::new("cp")
                .arg("-rL")
                .arg(root().join(folder))
                .arg(site.clone_of_ours())
                .status();
            assert!(copy.await.unwrap().success());
        }
        site
    }

    /// Where commands are typed.
    pub fn clone_of_ours(&self) -> PathBuf {
        self.control_plane.folder().join("guide")
    }

    /// Starts the operator and waits until it leads.
    pub async fn operator(&self) -> Operator {
        let operator = self.start_operator();
        operator.await_ready().await.unwrap();
        operator.await_leader().await.unwrap();
        operator
    }

    /// Starts the operator and does not wait: while a kind is being deleted it may not get ready.
    pub fn start_operator(&self) -> Operator {
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_node-termination-operator"));
        Operator::start(&binary, &self.control_plane, &self.aws, "operator", 5, &[]).unwrap()
    }

    /// A policy for every node, and its queue is read.
    pub async fn policy(&self) {
        let policy = json!({
            "apiVersion": "nodetermination.dev/v1alpha1",
            "kind": "TerminationPolicy",
            "metadata": {"name": "default"},
            "spec": {"sources": [{"name": "events", "sqs": {"queueURL": self.queue.url(), "region": REGION}}]},
        });
        let file = self.control_plane.folder().join("policy.yaml");
        fs::write(&file, policy.to_string()).unwrap();
        self.sh(&format!("kubectl apply -f {}", file.display()))
            .await;
        self.sh("kubectl wait --for=condition=Ready --timeout=60s terminationpolicy/default")
            .await;
    }

    /// Pods on the node that never end, so that its drain stays under way.
    pub async fn stuck_pods(&self) {
        let namespace = cluster::namespace(&self.client, "guide").await.unwrap();
        let options = PodOptions::default().stuck();
        let pods = cluster::make_pods(&self.client, &namespace, &self.node.name, 2, &options);
        pods.await.unwrap();
    }

    /// Runs a script of the guide as its reader would, with the messages that it sends put into the queue; returns what it
    /// printed.
    pub async fn sh(&self, script: &str) -> String {
        // Two scripts may run at once.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let folder = self.clone_of_ours();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let (bin, messages) = (
            folder.join("bin"),
            folder.join(format!("messages-{number}")),
        );
        fs::write(bin.join("aws"), AWS).unwrap();
        fs::set_permissions(bin.join("aws"), fs::Permissions::from_mode(0o755)).unwrap();
        let kubectl = Binaries::any_kubectl();
        let path = std::env::var("PATH").unwrap();
        let path = format!(
            "{}:{}:{path}",
            bin.display(),
            kubectl.parent().unwrap().display()
        );
        let fifo = Command::new("mkfifo").arg(&messages).status().await;
        assert!(fifo.unwrap().success());
        let run = Command::new("bash")
            .args(["-euc", script])
            .current_dir(&folder)
            .env("PATH", path)
            .env("KUBECONFIG", self.control_plane.kubeconfig())
            .env("QUEUE_URL", self.queue.url())
            .env("MESSAGES", &messages)
            .env("HELM_CACHE_HOME", &folder)
            .env("HELM_CONFIG_HOME", &folder)
            .env("HELM_DATA_HOME", &folder)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let deliver = async {
            let mut reader = tokio::net::unix::pipe::OpenOptions::new()
                .read_write(true)
                .open_receiver(&messages)
                .unwrap();
            let mut body = Vec::new();
            // Held open for writing too, so there is no end: a message is whole when it can be read.
            loop {
                let mut part = [0; 4096];
                let read = tokio::io::AsyncReadExt::read(&mut reader, &mut part).await;
                body.extend_from_slice(&part[..read.unwrap()]);
                if serde_json::from_slice::<serde_json::Value>(&body).is_ok() {
                    self.queue
                        .send(String::from_utf8(std::mem::take(&mut body)).unwrap())
                        .unwrap();
                }
            }
        };
        let output = tokio::select! {
            output = timeout(PATIENCE, run) => output.expect(script).unwrap(),
            () = deliver => unreachable!("it has no end"),
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{said}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub async fn await_incident(&self, good: impl Fn(Option<&NodeTermination>) -> bool) {
        let incidents = Api::<NodeTermination>::all(self.client.clone());
        let name = &self.node.instance_id;
        await_object(incidents, name, good).await.unwrap();
    }

    /// Waits until the node carries nothing of ours.
    pub async fn await_given_back(&self) {
        let nodes = Api::<Node>::all(self.client.clone());
        let open = |node: Option<&Node>| node.is_some_and(is_open);
        await_object(nodes, &self.node.name, open).await.unwrap();
    }

    pub async fn await_cordoned(&self) {
        let nodes = Api::<Node>::all(self.client.clone());
        let closed = |node: Option<&Node>| node.is_some_and(|node| !is_open(node));
        await_object(nodes, &self.node.name, closed).await.unwrap();
    }
}

fn is_open(node: &Node) -> bool {
    let ours = |key: &str| key.starts_with("nodetermination.dev/");
    let spec = node.spec.clone().unwrap_or_default();
    spec.unschedulable != Some(true)
        && !spec.taints.unwrap_or_default().iter().any(|t| ours(&t.key))
        && !node.annotations().keys().any(|key| ours(key))
}
