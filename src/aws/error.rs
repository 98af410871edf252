//! What can go wrong in AWS, in a closed set of words.

mod classify;

use std::fmt;

pub(super) use classify::{chain, classify, describe, reason_of_status, refused};

/// The longest message kept, in characters: a condition or an Event has room for 1,024 bytes.
const MESSAGE_CHARS: usize = 400;

/// A call that failed. The message holds no receipt handle and nothing of a credential.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{operation}: {reason}: {message}")]
pub struct Error {
    /// What was asked.
    pub operation: Operation,
    /// Why it failed.
    pub reason: Reason,
    /// The first line of what AWS or the network said.
    pub message: String,
}

impl Error {
    pub(super) fn new(operation: Operation, reason: Reason, message: &str) -> Self {
        let first_line = message.lines().next().unwrap_or_default();
        Self {
            operation,
            reason,
            message: first_line.chars().take(MESSAGE_CHARS).collect(),
        }
    }

    /// The word for metric label, condition reason and Event reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.reason.as_str()
    }
}

/// The calls we make, named as AWS names them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    /// SQS: take messages from a queue.
    ReceiveMessage,
    /// SQS: acknowledge messages.
    DeleteMessageBatch,
    /// SQS: change when messages are seen again.
    ChangeMessageVisibilityBatch,
    /// Auto Scaling: postpone the end of a lifecycle action.
    RecordLifecycleActionHeartbeat,
    /// Auto Scaling: end a lifecycle action.
    CompleteLifecycleAction,
    /// Auto Scaling: read the hooks of a group.
    DescribeLifecycleHooks,
    /// EC2: find instances, by their tags or their capacity reservation.
    DescribeInstances,
    /// Auto Scaling: read the group and the state of an instance.
    DescribeAutoScalingInstances,
    /// The instance metadata service: read a document, which is no API action and has no name of AWS's.
    ReadInstanceMetadata,
}

impl Operation {
    /// The name of the API action.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReceiveMessage => "ReceiveMessage",
            Self::DeleteMessageBatch => "DeleteMessageBatch",
            Self::ChangeMessageVisibilityBatch => "ChangeMessageVisibilityBatch",
            Self::RecordLifecycleActionHeartbeat => "RecordLifecycleActionHeartbeat",
            Self::CompleteLifecycleAction => "CompleteLifecycleAction",
            Self::DescribeLifecycleHooks => "DescribeLifecycleHooks",
            Self::DescribeInstances => "DescribeInstances",
            Self::DescribeAutoScalingInstances => "DescribeAutoScalingInstances",
            Self::ReadInstanceMetadata => "ReadInstanceMetadata",
        }
    }

    /// Whether the request names receipt handles, which the service repeats when it does not like them.
    fn names_receipts(self) -> bool {
        matches!(
            self,
            Self::DeleteMessageBatch | Self::ChangeMessageVisibilityBatch
        )
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a call failed: metric label, condition reason and Event reason alike.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// Too many calls; back off.
    Throttled,
    /// The credentials are good and the permission is missing.
    AccessDenied,
    /// No such queue, group or role.
    NotFound,
    /// Auto Scaling has no lifecycle action for this instance or token: it is over, or was never.
    NoActiveAction,
    /// The request is wrong; sending it again changes nothing.
    InvalidRequest,
    /// No credentials were found, they are not valid, or the role was not given to us.
    Credentials,
    /// The service failed (HTTP 5xx).
    Unavailable,
    /// No connection: name resolution, connect, TLS, or a reset.
    Unreachable,
    /// No answer in time. What was asked may have happened.
    TimedOut,
}

impl Reason {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "Throttled",
            Self::AccessDenied => "AccessDenied",
            Self::NotFound => "NotFound",
            Self::NoActiveAction => "NoActiveAction",
            Self::InvalidRequest => "InvalidRequest",
            Self::Credentials => "Credentials",
            Self::Unavailable => "Unavailable",
            Self::Unreachable => "Unreachable",
            Self::TimedOut => "TimedOut",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
