//! What a scenario starts from: a fresh control plane with our kinds and roles, and a stand-in for AWS.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use node_termination_operator::api::policy::TerminationPolicy;
use node_termination_operator::api::termination::NodeTermination;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testbed::aws::{Aws, Queue, REGION};
use testbed::cluster::{await_count, await_object};
use testbed::control_plane::AuditEntry;
use testbed::{ControlPlane, Operator, operator};

/// The lease of the manifests, which is the default.
pub const LEASE: Duration = Duration::from_secs(15);
/// Requests of the harness in flight at once.
pub const CONNECTIONS: usize = 32;
/// How long the operator may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// One series' world.
pub struct Bed {
    pub control_plane: ControlPlane,
    pub aws: Aws,
    pub client: Client,
}

/// The repository, whose manifests are installed.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The operator's binary.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_node-termination-operator"))
}

impl Bed {
    pub async fn new() -> anyhow::Result<Self> {
        let control_plane = operator::control_plane(true).await?;
        operator::install(&control_plane, repository()).await?;
        Ok(Self {
            client: control_plane.client().await?,
            aws: Aws::start()?,
            control_plane,
        })
    }

    /// A replica, as its users run it.
    pub fn start(&self, identity: &str) -> anyhow::Result<Operator> {
        let seconds = u16::try_from(LEASE.as_secs())?;
        let log = [("NTO_LOG_LEVEL", "info")];
        let (control_plane, aws) = (&self.control_plane, &self.aws);
        Operator::start(binary(), control_plane, aws, identity, seconds, &log)
    }

    /// A replica that leads and is ready.
    pub async fn lead(&self, identity: &str) -> anyhow::Result<Operator> {
        let operator = self.start(identity)?;
        operator.await_leader().await?;
        operator.await_ready().await?;
        Ok(operator)
    }

    /// A policy with these settings, once its queue is being read.
    pub async fn policy(&self, name: &str, settings: &Value) -> anyhow::Result<Queue> {
        let queue = self.aws.create_queue(name)?;
        let mut spec = json!({
            "sources": [{"name": "events", "sqs": {"queueURL": queue.url(), "region": REGION}}],
        });
        let more = settings.as_object().context("settings")?.clone();
        spec.as_object_mut().context("a spec")?.extend(more);
        let policy: TerminationPolicy = serde_json::from_value(json!({
            "apiVersion": "nodetermination.dev/v1alpha1",
            "kind": "TerminationPolicy",
            "metadata": {"name": name},
            "spec": spec,
        }))?;
        let api = Api::<TerminationPolicy>::all(self.client.clone());
        api.create(&PostParams::default(), &policy).await?;
        let read = |p: &TerminationPolicy| {
            let status = p.status.as_ref();
            status.is_some_and(|s| s.ready_sources == "1/1")
        };
        await_object(api, name, |p| p.is_some_and(read)).await?;
        Ok(queue)
    }

    /// Ends a round: its policy, its process, and its records, which nobody is left to finish.
    pub async fn end(&self, operator: Operator, policy: &str) -> anyhow::Result<()> {
        let policies = Api::<TerminationPolicy>::all(self.client.clone());
        policies.delete(policy, &DeleteParams::default()).await?;
        operator.terminate(ENDS_WITHIN).await?;
        self.forget_incidents().await
    }

    /// Deletes all records.
    pub async fn forget_incidents(&self) -> anyhow::Result<()> {
        let api = self.records();
        let records = api.list(&ListParams::default()).await?.items;
        let each = records.into_iter().map(|r| forget(&api, r));
        let each: Vec<_> = each.collect();
        let all = futures::stream::iter(each).buffer_unordered(CONNECTIONS);
        all.try_collect::<()>().await
    }

    /// The records, by their metadata.
    pub fn records(&self) -> Api<PartialObjectMeta<NodeTermination>> {
        Api::all(self.client.clone())
    }

    /// Waits until so many incidents are as they should be.
    pub async fn await_incidents(
        &self,
        count: usize,
        good: impl Fn(&NodeTermination) -> bool,
    ) -> anyhow::Result<()> {
        let api = Api::<NodeTermination>::all(self.client.clone());
        patiently(&api, count, good).await
    }

    /// Deletes the nodes with that label.
    pub async fn delete_nodes(&self, label: &str) -> anyhow::Result<()> {
        let nodes = Api::<Node>::all(self.client.clone());
        let selected = ListParams::default().labels(label);
        let delete = DeleteParams::default();
        nodes.delete_collection(&delete, &selected).await?;
        Ok(())
    }

    /// Everything that operators have asked of the API server so far, their lease apart.
    pub fn requests(&self) -> anyhow::Result<Vec<AuditEntry>> {
        let entries = self.control_plane.audit_log()?.entries()?.into_iter();
        let ours = |e: &AuditEntry| e.user == operator::USER && e.resource != "leases";
        Ok(entries.filter(ours).collect())
    }
}

/// Waits until so many objects are as they should be: three times as long as a test does, for there are thousands.
pub async fn patiently<K>(
    api: &Api<K>,
    count: usize,
    good: impl Fn(&K) -> bool,
) -> anyhow::Result<()>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut left = 3;
    loop {
        let awaited = await_count(api.clone(), watcher::Config::default(), count, &good).await;
        left -= 1;
        if awaited.is_ok() || left == 0 {
            return awaited;
        }
    }
}

async fn forget(
    api: &Api<PartialObjectMeta<NodeTermination>>,
    record: PartialObjectMeta<NodeTermination>,
) -> anyhow::Result<()> {
    let name = record.name_any();
    if !record.finalizers().is_empty() {
        let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        api.patch(&name, &PatchParams::default(), &free).await?;
    }
    api.delete(&name, &DeleteParams::default()).await?;
    Ok(())
}
