//! The settings that an incident runs by, as they are copied from its policy.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::EffectiveNotification;
use crate::api::policy::{Actions, Cordon, Drain, Lifecycle, Limits, Maintenance, Mode, defaults};

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
    /// Who is told of which stages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub notifications: Vec<EffectiveNotification>,
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
            notifications: Vec::new(),
            ttl_seconds_after_finished: defaults::ttl_seconds_after_finished(),
            history_limit: defaults::history_limit(),
        }
    }
}
