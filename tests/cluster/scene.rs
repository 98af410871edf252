//! What every test starts from: the shared world, and a corner of it.

mod facts;

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use node_termination_operator::api::policy::TerminationPolicy;
use node_termination_operator::api::termination::{NodeTermination, Phase};
use serde_json::{Value, json};
use testbed::aws::{Aws, Call, LifecycleAction, LifecycleResult, Queue, REGION, events};
use testbed::cluster::{self, PodOptions, TestNode, await_object, map};
use testbed::control_plane::AuditEntry;
use testbed::{ControlPlane, Operator, Receiver, operator};
use tokio::sync::OnceCell;

pub use facts::{is_cordoned, is_untouched, patch, says, status};

/// The label that a test's nodes and its policy share.
pub const TEAM: &str = "team";
/// The label of a node that an agent is to run on.
pub const WITH_AGENT: &str = "testbed/agent";
/// What a spot notice, and so anything else here, may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// What all tests share.
pub struct World {
    pub control_plane: ControlPlane,
    pub aws: Aws,
    pub operator: Operator,
    /// Whom policies notify; the operator trusts its certificate.
    pub receiver: Receiver,
}

/// The shared world, started by the first test that asks. The test bed's watchdog ends it with this process.
pub async fn world() -> &'static World {
    static WORLD: OnceCell<World> = OnceCell::const_new();
    WORLD.get_or_init(start).await
}

async fn start() -> World {
    let control_plane = operator::control_plane(true).await.unwrap();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    operator::install(&control_plane, repository).await.unwrap();
    install_agent(&control_plane, repository).await;
    // A kind that was just defined is not watched at once everywhere.
    let client = control_plane.client().await.unwrap();
    let policies = Api::<TerminationPolicy>::all(client.clone());
    let incidents = Api::<NodeTermination>::all(client);
    await_object(policies, "none", |p| p.is_none())
        .await
        .unwrap();
    await_object(incidents, "none", |i| i.is_none())
        .await
        .unwrap();
    let aws = Aws::start().unwrap();
    let receiver = Receiver::start().unwrap();
    let trusted = [
        ("SSL_CERT_FILE", receiver.certificate().to_str().unwrap()),
        ("NTO_CLUSTER_NAME", "testbed"),
    ];
    let operator = Operator::start(binary(), &control_plane, &aws, "operator", 15, &trusted);
    let operator = operator.unwrap();
    operator.await_ready().await.unwrap();
    operator.await_leader().await.unwrap();
    World {
        control_plane,
        aws,
        operator,
        receiver,
    }
}

/// The agents' account, and their `DaemonSet` for nodes that ask for it: the others' pods are counted.
async fn install_agent(control_plane: &ControlPlane, repository: &Path) {
    operator::install_agent(control_plane, repository)
        .await
        .unwrap();
    let client = control_plane.client().await.unwrap();
    let sets = Api::<DaemonSet>::namespaced(client, operator::NAME);
    let selector = json!({WITH_AGENT: "true"});
    let narrowed = json!({"spec": {"template": {"spec": {"nodeSelector": selector}}}});
    sets.patch(
        operator::AGENT,
        &PatchParams::default(),
        &Patch::Merge(narrowed),
    )
    .await
    .unwrap();
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
        let corner = Self::without_policy(name, nodes).await;
        corner.apply_policy(settings).await;
        corner.await_polling().await;
        corner
    }

    /// A corner without a policy.
    pub async fn without_policy(name: &str, nodes: usize) -> Self {
        let world = world().await;
        let client = world.control_plane.client().await.unwrap();
        let namespace = cluster::namespace(&client, name).await.unwrap();
        let name = namespace.clone();
        let queue = world.aws.create_queue(&name).unwrap();
        let nodes = cluster::make_nodes(&client, &name, nodes, &map(&[(TEAM, &name)]))
            .await
            .unwrap();
        Self {
            world,
            client,
            name,
            namespace,
            nodes,
            queue,
        }
    }

    /// Waits until the policy as it stands now is heard of and its queue is read.
    pub async fn await_polling(&self) {
        self.await_policy(|p| {
            p.status.as_ref().is_some_and(|s| {
                s.ready_sources == "1/1" && s.observed_generation == p.metadata.generation
            })
        })
        .await;
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

    /// Changes the policy's spec.
    pub async fn change_policy(&self, spec: Value) {
        patch::<TerminationPolicy>(&self.client, &self.name, json!({"spec": spec})).await;
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

    /// Gives the corner's Auto Scaling group a hook on termination that waits so long.
    pub fn put_hook(&self, hook: &str, timeout_seconds: u64) {
        let timeout = Duration::from_secs(timeout_seconds);
        self.world
            .aws
            .put_hook(&self.name, hook, timeout, LifecycleResult::Continue);
    }

    /// Scales the node's instance in. The events say that this was at `time`.
    pub fn scale_in(&self, node: &TestNode, time: Timestamp) -> Vec<LifecycleAction> {
        let aws = &self.world.aws;
        let actions = aws
            .start_termination(&self.name, &node.instance_id, None)
            .unwrap();
        let bodies = actions.iter().map(|a| events::terminate_lifecycle(a, time));
        self.queue.send_batch(bodies).unwrap();
        actions
    }

    /// The calls of that operation about the corner's queue or group.
    pub fn calls(&self, operation: &str) -> Vec<Call> {
        let calls = self.world.aws.calls().into_iter();
        calls.filter(|c| self.concerns(c, operation)).collect()
    }

    /// Waits for a call of that operation about the corner's queue or group.
    pub async fn await_call(&self, operation: &str, good: impl Fn(&Call) -> bool) -> Call {
        let fits = |c: &Call| self.concerns(c, operation) && good(c);
        within(self.world.aws.await_call(PATIENCE, fits)).await
    }

    fn concerns(&self, call: &Call, operation: &str) -> bool {
        let queue = call.params["QueueUrl"].as_str().unwrap_or_default();
        call.operation == operation
            && (call.params["AutoScalingGroupName"] == self.name.as_str()
                || queue.rsplit('/').next() == Some(&self.name))
    }

    /// Makes Ready pods on a node; they go at once when they are told to.
    pub async fn make_pods(&self, node: &TestNode, count: usize, options: PodOptions) -> Vec<Pod> {
        cluster::make_pods(&self.client, &self.namespace, &node.name, count, &options)
            .await
            .unwrap()
    }

    pub async fn await_gone(&self, pods: &[Pod]) {
        within(cluster::await_pods_gone(
            &self.client,
            &self.namespace,
            pods,
        ))
        .await;
    }

    /// What the operator has asked of the API server and what fits.
    pub fn requests(&self, fits: impl Fn(&AuditEntry) -> bool) -> Vec<AuditEntry> {
        let entries = self.world.control_plane.audit_log().unwrap().entries();
        let ours = entries
            .unwrap()
            .into_iter()
            .filter(|e| e.user == operator::USER);
        ours.filter(fits).collect()
    }

    /// The operator's evictions in the corner's namespace, refused ones too.
    pub fn evictions(&self) -> Vec<AuditEntry> {
        self.requests(|e| e.namespace == self.namespace && e.subresource == "eviction")
    }

    /// The operator's deletions of pods in the corner's namespace, refused ones too.
    pub fn deletions(&self) -> Vec<AuditEntry> {
        self.requests(|e| {
            e.namespace == self.namespace && e.resource == "pods" && e.verb == "delete"
        })
    }

    /// The incident of that name, if there is one.
    pub async fn incident(&self, name: &str) -> Option<NodeTermination> {
        let api = Api::<NodeTermination>::all(self.client.clone());
        api.get_opt(name).await.unwrap()
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

/// Drains another node from notice to release: all that was to happen before has had its time.
pub async fn something_else_is_drained() {
    let corner = Corner::new("marker", 1, json!({})).await;
    let pods = corner
        .make_pods(&corner.nodes[0], 1, PodOptions::default())
        .await;
    corner.interrupt(&corner.nodes[0]);
    corner.await_gone(&pods).await;
    corner
        .await_phase(&corner.nodes[0].instance_id, Phase::Released)
        .await;
}

/// What comes within two minutes: a spot notice has no more. If it does not, the operator's log and what it last
/// asked of the API server tell why.
pub async fn within<T: Debug>(what: impl Future<Output = anyhow::Result<T>>) -> T {
    match tokio::time::timeout(PATIENCE, what).await {
        Ok(result) => result.unwrap(),
        Err(elapsed) => panic!(
            "it did not happen within two minutes ({elapsed})\n{}",
            trace().await
        ),
    }
}

async fn trace() -> String {
    let world = world().await;
    let entries = world.control_plane.audit_log().unwrap().entries().unwrap();
    let asked = entries
        .iter()
        .filter(|e| e.user == operator::USER && e.resource != "leases");
    let asked = asked.map(|e| format!("{} {} {}", e.verb, e.status_code, e.request_uri));
    let asked: Vec<String> = asked.collect();
    let last = asked[asked.len().saturating_sub(40)..].join("\n");
    let log = world.operator.process().tail();
    format!("it had asked:\n{last}\nit said:\n{log}")
}
