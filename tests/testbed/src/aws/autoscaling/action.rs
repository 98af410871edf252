//! Lifecycle hooks and the actions that they start.

use std::time::Duration;

use jiff::Timestamp;

/// The longest an action can be kept waiting, by heartbeats too: 48 h or 100 heartbeat timeouts, whichever is smaller
/// (User Guide, "Considerations and limitations for lifecycle hooks").
const GLOBAL_TIMEOUT: Duration = Duration::from_hours(48);
const GLOBAL_TIMEOUT_HEARTBEATS: u32 = 100;

/// What a lifecycle action comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifecycleResult {
    /// `CONTINUE`: the group's other hooks go on waiting.
    Continue,
    /// `ABANDON`: a termination stops waiting for any hook.
    Abandon,
}

impl LifecycleResult {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Continue => "CONTINUE",
            Self::Abandon => "ABANDON",
        }
    }
}

/// One hook's hold on one instance that terminates or launches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifecycleAction {
    /// The Auto Scaling group's name.
    pub group: String,
    /// The lifecycle hook's name.
    pub hook: String,
    /// The EC2 instance's id.
    pub instance_id: String,
    /// The action's token, a UUID.
    pub token: String,
}

/// How an action stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionState {
    /// The instance is held in `Terminating:Wait` or `Pending:Wait`.
    Waiting {
        /// When the default result applies, unless a heartbeat comes first.
        deadline: Timestamp,
        /// How many heartbeats came.
        heartbeats: u32,
    },
    /// The instance is no longer held by this hook.
    Ended {
        /// With what result.
        result: LifecycleResult,
        /// Why.
        by: EndedBy,
        /// When.
        at: Timestamp,
    },
}

/// Why an action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// `CompleteLifecycleAction`.
    Completion,
    /// The heartbeat timeout or the global one passed, and the hook's default result applied.
    TimeOut,
    /// Another hook's action was abandoned.
    Abandonment,
}

/// Which way an instance goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::aws) enum Transition {
    Launching,
    Terminating,
}

impl Transition {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Launching => "autoscaling:EC2_INSTANCE_LAUNCHING",
            Self::Terminating => "autoscaling:EC2_INSTANCE_TERMINATING",
        }
    }

    /// The lifecycle state of an instance that a hook holds.
    pub fn waiting(self) -> &'static str {
        match self {
            Self::Launching => "Pending:Wait",
            Self::Terminating => "Terminating:Wait",
        }
    }
}

/// A lifecycle hook.
#[derive(Clone, Copy, Debug)]
pub(in crate::aws) struct Hook {
    pub transition: Transition,
    pub heartbeat_timeout: Duration,
    pub default_result: LifecycleResult,
}

impl Hook {
    pub fn global_timeout(self) -> Duration {
        GLOBAL_TIMEOUT.min(self.heartbeat_timeout * GLOBAL_TIMEOUT_HEARTBEATS)
    }
}
