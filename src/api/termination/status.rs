//! What was done about an incident, and why not: the audit record.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::condition::Condition;
use crate::api::policy::{Actions, Cordon, Drain, Lifecycle, Limits, Maintenance, Mode, defaults};
use crate::api::{Time, termination::SignalKind};

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
    /// Cordoned, Drained, LifecycleCompleted, HookTimeoutUnknown, HeartbeatShortened, CordonLifted, WouldDrain; Ready, Reconciling and Stalled for kstatus.
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
    /// Each lifecycle action that waits for us, or waited.
    #[serde(default)]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["signalID".into(), "hookName".into()]))]
    pub lifecycle_actions: Vec<LifecycleActionStatus>,
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

/// The settings that an incident runs by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectivePolicy {
    /// The policy's name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The policy's generation when it was copied.
    pub generation: i64,
    /// As in the policy.
    pub mode: Mode,
    /// As in the policy.
    pub actions: Actions,
    /// As in the policy.
    pub cordon: Cordon,
    /// As in the policy.
    pub drain: Drain,
    /// As in the policy.
    pub lifecycle: Lifecycle,
    /// As in the policy.
    #[serde(default)]
    pub maintenance: Maintenance,
    /// As in the policy.
    #[serde(default)]
    pub limits: Limits,
    /// How the policy's first queue is reached: by it lifecycle actions are found that instance metadata told of. Absent: the policy has no queue, and such actions are not ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsAccess>,
    /// As in the policy.
    pub ttl_seconds_after_finished: u32,
    /// As in the policy.
    pub history_limit: u32,
}

/// Where AWS is called, and as whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsAccess {
    /// The region.
    #[schemars(length(max = 32))]
    pub region: String,
    /// The role to assume; absent: the operator's own.
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

/// The node's pods, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodsStatus {
    /// Gone of all that were to leave, as in "12/19".
    #[schemars(length(max = 32))]
    pub summary: String,
    /// Pods that were to leave, gone ones included.
    pub total: u32,
    /// Pods that terminate now.
    pub evicted: u32,
    /// Pods that were deleted instead of evicted: past a refusal at their last moment, because the policy ignores budgets, or in a namespace that is being deleted.
    pub forced: u32,
    /// Pods that have gone.
    pub gone: u32,
    /// Pods that can not leave yet.
    pub blocked: u32,
    /// Pods that still run a minute after their grace period.
    pub stuck: u32,
    /// Pods that are left alone: static, of a DaemonSet, finished, selected by skipPodSelector, or back in spite of the taint.
    pub skipped: u32,
}

/// One pod that can not leave yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockedPod {
    /// The pod, as namespace/name.
    #[schemars(length(max = 512))]
    pub pod: String,
    /// The pod's UID.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// Why, in one word.
    pub reason: BlockReason,
    /// Who refuses: the budget or the webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub by: Option<String>,
    /// Since when, RFC 3339.
    pub since: Time,
    /// When it is deleted in spite of the refusal, RFC 3339; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_time: Option<Time>,
    /// What the API server said, or what we know of the budget.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// Why a pod can not leave yet.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum BlockReason {
    /// Its disruption budget has no room at the moment.
    Budget,
    /// Its disruption budget can never have room as it stands.
    BudgetUnsatisfiable,
    /// The disruption controller can not compute its budget.
    BudgetSyncFailed,
    /// More than one disruption budget selects it: the API server refuses every eviction of it.
    MultipleBudgets,
    /// An admission webhook refuses.
    Webhook,
    /// The operator may not evict it.
    Forbidden,
    /// The API server fails to serve its eviction.
    ServerError,
    /// The policy keeps pods with an emptyDir volume until the last moment.
    EmptyDir,
    /// The policy keeps pods without a controller until the last moment.
    Unmanaged,
    /// It still runs a minute after its grace period.
    Stuck,
}

impl BlockReason {
    /// A disruption budget stands before the pod.
    #[must_use]
    pub fn is_of_budget(self) -> bool {
        matches!(
            self,
            Self::Budget
                | Self::BudgetUnsatisfiable
                | Self::BudgetSyncFailed
                | Self::MultipleBudgets
        )
    }

    /// The reason as it stands in objects, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Budget => "Budget",
            Self::BudgetUnsatisfiable => "BudgetUnsatisfiable",
            Self::BudgetSyncFailed => "BudgetSyncFailed",
            Self::MultipleBudgets => "MultipleBudgets",
            Self::Webhook => "Webhook",
            Self::Forbidden => "Forbidden",
            Self::ServerError => "ServerError",
            Self::EmptyDir => "EmptyDir",
            Self::Unmanaged => "Unmanaged",
            Self::Stuck => "Stuck",
        }
    }
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

impl LifecycleActionState {
    /// Nothing is owed to Auto Scaling any more.
    #[must_use]
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Pending)
    }
}

/// The settings of a policy that says nothing.
impl Default for EffectivePolicy {
    fn default() -> Self {
        Self {
            name: String::new(),
            generation: 0,
            mode: Mode::default(),
            actions: Actions::default(),
            cordon: Cordon::default(),
            drain: Drain::default(),
            lifecycle: Lifecycle::default(),
            maintenance: Maintenance::default(),
            limits: Limits::default(),
            aws: None,
            ttl_seconds_after_finished: defaults::ttl_seconds_after_finished(),
            history_limit: defaults::history_limit(),
        }
    }
}
