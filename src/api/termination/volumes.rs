//! What the record says of the volumes that are attached to a node.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::Time;

/// The most volumes that a record names, as its schema says.
pub const VOLUMES_NAMED_MAX: usize = 10;

/// The volumes that are waited for after the drain, or were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumesStatus {
    /// Volumes that are to be detached; 0 once the wait is over.
    #[serde(default)]
    pub waiting: u32,
    /// Volumes that were still attached when the wait was over.
    #[serde(default)]
    pub left: u32,
    /// The most attachments that pods which stay on the node may hold; so many are not waited for.
    #[serde(default)]
    pub kept: u32,
    /// The volumes that are waited for, or were left, by PersistentVolume: at most ten.
    #[serde(default)]
    #[schemars(length(max = 10), inner(length(max = 253)))]
    pub names: Vec<String>,
    /// When the wait was over, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
}

impl VolumesStatus {
    /// Leaves out what is mere progress: how many are still waited for, and which.
    pub fn uncount(&mut self) {
        self.waiting = 0;
        self.names.clear();
    }
}
