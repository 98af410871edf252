//! What this process remembers of an incident between passes. Losing it costs requests, never work.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::ResourceExt;
use tokio::time::Instant;

use crate::api::termination::{NodeTermination, NodeTerminationStatus};
use crate::lifecycle::HookTimeout;

/// What is remembered of one incident.
#[derive(Clone, Default)]
pub(super) struct Memory {
    /// The record as the last pass left it. It may be ahead of what is stored, and of what the watch has brought.
    pub status: Option<NodeTerminationStatus>,
    /// The record as it was last written.
    pub written: Option<serde_json::Value>,
    /// When that was.
    pub written_at: Option<Instant>,
    /// How long the next report of mere progress waits.
    pub progress_wait: Option<Duration>,
    /// UIDs of the pods that were to leave, as far as this process has seen.
    pub seen: BTreeSet<String>,
    /// Pods that had gone before.
    pub gone_before: Option<u32>,
    /// Time-outs of the lifecycle hooks, by signal ID, and when they were asked for.
    pub hooks: BTreeMap<String, (Instant, HookTimeout)>,
    /// The node's resource version that our last patch of it went by. While the store still shows that one, the same
    /// patch would only be refused.
    pub patched_from: Option<String>,
    /// Passes that failed in a row.
    pub failures: u32,
}

/// The memories of all incidents, by UID.
#[derive(Default)]
pub(super) struct Memories(Mutex<HashMap<String, Memory>>);

impl Memories {
    /// Looks at or changes what is remembered of the incident.
    pub(super) fn with<T>(
        &self,
        object: &NodeTermination,
        change: impl FnOnce(&mut Memory) -> T,
    ) -> T {
        let mut memories = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(
            memories
                .entry(object.uid().unwrap_or_default())
                .or_default(),
        )
    }

    /// Forgets the incident.
    pub(super) fn forget(&self, object: &NodeTermination) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&object.uid().unwrap_or_default());
    }
}
