//! What every test starts from: a control plane with two nodes, an AWS stand-in with a queue, a policy, two replicas.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use node_termination_operator::api::policy::TerminationPolicy;
use node_termination_operator::api::termination::{NodeTermination, NodeTerminationStatus, Phase};
use serde_json::{Value, json};
use testbed::aws::{ActionState, FaultGuard};
use testbed::aws::{Aws, EndedBy, LifecycleAction, LifecycleResult, Queue, REGION, events};
use testbed::cluster::{
    self, Budget, PodOptions, TestNode, await_object, delete_node, make_pdb, make_pods, map,
};
use testbed::{ControlPlane, Operator, Skew, operator};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

/// The shortest lease that the operator takes.
pub const LEASE: Duration = Duration::from_secs(5);
/// A notice that comes right after a kill is acted on within the lease and this.
pub const FAILOVER_MARGIN: Duration = Duration::from_secs(5);
/// The long polls of a queue that a replica has open: the default.
const RECEIVERS: usize = 2;
/// What the replicas are called.
const REPLICAS: [&str; 2] = ["first", "second"];
/// The label of pods whose eviction the budget of [`Stage::block`] refuses.
const BLOCKED: (&str, &str) = ("app", "blocked");
/// Whatever a test awaits comes within this, on a busy machine too: a spot notice gives two minutes.
const PATIENCE: Duration = Duration::from_mins(1);

/// One control plane takes half a gigabyte and half of the machine: the tests take turns.
static TURN: Mutex<()> = Mutex::const_new(());

/// The turn of a test.
pub async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

/// The operator's binary.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_node-termination-operator"))
}

/// The repository, whose manifests are installed.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One test's world. Its processes end in the order of the fields.
pub struct Stage {
    /// It leads when the test begins.
    pub first: Operator,
    /// It stands by.
    pub second: Operator,
    pub aws: Aws,
    pub queue: Queue,
    pub client: Client,
    pub namespace: String,
    pub nodes: Vec<TestNode>,
    pub control_plane: ControlPlane,
    _turn: MutexGuard<'static, ()>,
}

impl Stage {
    /// Two nodes, and a policy with these settings beside its queue, which is being read by the leader.
    pub async fn new(settings: Value) -> Self {
        Self::skewed(settings, [None, None]).await
    }

    /// The same, with replicas whose clocks are wrong.
    pub async fn skewed(settings: Value, skews: [Option<&Skew>; 2]) -> Self {
        let start = |control_plane: &ControlPlane, aws: &Aws, replica: usize| {
            let extra = skews[replica].map(Skew::env);
            let extra = extra.as_ref().map_or(&[][..], |e| &e[..]);
            start_with(control_plane, aws, REPLICAS[replica], extra)
        };
        Self::with(settings, start).await
    }

    /// The same, with replicas that have more in their environment.
    pub async fn equipped(settings: Value, extra: &[(&str, &str)]) -> Self {
        let start = |control_plane: &ControlPlane, aws: &Aws, replica: usize| {
            start_with(control_plane, aws, REPLICAS[replica], extra)
        };
        Self::with(settings, start).await
    }

    async fn with(settings: Value, start: impl Fn(&ControlPlane, &Aws, usize) -> Operator) -> Self {
        let turn = turn().await;
        let control_plane = operator::control_plane(true).await.unwrap();
        operator::install(&control_plane, repository())
            .await
            .unwrap();
        let aws = Aws::start().unwrap();
        let first = start(&control_plane, &aws, 0);
        first.await_leader().await.unwrap();
        let second = start(&control_plane, &aws, 1);
        let client = control_plane.client().await.unwrap();
        let namespace = cluster::namespace(&client, "faults").await.unwrap();
        let nodes = cluster::make_nodes(&client, "node", 2, &map(&[]))
            .await
            .unwrap();
        second.await_ready().await.unwrap();
        let stage = Self {
            queue: aws.create_queue("notices").unwrap(),
            first,
            second,
            aws,
            client,
            namespace,
            nodes,
            control_plane,
            _turn: turn,
        };
        stage.apply_policy(&settings).await;
        stage
    }

    /// A policy with these settings beside the queue, which is being read once this is over.
    pub async fn apply_policy(&self, settings: &Value) {
        let mut spec = json!({
            "sources": [{"name": "events", "sqs": {"queueURL": self.queue.url(), "region": REGION}}],
        });
        let more = settings.as_object().unwrap().clone();
        spec.as_object_mut().unwrap().extend(more);
        let policy: TerminationPolicy = serde_json::from_value(json!({
            "apiVersion": "nodetermination.dev/v1alpha1",
            "kind": "TerminationPolicy",
            "metadata": {"name": "all"},
            "spec": spec,
        }))
        .unwrap();
        let api = Api::<TerminationPolicy>::all(self.client.clone());
        api.create(&PostParams::default(), &policy).await.unwrap();
        let read = |p: &TerminationPolicy| {
            let status = p.status.as_ref();
            status.is_some_and(|s| s.ready_sources == "1/1")
        };
        let ready = await_object(api, "all", |p| p.is_some_and(read));
        self.within("the policy's source is ready", ready).await;
    }

    /// What comes within a minute. If it does not, the operators' logs tell why.
    pub async fn within<T: Debug>(
        &self,
        what: &str,
        coming: impl Future<Output = anyhow::Result<T>>,
    ) -> T {
        let failure = match tokio::time::timeout(PATIENCE, coming).await {
            Ok(Ok(come)) => return come,
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => format!("not within {PATIENCE:?}"),
        };
        for replica in [&self.first, &self.second] {
            let ready = replica.get("/readyz").await;
            let (name, tail) = (replica.identity(), replica.process().tail());
            println!("{name} answers {ready:?} to /readyz and said:\n{tail}");
        }
        panic!("{what}: {failure}");
    }

    /// Sends a spot notice for the node, as of now.
    pub fn interrupt(&self, node: &TestNode) {
        self.interrupt_at(node, Timestamp::now());
    }

    /// Sends a spot notice for the node, as of that time.
    pub fn interrupt_at(&self, node: &TestNode, time: Timestamp) {
        let notice = events::spot_interruption(&node.instance_id, time);
        self.queue.send(notice).unwrap();
    }

    /// Lets an Auto Scaling group terminate the node, with a hook that waits for an hour. The notice is so old.
    pub fn scale_in(&self, node: &TestNode, age: SignedDuration) -> (LifecycleAction, Timestamp) {
        let (action, noticed) = self.begin_scale_in(node, age);
        self.queue
            .send(events::terminate_lifecycle(&action, noticed))
            .unwrap();
        (action, noticed)
    }

    /// The same, and nobody is told.
    pub fn begin_scale_in(
        &self,
        node: &TestNode,
        age: SignedDuration,
    ) -> (LifecycleAction, Timestamp) {
        let (group, hook) = ("workers", "drain");
        let an_hour = Duration::from_hours(1);
        self.aws
            .put_hook(group, hook, an_hour, LifecycleResult::Abandon);
        self.aws.put_instance(group, &node.instance_id);
        let actions = self
            .aws
            .start_termination(group, &node.instance_id, None)
            .unwrap();
        // An event's time has whole seconds.
        let noticed = (Timestamp::now() - age).as_second();
        let noticed = Timestamp::from_second(noticed).unwrap();
        (actions[0].clone(), noticed)
    }

    /// Pods on the node.
    pub async fn pods(&self, node: &TestNode, count: usize, options: &PodOptions) -> Vec<Pod> {
        make_pods(&self.client, &self.namespace, &node.name, count, options)
            .await
            .unwrap()
    }

    /// Pods on the node that a disruption budget keeps, until [`Self::unblock`].
    pub async fn blocked_pods(&self, node: &TestNode, count: usize) -> Vec<Pod> {
        let options = PodOptions::default().label(BLOCKED.0, BLOCKED.1);
        let pods = self.pods(node, count, &options).await;
        let all = Budget::MinAvailable(IntOrString::Int(count.try_into().unwrap()));
        let labels = map(&[BLOCKED]);
        make_pdb(&self.client, &self.namespace, "keep", &labels, all)
            .await
            .unwrap();
        pods
    }

    /// Takes the disruption budget away.
    pub async fn unblock(&self) {
        let namespace = self.namespace.as_str();
        let delete = ["delete", "pdb", "keep", "-n", namespace, "--wait=false"];
        self.control_plane.kubectl(&delete).await.unwrap();
    }

    /// Gives the operator's role a right, or takes it, and waits until that holds. The rule is that of just this
    /// resource; a rule must keep a verb.
    pub async fn may(&self, verb: &str, resource: &str, may: bool) {
        let roles = Api::<ClusterRole>::all(self.client.clone());
        let mut role = roles.get(operator::NAME).await.unwrap();
        let named = |r: &&mut PolicyRule| r.resources == Some(vec![resource.to_owned()]);
        let verbs = &mut role.rules.iter_mut().flatten().find(named).unwrap().verbs;
        verbs.retain(|v| v != verb);
        verbs.push(if may { verb } else { "get" }.to_owned());
        roles
            .replace(operator::NAME, &PostParams::default(), &role)
            .await
            .unwrap();
        let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
        let (user, sub) = (
            format!("--as={}", operator::USER),
            format!("--subresource={sub}"),
        );
        let asked = async {
            // kubectl fails to say no: it is asked again until it says what it should.
            let ask = ["auth", "can-i", verb, resource, &sub, &user];
            while self
                .control_plane
                .kubectl(&ask)
                .await
                .is_ok_and(|s| s.trim() == "yes")
                != may
            {}
            Ok(())
        };
        self.within(&format!("the right to {verb} {resource}: {may}"), asked)
            .await;
    }

    /// Waits until the pods have gone.
    pub async fn await_gone(&self, pods: &[Pod]) {
        let gone = cluster::await_pods_gone(&self.client, &self.namespace, pods);
        self.within("the pods go", gone).await;
    }

    /// Waits until the pod is told to end.
    pub async fn await_terminating(&self, pods: &[Pod]) {
        for pod in pods {
            let api = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
            let told = |p: Option<&Pod>| p.is_none_or(|p| p.metadata.deletion_timestamp.is_some());
            let name = pod.name_any();
            self.within("a pod is told to end", await_object(api, &name, told))
                .await;
        }
    }

    /// Waits until the node's incident is as it should be.
    pub async fn await_incident(
        &self,
        node: &TestNode,
        what: &str,
        good: impl Fn(&NodeTermination) -> bool,
    ) -> NodeTermination {
        let api = Api::<NodeTermination>::all(self.client.clone());
        let object = await_object(api, &node.instance_id, |i| i.is_some_and(&good));
        self.within(what, object).await.unwrap()
    }

    /// Waits until the node's incident is in that phase.
    pub async fn await_phase(&self, node: &TestNode, phase: Phase) -> NodeTerminationStatus {
        let what = format!("{} is {}", node.name, phase.as_str());
        let in_phase = |i: &NodeTermination| status(i).phase == Some(phase);
        status(&self.await_incident(node, &what, in_phase).await)
    }

    /// Waits until the node is closed to new pods.
    pub async fn await_cordoned(&self, node: &TestNode) {
        let api = Api::<Node>::all(self.client.clone());
        let what = format!("{} is cordoned", node.name);
        let cordoned = await_object(api, &node.name, |n| n.is_some_and(is_cordoned));
        self.within(&what, cordoned).await;
    }

    /// The node as it is now.
    pub async fn node(&self, node: &TestNode) -> Node {
        let api = Api::<Node>::all(self.client.clone());
        api.get(&node.name).await.unwrap()
    }

    /// Kills the leader, and tells when.
    pub fn kill_first(&self) -> Instant {
        let now = Instant::now();
        self.first.kill();
        now
    }

    /// Waits until the second replica leads, and tells how long that took.
    pub async fn await_second(&self, since: Instant) -> Duration {
        let led = self.within("the second leads", self.second.await_leader());
        led.await;
        let took = since.elapsed();
        println!("the second leads after {took:.1?}");
        took
    }

    /// Waits for a call of AWS that this is true of, past ones included.
    pub async fn await_call(&self, what: &str, good: impl Fn(&testbed::aws::Call) -> bool) {
        let call = self.aws.await_call(PATIENCE, good);
        self.within(what, call).await;
    }

    /// Waits until all long polls of a replica that was killed have ended, since the calls were forgotten. A message that
    /// is sent before is handed to nobody, and hidden for 15 s.
    pub async fn await_polls_given_up(&self) {
        let given_up = |c: &testbed::aws::Call| {
            c.operation == "ReceiveMessage" && c.outcome.code.as_deref() == Some("ClientGone")
        };
        let ended = self.aws.await_calls(PATIENCE, RECEIVERS, given_up);
        self.within("the polls have ended", ended).await;
    }

    /// Waits until the fault has struck.
    pub async fn await_struck(&self, operation: &str, fault: &FaultGuard) {
        let failed = |c: &testbed::aws::Call| c.operation == operation && !c.outcome.is_ok();
        self.await_call("the fault strikes", failed).await;
        assert!(fault.struck() > 0);
    }

    /// Waits until no message is left, and sees that AWS had nothing to object to.
    pub async fn await_empty_queue(&self) {
        self.within("the queue is empty", self.queue.await_empty(PATIENCE))
            .await;
        let violations = self.aws.violations();
        assert!(violations.is_empty(), "{violations:?}");
    }

    /// Waits until the action has ended; it was completed, not timed out.
    pub async fn await_completed(&self, action: &LifecycleAction) {
        let done = self.aws.await_action_done(&action.token, PATIENCE);
        let ended = self.within("the lifecycle action ends", done).await;
        assert!(
            matches!(
                ended,
                ActionState::Ended {
                    by: EndedBy::Completion,
                    result: LifecycleResult::Continue,
                    ..
                }
            ),
            "{ended:?}"
        );
    }

    /// Deletes the node and waits until its incident is completed: the one incident that there is of it.
    pub async fn end(&self, node: &TestNode) -> NodeTerminationStatus {
        delete_node(&self.client, &node.name).await.unwrap();
        let status = self.await_phase(node, Phase::Completed).await;
        let api = Api::<NodeTermination>::all(self.client.clone());
        let incidents = api.list(&kube::api::ListParams::default()).await.unwrap();
        let of_node = |i: &&NodeTermination| i.spec.node_name == node.name;
        assert_eq!(incidents.iter().filter(of_node).count(), 1);
        status
    }

    /// How many times the API server was asked to evict the pod of that name, and did.
    pub fn evictions(&self, pod: &str) -> usize {
        let entries = self.control_plane.audit_log().unwrap().entries().unwrap();
        let of_pod = entries
            .iter()
            .filter(|e| e.subresource == "eviction" && e.name == pod && e.status_code == 201);
        of_pod.count()
    }
}

/// A replica with the shortest lease.
pub fn start(control_plane: &ControlPlane, aws: &Aws, identity: &str) -> Operator {
    start_with(control_plane, aws, identity, &[])
}

/// The same, with more in its environment.
fn start_with(
    control_plane: &ControlPlane,
    aws: &Aws,
    identity: &str,
    extra: &[(&str, &str)],
) -> Operator {
    let seconds = LEASE.as_secs().try_into().unwrap();
    Operator::start(binary(), control_plane, aws, identity, seconds, extra).unwrap()
}

/// The incident's status.
pub fn status(incident: &NodeTermination) -> NodeTerminationStatus {
    incident.status.clone().unwrap_or_default()
}

/// Whether the node is closed to new pods.
pub fn is_cordoned(node: &Node) -> bool {
    let spec = node.spec.as_ref();
    spec.is_some_and(|s| s.unschedulable == Some(true))
}
