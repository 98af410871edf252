//! Whom a policy tells of what happens on its nodes: where, when, and in what words.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::defaults;

/// The most notifications that one policy has.
pub const NOTIFICATIONS_MAX: usize = 8;

/// Somebody who is told: one HTTP POST for each stage that an incident comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.url) != has(self.urlFrom)").message("notifications: exactly one of url, urlFrom must be set"))]
pub struct Notification {
    /// The notification's name within the policy; it names it in status, conditions and logs.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Where to post to: an https URL. Everybody who may read policies reads it; a URL that is itself a secret, as Slack's and Teams' are, belongs into urlFrom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 9, max = 2048),
        regex(pattern = "^https?://[^ /?#]+[^ ]*$")
    )]
    pub url: Option<String>,
    /// Where to post to, from a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_from: Option<ValueSource>,
    /// Headers of the request. Content-Type is application/json unless one of these says otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub headers: Vec<NotificationHeader>,
    /// What is told, each once for an incident.
    #[serde(default = "defaults::stages")]
    #[schemars(length(min = 1, max = 9))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub stages: Vec<Stage>,
    /// The body, as a Jinja template. A body of nothing but space is not sent. Absent: the JSON document of docs/notifications.md.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8192))]
    pub template: Option<String>,
    /// Values for the template, as variables.NAME: what a receiver wants in the body and nobody is to read in the policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub variables: Vec<NotificationVariable>,
    /// How long one attempt may take, in seconds.
    #[serde(default = "defaults::notification_timeout_seconds")]
    #[schemars(range(min = 1, max = 30))]
    pub timeout_seconds: u32,
}

/// A value that stands elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValueSource {
    /// A key of a Secret in the operator's own namespace that has the label nodetermination.dev/notification=true.
    pub secret_key_ref: SecretKeyRef,
}

/// A key of a Secret.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key of its data.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A header of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.value) != has(self.valueFrom)").message("headers: exactly one of value, valueFrom must be set"))]
pub struct NotificationHeader {
    /// The header's name.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9-]+$') && !(self.lowerAscii() in ['host', 'connection', 'content-length', 'transfer-encoding', 'idempotency-key'])").message("headers: a name is of letters, digits and hyphens, and not one that the request itself needs: Host, Connection, Content-Length, Transfer-Encoding, Idempotency-Key"))]
    pub name: String,
    /// Its value. Everybody who may read policies reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = "^[ -~]*$"))]
    pub value: Option<String>,
    /// Its value, from a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<ValueSource>,
}

/// A value for the template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.value) != has(self.valueFrom)").message("variables: exactly one of value, valueFrom must be set"))]
pub struct NotificationVariable {
    /// The variable's name.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-zA-Z_][a-zA-Z0-9_]*$"))]
    pub name: String,
    /// Its value. Everybody who may read policies reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub value: Option<String>,
    /// Its value, from a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<ValueSource>,
}

/// How far an incident has come, as it is told of, in the order in which an incident comes there.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Stage {
    /// It is recorded, and the policy is its own.
    Received,
    /// It waits for a window, a turn or a person.
    Waiting,
    /// The node is closed and its pods are leaving.
    Draining,
    /// A pod can not leave.
    Blocked,
    /// Every pod that was to leave has left.
    Drained,
    /// The operator's work is done, and the instance free to go.
    Released,
    /// It is over.
    Completed,
    /// It was stopped and undone.
    Canceled,
    /// It is over, and not as it should be.
    Failed,
}

impl Stage {
    /// All of them, in their order.
    pub const ALL: [Self; 9] = [
        Self::Received,
        Self::Waiting,
        Self::Draining,
        Self::Blocked,
        Self::Drained,
        Self::Released,
        Self::Completed,
        Self::Canceled,
        Self::Failed,
    ];

    /// The stage as it stands in objects, bodies, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "Received",
            Self::Waiting => "Waiting",
            Self::Draining => "Draining",
            Self::Blocked => "Blocked",
            Self::Drained => "Drained",
            Self::Released => "Released",
            Self::Completed => "Completed",
            Self::Canceled => "Canceled",
            Self::Failed => "Failed",
        }
    }
}

impl Notification {
    /// The body is to be JSON: no header says otherwise.
    #[must_use]
    pub fn is_json(&self) -> bool {
        let mut types = self
            .headers
            .iter()
            .filter(|h| h.name.eq_ignore_ascii_case("content-type"));
        types.all(|h| {
            let value = h.value.as_deref().unwrap_or_default();
            value.to_ascii_lowercase().starts_with("application/json")
        })
    }

    /// Every Secret that it needs, once.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let headers = self.headers.iter().filter_map(|h| h.value_from.as_ref());
        let variables = self.variables.iter().filter_map(|v| v.value_from.as_ref());
        let mut names: Vec<&str> = self
            .url_from
            .iter()
            .chain(headers)
            .chain(variables)
            .map(|s| s.secret_key_ref.name.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter()
    }
}
