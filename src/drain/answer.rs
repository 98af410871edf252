//! What the API server's answer to an eviction means. It is classified once, where the call is made.

use std::time::Duration;

use crate::api::termination::BlockReason;

/// The answer to an eviction or a deletion of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The pod was told to end.
    Accepted,
    /// No pod of that name: it has gone.
    NotFound,
    /// The UID or the resource version is not that pod's any more. The view tells which.
    Conflict,
    /// The disruption budget has no room, or its status can not be trusted yet.
    BudgetRefused {
        /// What the server said.
        message: String,
        /// When it suggests to try again.
        retry_after: Option<Duration>,
    },
    /// The server gave up on collisions in the budget's status: fewer at a time.
    BudgetContended,
    /// The budget's status allows less than nothing, or counts too many evictions that nobody has confirmed: the
    /// disruption controller has to catch up.
    BudgetUncomputed {
        /// What the server said.
        message: String,
    },
    /// More than one budget selects the pod.
    MultipleBudgets,
    /// Priority and fairness shed the request, or the server shuts down: everybody slower.
    Overloaded {
        /// When it suggests to try again.
        retry_after: Option<Duration>,
    },
    /// The namespace is being deleted: evictions are refused there and deletions are not.
    NamespaceTerminating,
    /// The operator's own roles do not allow it, by what was answered to this or to an earlier call.
    RoleMissing {
        /// What the server said, or what is missing.
        message: String,
    },
    /// A webhook refuses, or something else that is about this pod: this pod slower.
    Denied {
        /// Webhook or Forbidden.
        reason: BlockReason,
        /// The webhook's name, if it was one.
        by: Option<String>,
        /// What the server said.
        message: String,
    },
    /// The server failed to serve this one.
    ServerError {
        /// What it said.
        message: String,
    },
    /// No answer: the outcome is unknown and the view will tell.
    Unanswered {
        /// What happened to the call.
        message: String,
    },
}

impl Answer {
    /// The answer as a metric label.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::NotFound => "NotFound",
            Self::Conflict => "Conflict",
            Self::BudgetRefused { .. } => "BudgetRefused",
            Self::BudgetContended => "BudgetContended",
            Self::BudgetUncomputed { .. } => "BudgetUncomputed",
            Self::MultipleBudgets => "MultipleBudgets",
            Self::Overloaded { .. } => "Overloaded",
            Self::NamespaceTerminating => "NamespaceTerminating",
            Self::Denied {
                reason: BlockReason::Webhook,
                ..
            } => "WebhookDenied",
            Self::RoleMissing { .. } | Self::Denied { .. } => "Forbidden",
            Self::ServerError { .. } => "ServerError",
            Self::Unanswered { .. } => "Unanswered",
        }
    }
}
