//! What every test starts from: a control plane with two nodes and nothing of ours, and what a person does to it.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use node_termination_operator::api::policy::TerminationPolicy;
use node_termination_operator::api::termination::{NodeTermination, NodeTerminationStatus, Phase};
use serde_json::{Value, json};
use testbed::aws::{Aws, Queue, REGION};
use testbed::cluster::{
    self, PodOptions, TestNode, await_object, await_pods_gone, make_nodes, make_pods, map,
};
use testbed::imds::Imds;
use testbed::{ControlPlane, Operator, operator};
use tokio::sync::{Mutex, MutexGuard};

/// Whatever a test awaits comes within this, on a busy machine too.
const PATIENCE: Duration = Duration::from_mins(2);

/// One control plane takes half a gigabyte and half of the machine: the tests take turns.
static TURN: Mutex<()> = Mutex::const_new(());

/// Pods that are to leave.
pub struct Work {
    namespace: String,
    pods: Vec<Pod>,
}

/// One test's world. Its processes end in the order of the fields.
pub struct Site {
    pub aws: Aws,
    pub client: Client,
    pub control_plane: ControlPlane,
    _turn: MutexGuard<'static, ()>,
}

impl Site {
    /// A control plane with two nodes, on which the controller's two pods find room.
    pub async fn new() -> Self {
        let turn = TURN.lock().await;
        let control_plane = ControlPlane::builder().audit(true).start().await.unwrap();
        let client = control_plane.client().await.unwrap();
        make_nodes(&client, "system", 2, &map(&[])).await.unwrap();
        Self {
            aws: Aws::start().unwrap(),
            client,
            control_plane,
            _turn: turn,
        }
    }

    /// `kubectl apply --server-side -k` of a folder of `manifests/`, once.
    pub async fn apply(&self, folder: &str, more: &[&str]) -> String {
        let path = manifests(folder);
        let apply = ["apply", "--server-side", "-k", &path];
        let apply = [&apply[..], more].concat();
        self.control_plane.kubectl(&apply).await.unwrap()
    }

    /// Applies that overlay, and waits until all pods of it were admitted and run.
    pub async fn install(&self, overlay: &str) {
        self.apply(&format!("overlays/{overlay}"), &[]).await;
        let deployments = Api::<Deployment>::namespaced(self.client.clone(), operator::NAME);
        let runs = |d: Option<&Deployment>| {
            d.is_some_and(|d| d.status.as_ref().and_then(|s| s.available_replicas) == Some(2))
        };
        within(await_object(deployments, operator::NAME, runs)).await;
        if overlay != "queue" {
            self.await_agents().await;
        }
    }

    async fn await_agents(&self) {
        let sets = Api::<DaemonSet>::namespaced(self.client.clone(), operator::NAME);
        let runs = |s: Option<&DaemonSet>| {
            let status = s.and_then(|s| s.status.as_ref());
            status.is_some_and(|s| {
                s.desired_number_scheduled > 0 && s.number_ready == s.desired_number_scheduled
            })
        };
        within(await_object(sets, operator::AGENT, runs)).await;
    }

    /// Nodes on which no controller runs.
    pub async fn nodes(&self, prefix: &str, count: usize) -> Vec<TestNode> {
        let nodes = make_nodes(&self.client, prefix, count, &map(&[])).await;
        nodes.unwrap()
    }

    /// One of the controller's pods as a process; it leads.
    pub async fn controller(&self) -> Operator {
        let env = self.aws.env();
        let env: Vec<_> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let pod = self.pod("controller", "").await;
        let controller = self.start(&pod, &env).await;
        controller.await_ready().await.unwrap();
        controller.await_leader().await.unwrap();
        controller
    }

    /// The agent's pod on that node as a process, which reads that metadata.
    pub async fn agent(&self, node: &TestNode, imds: &Imds) -> Operator {
        let on_node = format!("spec.nodeName={}", node.name);
        self.await_agents().await;
        let pod = self.pod("agent", &on_node).await;
        let agent = self.start(&pod, &imds.env()).await;
        agent.await_ready().await.unwrap();
        agent
    }

    async fn start(&self, pod: &Pod, env: &[(&str, &str)]) -> Operator {
        let binary = Path::new(env!("CARGO_BIN_EXE_node-termination-operator"));
        let started = Operator::start_pod(binary, &self.control_plane, &self.client, pod, env);
        started.await.unwrap()
    }

    async fn pod(&self, component: &str, fields: &str) -> Pod {
        let labels = format!(
            "app.kubernetes.io/name={},app.kubernetes.io/component={component}",
            operator::NAME
        );
        let params = ListParams::default().labels(&labels).fields(fields);
        let pods = Api::<Pod>::namespaced(self.client.clone(), operator::NAME);
        let pods = pods.list(&params).await.unwrap().items;
        pods.into_iter().next().expect("a pod of ours")
    }

    /// Applies a policy of `manifests/examples/`, with that queue in it and with these settings besides, and waits until
    /// all its sources are ready.
    pub async fn apply_example(&self, file: &str, queue: &Queue, settings: &Value) {
        let text = std::fs::read_to_string(manifests(&format!("examples/{file}"))).unwrap();
        let mut policy: Value = serde_yaml::from_str(&text).unwrap();
        for source in policy["spec"]["sources"].as_array_mut().unwrap() {
            if let Some(sqs) = source.get_mut("sqs") {
                assert!(sqs["queueURL"].as_str().unwrap().contains("123456789012"));
                sqs["queueURL"] = json!(queue.url());
                sqs["region"] = json!(REGION);
            }
        }
        let spec = policy["spec"].as_object_mut().unwrap();
        spec.extend(settings.as_object().unwrap().clone());
        let policy: TerminationPolicy = serde_json::from_value(policy).unwrap();
        let sources = policy.spec.sources.len();
        let policies = Api::<TerminationPolicy>::all(self.client.clone());
        let params = PostParams::default();
        policies.create(&params, &policy).await.unwrap();
        let all = format!("{sources}/{sources}");
        let ready = |p: Option<&TerminationPolicy>| {
            p.is_some_and(|p| p.status.as_ref().is_some_and(|s| s.ready_sources == all))
        };
        within(await_object(policies, "default", ready)).await;
    }

    /// A namespace of its own.
    pub async fn namespace(&self) -> String {
        cluster::namespace(&self.client, "work").await.unwrap()
    }

    /// Pods on the node, in a namespace of their own.
    pub async fn pods(&self, node: &TestNode, count: usize, options: PodOptions) -> Work {
        let namespace = self.namespace().await;
        let pods = make_pods(&self.client, &namespace, &node.name, count, &options)
            .await
            .unwrap();
        Work { namespace, pods }
    }

    /// Waits until these pods have gone.
    pub async fn await_gone(&self, work: &Work) {
        let gone = await_pods_gone(&self.client, &work.namespace, &work.pods);
        within(gone).await;
    }

    /// Waits until the incident of that name is so.
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

    /// Waits until the incident of that name is in that phase.
    pub async fn await_phase(&self, name: &str, phase: Phase) {
        self.await_incident(name, |i| status(i).phase == Some(phase))
            .await;
    }

    /// Changes the spec of an incident, as a person does.
    pub async fn change_incident(&self, name: &str, spec: Value) {
        let api = Api::<NodeTermination>::all(self.client.clone());
        let patch = Patch::Merge(json!({"spec": spec}));
        let params = PatchParams::default();
        api.patch(name, &params, &patch).await.unwrap();
    }
}

/// The path of something in `manifests/`.
pub fn manifests(below: &str) -> String {
    format!("{}/manifests/{below}", env!("CARGO_MANIFEST_DIR"))
}

/// The incident's status.
pub fn status(incident: &NodeTermination) -> NodeTerminationStatus {
    incident.status.clone().unwrap_or_default()
}

/// What comes within two minutes.
pub async fn within<T: Debug>(what: impl Future<Output = anyhow::Result<T>>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it did not happen within two minutes")
        .unwrap()
}
