//! What there is to say of an incident at a stage. As JSON it is the default body, which `docs/notifications.md` shows.

use kube::ResourceExt;
use serde::Serialize;
use serde_json::Value;

use crate::api::Time;
use crate::api::policy::{Mode, Stage};
use crate::api::termination::{
    BlockedPod, NodeTermination, NotificationStatus, Outcome, Phase, PodsStatus, SignalKind,
    Waiting,
};

/// The version of the document. It changes when a field is removed or gets another meaning; fields may be added.
pub const VERSION: &str = "v1";

/// What is said of an incident. Every field is always there; what is not known is null.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The version of this document.
    pub version: &'static str,
    /// The same at each attempt, and another one for everything else: UID, notification and stage.
    pub id: String,
    /// The notification's name in the policy.
    pub notification: String,
    /// The stage.
    pub stage: Stage,
    /// When the incident came to it.
    pub reached_at: Time,
    /// The cluster's name, if the operator was given one.
    pub cluster: Option<String>,
    /// All of it in one sentence.
    pub summary: String,
    /// The object that says more.
    pub node_termination: Reference,
    /// The Node's name.
    pub node: String,
    /// The EC2 instance.
    #[serde(rename = "instanceID")]
    pub instance_id: Option<String>,
    /// The Auto Scaling group, if a lifecycle action waits or waited.
    pub auto_scaling_group: Option<String>,
    /// The most urgent signal's kind.
    pub kind: SignalKind,
    /// When the machine goes.
    pub deadline: Option<Time>,
    /// The policy's name.
    pub policy: Option<String>,
    /// Whether it acts or only observes.
    pub mode: Option<Mode>,
    /// How far the incident is.
    pub phase: Option<Phase>,
    /// What came of it.
    pub outcome: Option<Outcome>,
    /// What it waits for.
    pub waiting: Option<Waiting>,
    /// The node's pods, counted.
    pub pods: Option<PodsStatus>,
    /// The pods that can not leave, at most ten.
    pub blocked: Vec<BlockedPod>,
}

/// Which object it is about.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl Message {
    /// What there is to say about the stage of that row.
    #[must_use]
    pub fn of(object: &NodeTermination, row: &NotificationStatus, cluster: Option<&str>) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let policy = status.policy.as_ref();
        let mut actions = status.lifecycle_actions.iter();
        let uid = object.uid().unwrap_or_default();
        let mut message = Self {
            version: VERSION,
            id: format!("{uid}/{}/{}", row.name, row.stage.as_str()),
            notification: row.name.clone(),
            stage: row.stage,
            reached_at: row.reached_at.clone(),
            cluster: cluster.map(str::to_owned),
            summary: String::new(),
            node_termination: Reference {
                name: object.name_any(),
                uid,
            },
            node: object.spec.node_name.clone(),
            instance_id: object.instance_id().map(str::to_owned),
            auto_scaling_group: actions.find_map(|a| a.auto_scaling_group_name.clone()),
            kind: status.reason.unwrap_or_default(),
            deadline: status.deadline.clone(),
            policy: policy.map(|p| p.name.clone()),
            mode: policy.map(|p| p.mode),
            phase: status.phase,
            outcome: status.outcome,
            waiting: status.waiting,
            pods: status.pods,
            blocked: status.blocked,
        };
        message.summary = message.sentence();
        message
    }

    /// Everything that a template may name: the message, and the whole object.
    #[must_use]
    pub fn context(&self, object: &NodeTermination) -> Value {
        let mut context = serde_json::to_value(self).unwrap_or_default();
        context["object"] = serde_json::to_value(object).unwrap_or_default();
        context
    }

    fn sentence(&self) -> String {
        let kind = self.kind.as_str();
        let machine = match &self.instance_id {
            Some(instance) => format!("{} ({instance})", self.node),
            None => self.node.clone(),
        };
        let cluster = self.cluster.as_ref();
        let cluster = cluster.map_or_else(String::new, |name| format!(" in {name}"));
        let outcome = self.outcome.map_or("", Outcome::as_str);
        let pods = self.pods.as_ref();
        let pods = pods.map_or_else(String::new, |p| format!(", {} pods have left", p.summary));
        let deadline = self.deadline.as_ref();
        let deadline = deadline.map_or_else(String::new, |d| format!(", deadline {:.0}", d.0));
        let said = match self.stage {
            Stage::Received => format!("was heard of{deadline}"),
            Stage::Waiting => format!("waits: {}", self.waits_for()),
            Stage::Draining => format!("is being drained{deadline}"),
            Stage::Blocked => format!("has pods that can not leave: {}{deadline}", self.held()),
            Stage::Drained => format!("is drained{pods}"),
            Stage::Released => format!("is released: {outcome}{pods}"),
            Stage::Completed => format!("is over: {outcome}{pods}"),
            Stage::Canceled => format!("was stopped and undone: {outcome}"),
            Stage::Failed => format!("failed: {outcome}{pods}"),
        };
        format!("{kind} of {machine}{cluster} {said}")
    }

    fn waits_for(&self) -> &'static str {
        self.waiting.as_ref().map_or("", |w| w.reason.as_str())
    }

    fn held(&self) -> String {
        let pods: Vec<&str> = self.blocked.iter().map(|b| b.pod.as_str()).collect();
        pods.join(", ")
    }
}
