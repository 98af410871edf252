//! What the record says of a node's pods: counts, and who can not leave yet.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::Time;

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
    /// Pods that are left alone: static, of a DaemonSet, finished, selected by skipPodSelector, or back in spite of the cordon.
    pub skipped: u32,
    /// Pods that came in spite of the cordon and were to leave too.
    #[serde(default)]
    pub late: u32,
}

/// One pod that is left on the node and not waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeftPod {
    /// The pod, as namespace/name.
    #[schemars(length(max = 512))]
    pub pod: String,
    /// The pod's UID.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// Why, in one word.
    pub reason: LeftReason,
    /// Why, in a sentence.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// Why a pod is left on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LeftReason {
    /// Its containers have stopped; finalizers alone keep the object.
    Finalizers,
    /// It came in spite of the cordon, and evicting it would bring the next one.
    Returned,
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
    /// The disruption controller can not compute its budget, or has not kept up with it.
    BudgetSyncFailed,
    /// More than one disruption budget selects it: the API server refuses every eviction of it.
    MultipleBudgets,
    /// An admission webhook, or a ValidatingAdmissionPolicy, refuses.
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
    /// It still runs a minute after its grace period, and its node is not Ready.
    KubeletUnresponsive,
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
            Self::KubeletUnresponsive => "KubeletUnresponsive",
        }
    }
}
