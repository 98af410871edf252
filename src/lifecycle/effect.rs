//! What a decision asks for, and what came of it.

use jiff::Timestamp;
use serde_json::Value;

use super::key::ActionKey;
use crate::api::termination::AwsAccess;
use crate::drain::{Plan, Preview};

/// How a lifecycle action is completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifecycleResult {
    /// CONTINUE: the group goes on terminating the instance.
    Continue,
    /// ABANDON: the same for a terminating instance, unless the group's lifecycle policy retains it; other hooks of
    /// the instance are skipped.
    Abandon,
}

impl LifecycleResult {
    /// The result as Auto Scaling and the record spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Continue => "CONTINUE",
            Self::Abandon => "ABANDON",
        }
    }
}

/// One thing to do. Each is idempotent, bounded and timed out.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Close the node with this patch.
    Cordon {
        /// The merge patch.
        patch: Value,
    },
    /// Open the node with this patch, or take this incident off its record.
    Open {
        /// The merge patch.
        patch: Value,
    },
    /// Make the object's deletion wait for the undo.
    AddFinalizer,
    /// Watch the node's pods.
    OpenView {
        /// Views are given out by deadline.
        deadline: Timestamp,
    },
    /// Watch its pods, and what is attached to it, no more.
    CloseView,
    /// Watch what is attached to the node.
    WatchVolumes,
    /// Put the out-of-service taint on the node, or take it off, with this patch. What EC2 said before is forgotten.
    OutOfService {
        /// The merge patch.
        patch: Value,
    },
    /// Ask EC2 for the instance's state, with others, in a while.
    AskState {
        /// How AWS is reached.
        access: AwsAccess,
    },
    /// Hand the node's pods to the eviction queue.
    Offer(Plan),
    /// Give leadership to another replica: the operator's own pod is the last to go.
    HandOver,
    /// Take them back.
    Withdraw,
    /// Sum up what a drain by this plan would do. Nothing is told to end.
    Preview(Plan),
    /// Read the time-outs of this action's lifecycle hook.
    ReadHook {
        /// The action.
        action: ActionKey,
    },
    /// Find the lifecycle hooks that this signal tells of and does not name.
    FindHooks {
        /// The signal.
        signal_id: String,
        /// How AWS is reached.
        access: AwsAccess,
    },
    /// Keep this lifecycle action alive.
    Heartbeat {
        /// The action.
        action: ActionKey,
    },
    /// Complete this lifecycle action.
    Complete {
        /// The action.
        action: ActionKey,
        /// With this result.
        result: LifecycleResult,
    },
    /// Let the object's deletion go on.
    RemoveFinalizer,
}

impl Effect {
    /// It calls AWS, which may take its time.
    #[must_use]
    pub fn is_of_aws(&self) -> bool {
        matches!(
            self,
            Self::ReadHook { .. }
                | Self::FindHooks { .. }
                | Self::Heartbeat { .. }
                | Self::Complete { .. }
        )
    }

    /// It may take long: AWS may, and in a burst a cordon waits for its turn.
    #[must_use]
    pub fn may_take_long(&self) -> bool {
        self.is_of_aws() || matches!(self, Self::Cordon { .. })
    }
}

/// What came of an effect, as far as the record must tell.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The heartbeat was accepted.
    Beat {
        /// The action.
        action: ActionKey,
    },
    /// The lifecycle action was completed by us.
    Completed {
        /// The action.
        action: ActionKey,
        /// With this result.
        result: LifecycleResult,
    },
    /// Auto Scaling knows no such action: it is over.
    NoSuchAction {
        /// The action.
        action: ActionKey,
    },
    /// What a drain would do.
    Previewed(Preview),
    /// The call failed; it is tried again.
    CallFailed {
        /// The action.
        action: ActionKey,
        /// What was said.
        message: String,
    },
}

impl Outcome {
    /// There is more to decide at once: a lifecycle action is over, or it is known what a drain would do.
    #[must_use]
    pub fn leads_on(&self) -> bool {
        matches!(
            self,
            Self::Completed { .. } | Self::NoSuchAction { .. } | Self::Previewed(_)
        )
    }
}
