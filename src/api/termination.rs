//! `NodeTermination`: one incident of one instance, every signal about it, and the record of what was done.

mod effective;
mod notified;
mod pods;
mod status;
mod volumes;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Time;
pub use effective::{AwsAccess, EffectivePolicy};
pub use notified::{
    EffectiveNotification, NOTIFIED_MAX, NOTIFIED_MESSAGE_MAX, NotificationState,
    NotificationStatus,
};
pub use pods::{BlockReason, BlockedPod, LeftPod, LeftReason, PodsStatus};
pub use status::{
    LifecycleActionState, LifecycleActionStatus, NodeIdentity, NodeTerminationStatus, Outcome,
    Phase, SignalStatus, WaitReason, Waiting,
};
pub use volumes::{VOLUMES_NAMED_MAX, VolumesStatus};

/// The finalizer that makes the deletion of an open object undo what was done to the node.
pub const FINALIZER: &str = "nodetermination.dev/undo";

/// The most signals that one object holds. More of them say nothing new about a machine that is going away.
pub const SIGNALS_MAX: usize = 32;

/// The most lifecycle actions that one record holds, as its schema says.
pub const LIFECYCLE_ACTIONS_MAX: usize = 32;

/// The instance state that undoes a stop, as EC2 writes it.
pub const RUNNING: &str = "running";
/// The state of an instance that is off, and may be started again.
pub const STOPPED: &str = "stopped";
/// The state of an instance that is gone for good.
pub const TERMINATED: &str = "terminated";

/// What a rule's message starts with, so that the recorder tells the refusals apart.
pub mod refusal {
    /// The object is finished: the signal belongs to the next incident.
    pub const FINISHED: &str = "finished: ";
    /// The object is about another node or instance.
    pub const IDENTITY: &str = "identity: ";
    /// The signal is there already with another content.
    pub const SIGNALS: &str = "signals: ";
}

/// One interruption of one instance: who it is, what was heard about it, and two switches for people. With nothing but
/// a node name it is a person's wish to have that node drained.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "nodetermination.dev",
    version = "v1alpha1",
    kind = "NodeTermination",
    plural = "nodeterminations",
    shortname = "nt",
    category = "terminations",
    status = "NodeTerminationStatus",
    derive = "PartialEq",
    doc = "NodeTermination is one incident of one EC2 instance: every signal about it, what was done on its node, and what still blocks. It is made by the operator and kept as the audit record; made by hand with only spec.nodeName, it takes that node out of service until it is deleted or canceled.",
    selectable = ".spec.nodeName",
    selectable = ".spec.instanceID",
    selectable = ".status.phase",
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.nodeName"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Pods", type_ = "string", json_path = ".status.pods.summary"),
    printcolumn(name = "Blocked", type_ = "integer", json_path = ".status.pods.blocked"),
    printcolumn(name = "Deadline", type_ = "string", json_path = ".status.deadline"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".status.policy.name", priority = 1),
    printcolumn(name = "Instance", type_ = "string", json_path = ".spec.instanceID", priority = 1),
    printcolumn(name = "Outcome", type_ = "string", json_path = ".status.outcome", priority = 1),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.phase) || !(oldSelf.status.phase in ['Completed', 'Canceled', 'Failed']) || size(self.spec.signals) == size(oldSelf.spec.signals)")
        .message("finished: no signal can be added to a NodeTermination that is Completed, Canceled or Failed")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!oldSelf.cancel || self.cancel").message("cancel: it can not be taken back"))]
#[x_kube(validation = Rule::new("self.nodeName == oldSelf.nodeName && has(self.nodeUID) == has(oldSelf.nodeUID) && (!has(self.nodeUID) || self.nodeUID == oldSelf.nodeUID) && has(self.instanceID) == has(oldSelf.instanceID) && (!has(self.instanceID) || self.instanceID == oldSelf.instanceID)").message("identity: nodeName, nodeUID and instanceID can not be changed"))]
#[x_kube(validation = Rule::new("size(self.signals) == 0 || (has(self.nodeUID) && has(self.instanceID))").message("identity: a NodeTermination with signals names nodeUID and instanceID; one made by hand needs only nodeName and has no signals"))]
pub struct NodeTerminationSpec {
    /// The Node's name.
    #[schemars(length(min = 1, max = 253))]
    pub node_name: String,
    /// The Node's UID. A new machine under the old name is never touched. May be left out by hand: status.node then holds the one that was found.
    #[serde(rename = "nodeUID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub node_uid: Option<String>,
    /// The EC2 instance's ID, as the Node's provider ID ends. May be left out by hand.
    #[serde(
        rename = "instanceID",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(min = 10, max = 19), regex(pattern = "^i-[0-9a-f]{8,17}$"))]
    pub instance_id: Option<String>,
    /// Freeze at the next safe point: no further eviction and no completion. Heartbeats go on.
    #[serde(default)]
    pub hold: bool,
    /// Stop and undo: the node is opened again, lifecycle actions are left alone, and the object stays as Canceled. It can not be taken back.
    #[serde(default)]
    pub cancel: bool,
    /// Everything heard about this incident; empty when a person made it. A signal is never changed or removed, and none is added to a finished object.
    #[serde(default)]
    #[schemars(length(max = 32))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["id".into()]),
        validation = Rule::new("oldSelf.all(o, self.exists(s, s == o))").message("signals: a signal is never changed or removed")
    )]
    pub signals: Vec<Signal>,
}

impl NodeTermination {
    /// The UID of the node: as spec has it, else as it was found for the name.
    #[must_use]
    pub fn node_uid(&self) -> Option<&str> {
        let found = self.status.as_ref().and_then(|s| s.node.as_ref());
        let found = found.map(|n| n.uid.as_str());
        self.spec.node_uid.as_deref().or(found)
    }

    /// The EC2 instance: as spec has it, else as it was found for the node's name.
    #[must_use]
    pub fn instance_id(&self) -> Option<&str> {
        let found = self.status.as_ref().and_then(|s| s.node.as_ref());
        let found = found.and_then(|n| n.instance_id.as_deref());
        self.spec.instance_id.as_deref().or(found)
    }

    /// The phase as it is stored.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        self.status.as_ref()?.phase
    }
}

/// One thing heard about the instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Signal {
    /// The kind and a hash of the content that identifies the notice; however often it is heard, it is one signal.
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z]+-[0-9a-f]{16}$"))]
    pub id: String,
    /// What sort of interruption it announces.
    pub kind: SignalKind,
    /// When AWS gave notice, RFC 3339.
    pub notice_time: Time,
    /// When the instance goes, RFC 3339, if the notice says so. A lifecycle action's deadline follows from its hook instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// What EC2 will do with a spot instance: terminate, stop or hibernate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub instance_action: Option<String>,
    /// The state that the instance went to: stopping, stopped, shutting-down, terminated, or running when a stopped one is back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub instance_state: Option<String>,
    /// Why Auto Scaling terminates the instance, in its own words, if the event says so; zone rebalancing among others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub cause: Option<String>,
    /// The Auto Scaling lifecycle action that waits for us. Absent when instance metadata told of it, which names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle_hook: Option<LifecycleHook>,
    /// The scheduled maintenance, or what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<MaintenanceEvent>,
}

impl Signal {
    /// A signal that says no more than this.
    #[must_use]
    pub fn new(id: String, kind: SignalKind, notice_time: Time) -> Self {
        Self {
            id,
            kind,
            notice_time,
            deadline: None,
            instance_action: None,
            instance_state: None,
            cause: None,
            lifecycle_hook: None,
            maintenance: None,
        }
    }
}

/// A maintenance of the machine that AWS has scheduled, moved, canceled or ended. The latest notice about an event counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceEvent {
    /// The event's ID in instance metadata, or its ARN in AWS Health.
    #[serde(rename = "eventID")]
    #[schemars(length(min = 1, max = 256))]
    pub event_id: String,
    /// What is done to the machine: instance-stop, instance-retirement, instance-reboot, system-reboot or system-maintenance, or AWS Health's event type code.
    #[schemars(length(min = 1, max = 128))]
    pub code: String,
    /// Scheduled, Canceled or Completed.
    pub state: MaintenanceState,
    /// When it begins at the earliest, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// When it is over at the latest, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
}

/// How a maintenance stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MaintenanceState {
    /// It is to come, or under way.
    #[default]
    Scheduled,
    /// It will not come.
    Canceled,
    /// It is over.
    Completed,
}

/// The kinds of interruption, the most urgent first.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum SignalKind {
    /// A spot instance is taken back two minutes after the notice.
    SpotInterruption,
    /// An interruptible capacity reservation is reclaimed, or a Capacity Block ends.
    CapacityReservation,
    /// The instance stops or terminates already.
    InstanceStateChange,
    /// An Auto Scaling group terminates the instance and waits for its lifecycle hook.
    AutoScalingTermination,
    /// AWS works on the machine at a time that it has announced.
    ScheduledMaintenance,
    /// A spot instance is at a heightened risk of interruption.
    RebalanceRecommendation,
    /// A person asked for it: no signal, only an object made by hand.
    #[default]
    Manual,
}

impl SignalKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::SpotInterruption,
        Self::CapacityReservation,
        Self::InstanceStateChange,
        Self::AutoScalingTermination,
        Self::ScheduledMaintenance,
        Self::RebalanceRecommendation,
        Self::Manual,
    ];

    /// The kind as it stands in objects, taints, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SpotInterruption => "SpotInterruption",
            Self::CapacityReservation => "CapacityReservation",
            Self::InstanceStateChange => "InstanceStateChange",
            Self::AutoScalingTermination => "AutoScalingTermination",
            Self::ScheduledMaintenance => "ScheduledMaintenance",
            Self::RebalanceRecommendation => "RebalanceRecommendation",
            Self::Manual => "Manual",
        }
    }
}

/// An Auto Scaling lifecycle action, and whose credentials complete it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LifecycleHook {
    /// The Auto Scaling group's name.
    #[schemars(length(min = 1, max = 255))]
    pub auto_scaling_group_name: String,
    /// The lifecycle hook's name.
    #[schemars(length(min = 1, max = 255))]
    pub hook_name: String,
    /// The token that names this one action of the hook.
    #[schemars(length(min = 1, max = 64))]
    pub action_token: String,
    /// The transition that waits, as in autoscaling:EC2_INSTANCE_TERMINATING.
    #[schemars(length(max = 64))]
    pub transition: String,
    /// The group's region.
    #[schemars(length(min = 1, max = 32))]
    pub region: String,
    /// The role to assume for this group's calls; absent: the operator's own.
    #[serde(rename = "roleARN", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub role_arn: Option<String>,
    /// The external ID to send when the role is assumed.
    #[serde(
        rename = "externalID",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(max = 512))]
    pub external_id: Option<String>,
}
