//! What the record says of who was told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::Time;
use crate::api::policy::{NOTIFICATIONS_MAX, Stage};

/// The most rows of [`NotificationStatus`] that one record holds: each stage of each notification.
pub const NOTIFIED_MAX: usize = NOTIFICATIONS_MAX * Stage::ALL.len();

/// The longest message of a row, in bytes.
pub const NOTIFIED_MESSAGE_MAX: usize = 256;

/// Who is told of what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveNotification {
    /// The notification's name in the policy. Where it goes and in what words is read from the policy when it is sent.
    #[schemars(length(max = 63))]
    pub name: String,
    /// As in the policy.
    #[schemars(length(max = 9))]
    pub stages: Vec<Stage>,
}

/// One stage that somebody is told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotificationStatus {
    /// The notification's name in the policy.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The stage.
    pub stage: Stage,
    /// Pending, Sent, Skipped or Failed.
    pub state: NotificationState,
    /// When the incident came to the stage, RFC 3339.
    pub reached_at: Time,
    /// When it was accepted, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Time>,
    /// What the last failed attempt came to. It never holds a URL, a header or what the receiver said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub message: Option<String>,
}

/// How a notification stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NotificationState {
    /// It is still to be sent, or tried again.
    Pending,
    /// It was accepted.
    Sent,
    /// Its template made nothing of it.
    Skipped,
    /// It was refused, or not accepted for a quarter of an hour; it is not tried again.
    Failed,
}
