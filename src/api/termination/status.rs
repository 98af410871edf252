//! What was done about an incident, and why not: the audit record.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    BlockedPod, EffectivePolicy, LeftPod, NotificationStatus, PodsStatus, SignalKind, VolumesStatus,
};
use crate::api::Time;
use crate::api::condition::Condition;

/// What was done about the incident, what still blocks, and what comes next at what time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeTerminationStatus {
    /// The generation of spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How far the incident is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The machine behind the node's name, as it was when work began. It binds an object made by hand, and a new boot ID tells that a rebooted machine is back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeIdentity>,
    /// What the incident waits for, and until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// The most urgent signal's kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<SignalKind>,
    /// When the machine goes, RFC 3339: the earliest of all signals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// When work began, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the node was closed to new pods, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordoned_at: Option<Time>,
    /// When the last pod to be moved had gone, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained_at: Option<Time>,
    /// When our work was done and the instance free to go, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_at: Option<Time>,
    /// When the incident was over, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// Cordoned, Drained, DeadlineAtRisk, VolumesDetached, LifecycleCompleted, OutOfService, HookTimeoutUnknown, HeartbeatShortened, CordonLifted, APIAvailable, WouldDrain; Ready, Reconciling and Stalled for kstatus.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The settings that this incident runs by, copied when work started: a policy that is edited or deleted changes nothing for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<EffectivePolicy>,
    /// When each signal was first seen by the operator.
    #[serde(default)]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub signals: Vec<SignalStatus>,
    /// The node's pods, counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodsStatus>,
    /// The pods that can not leave yet, and why: at most ten, the soonest forced first.
    #[serde(default)]
    #[schemars(length(max = 10))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub blocked: Vec<BlockedPod>,
    /// The pods that are left on the node and not waited for, though they are no part of it: at most ten, by name.
    #[serde(default)]
    #[schemars(length(max = 10))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub left: Vec<LeftPod>,
    /// The pods without a controller, as namespace/name: when they have left, nothing brings them back. At most ten.
    #[serde(default)]
    #[schemars(length(max = 10), inner(length(max = 512)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub unmanaged: Vec<String>,
    /// The volumes that were attached to the node when its drain began; absent: none was, or they are not waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<VolumesStatus>,
    /// Each lifecycle action that waits for us, or waited.
    #[serde(default)]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["signalID".into(), "hookName".into()]))]
    pub lifecycle_actions: Vec<LifecycleActionStatus>,
    /// Who is told of which stage, and what became of it: a row for each stage that the incident has come to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 72))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into(), "stage".into()]))]
    pub notifications: Vec<NotificationStatus>,
}

impl NodeTerminationStatus {
    /// Work has begun: the settings that were copied hold, whatever becomes of the policy.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.started_at.is_some()
    }
}

/// The machine behind a node's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeIdentity {
    /// The Node's UID.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// The EC2 instance, if the Node's provider ID names one.
    #[serde(
        rename = "instanceID",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(max = 19))]
    pub instance_id: Option<String>,
    /// The boot ID that the kubelet reported.
    #[serde(rename = "bootID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub boot_id: Option<String>,
}

/// What an incident waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// Held, MaintenanceWindow, LimitReached, NodeNotFound or Uncordoned.
    pub reason: WaitReason,
    /// Until when at the latest, RFC 3339; absent: until somebody changes something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// Why an incident waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum WaitReason {
    /// Somebody set spec.hold.
    Held,
    /// The maintenance window opens later than maintenance.leadSeconds from now.
    MaintenanceWindow,
    /// As many of the policy's nodes as limits.maxConcurrent allows are being drained.
    LimitReached,
    /// No Node has that name.
    NodeNotFound,
    /// Somebody opened the node twice, and nothing presses: it is left open until somebody closes it, or cancels.
    Uncordoned,
}

impl WaitReason {
    /// The reason as it stands in conditions, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "Held",
            Self::MaintenanceWindow => "MaintenanceWindow",
            Self::LimitReached => "LimitReached",
            Self::NodeNotFound => "NodeNotFound",
            Self::Uncordoned => "Uncordoned",
        }
    }
}

/// How far an incident is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Recorded; nothing done yet.
    Pending,
    /// Held back, for a reason that Ready names.
    Waiting,
    /// The node is closed and its pods are leaving.
    Draining,
    /// The drain is over and lifecycle actions are being completed.
    Releasing,
    /// Our work is done; the object stays open until the Node is gone, so that what follows merges into it.
    Released,
    /// Over.
    Completed,
    /// Stopped and undone.
    Canceled,
    /// Over, and not as it should be: outcome says how.
    Failed,
}

impl Phase {
    /// No signal is added and nothing is done any more.
    #[must_use]
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Canceled | Self::Failed)
    }

    /// The phase as it stands in objects, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Waiting => "Waiting",
            Self::Draining => "Draining",
            Self::Releasing => "Releasing",
            Self::Released => "Released",
            Self::Completed => "Completed",
            Self::Canceled => "Canceled",
            Self::Failed => "Failed",
        }
    }
}

/// What came of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Outcome {
    /// Every pod that was to leave had left.
    Drained,
    /// The node was closed; the policy asked for no more.
    Cordoned,
    /// Nothing was changed; the policy asked for no more.
    Observed,
    /// The end of the drain was reached with pods left on the node.
    DrainIncomplete,
    /// The Node went before the drain had ended.
    NodeGone,
    /// No policy speaks for the node any more; nothing was done.
    NoPolicy,
    /// Somebody canceled or deleted it; what was done was undone.
    Canceled,
    /// AWS canceled or ended the maintenance; what was done was undone.
    Withdrawn,
    /// Nothing followed the recommendation within cordon.expireSeconds; what was done was undone.
    Expired,
    /// No Node had the name for five minutes; nothing was done.
    NodeNotFound,
    /// The Node's provider ID is not the instance that the object names; nothing was done.
    IdentityMismatch,
}

impl Outcome {
    /// The outcome as it stands in objects, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drained => "Drained",
            Self::Cordoned => "Cordoned",
            Self::Observed => "Observed",
            Self::DrainIncomplete => "DrainIncomplete",
            Self::NodeGone => "NodeGone",
            Self::NoPolicy => "NoPolicy",
            Self::Canceled => "Canceled",
            Self::Withdrawn => "Withdrawn",
            Self::Expired => "Expired",
            Self::NodeNotFound => "NodeNotFound",
            Self::IdentityMismatch => "IdentityMismatch",
        }
    }
}

/// When a signal was first seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignalStatus {
    /// The signal's ID.
    #[schemars(length(max = 64))]
    pub id: String,
    /// When the operator first saw it on the object, RFC 3339.
    pub received_time: Time,
}

/// One lifecycle action that waits for us, or waited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LifecycleActionStatus {
    /// The signal that brought it.
    #[serde(rename = "signalID")]
    #[schemars(length(max = 64))]
    pub signal_id: String,
    /// The lifecycle hook. A signal from instance metadata names none: every hook that was found waiting has a row.
    #[serde(default)]
    #[schemars(length(max = 255))]
    pub hook_name: String,
    /// The Auto Scaling group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub auto_scaling_group_name: Option<String>,
    /// How it stands.
    pub state: LifecycleActionState,
    /// How many heartbeats were accepted.
    #[serde(default)]
    pub heartbeats: u32,
    /// When the next heartbeat is due, RFC 3339; absent: none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_heartbeat_time: Option<Time>,
    /// CONTINUE or ABANDON once we completed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub result: Option<String>,
    /// What the last failed call said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// When it was over, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
}

/// How a lifecycle action stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LifecycleActionState {
    /// The instance waits for us.
    Pending,
    /// We completed it.
    Completed,
    /// It was over before we completed it: timed out, completed by somebody else, or completed by us before a crash.
    AlreadyDone,
    /// We leave it alone: the incident is only observed, was canceled, or its drain failed under Wait.
    Left,
}

impl LifecycleActionStatus {
    /// It is over: no heartbeat is due any more.
    pub fn close(&mut self, state: LifecycleActionState, at: Time) {
        self.state = state;
        self.next_heartbeat_time = None;
        self.completed_at = Some(at);
    }
}

impl LifecycleActionState {
    /// Nothing is owed to Auto Scaling any more.
    #[must_use]
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Pending)
    }
}
