//! What this process remembers of an incident between passes. Losing it costs requests, never work.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use tokio::time::Instant;

use crate::api::termination::{NodeTermination, NodeTerminationStatus};
use crate::drain::arrivals::Arrivals;
use crate::lifecycle::{ActionKey, HookTimeout, Lookup, Told};

/// A machine that was stopped may have been started since: what EC2 said is believed for so long, which is twice as long
/// as the pause between two questions.
const TOLD_FOR: Duration = Duration::from_mins(1);

/// What is remembered of one incident.
#[derive(Clone, Default)]
pub(super) struct Memory {
    /// The name of its node.
    pub node: String,
    /// The UID of its node.
    pub node_uid: String,
    /// When a call about a lifecycle action last failed, and how often in a row before.
    pub calls_failed: BTreeMap<ActionKey, (Instant, u32)>,
    /// The record as the last pass left it. It may be ahead of what is stored, and of what the watch has brought.
    pub status: Option<NodeTerminationStatus>,
    /// The record as it is stored, as far as we know: found so, or last written so.
    pub written: Option<Arc<NodeTerminationStatus>>,
    /// When we wrote it.
    pub written_at: Option<Instant>,
    /// How long the next report of mere progress waits.
    pub progress_wait: Option<Duration>,
    /// UIDs of the pods that were to leave, as far as this process has seen.
    pub seen: BTreeSet<String>,
    /// Who came to the node in spite of its cordon.
    pub came: Arrivals,
    /// The object's resource version that our finalizer was added to: while the store still shows that one, it is done.
    pub finalized_from: Option<String>,
    /// When a pass first ran.
    pub since: Option<Instant>,
    /// Pods that had gone before.
    pub gone_before: Option<u32>,
    /// Time-outs of the lifecycle hooks, and when they were asked for.
    pub hooks: BTreeMap<ActionKey, (Instant, HookTimeout)>,
    /// What was found of the hooks that instance metadata told of, by signal ID, and how often it was asked before.
    pub lookups: BTreeMap<String, (u32, Lookup)>,
    /// The node's resource version that our last patch of it went by. While the store still shows that one, the same
    /// patch would only be refused.
    pub patched_from: Option<String>,
    /// The node's resource version that our patch was too late for: with it the next one would be, too.
    pub refused_from: Option<String>,
    /// How often that happened.
    pub conflicts: u32,
    /// What EC2 last said of the instance when it was asked, and when.
    pub told: Option<(Instant, Told)>,
    /// Passes that failed in a row.
    pub failures: u32,
    /// When the last of them would have looked again by time alone.
    pub wake: Option<Timestamp>,
}

impl Memory {
    /// What EC2 has said of the instance lately.
    pub(super) fn told(&self) -> Option<&Told> {
        let (at, told) = self.told.as_ref()?;
        (at.elapsed() < TOLD_FOR).then_some(told)
    }
}

/// The memories of all incidents, by name and by node.
#[derive(Default)]
pub(super) struct Memories(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// With the UID: another object of the same name is another incident.
    incidents: HashMap<String, (Option<String>, Memory)>,
    nodes: HashMap<String, BTreeSet<String>>,
}

impl Memories {
    /// Looks at or changes what is remembered of the incident.
    pub(super) fn with<T>(
        &self,
        object: &NodeTermination,
        change: impl FnOnce(&mut Memory) -> T,
    ) -> T {
        let (name, uid) = (object.name_any(), object.uid());
        let inner = &mut *self.lock();
        let of_node = inner.nodes.entry(object.spec.node_name.clone());
        of_node.or_default().insert(name.clone());
        let (known, memory) = inner.incidents.entry(name).or_default();
        let node_uid = object.node_uid().unwrap_or_default().to_owned();
        memory.node_uid.clone_from(&node_uid);
        if *known != uid {
            *known = uid;
            *memory = Memory {
                node: object.spec.node_name.clone(),
                node_uid,
                ..Memory::default()
            };
        }
        change(memory)
    }

    /// The incidents of the node that a pass has run for.
    pub(super) fn of_node(&self, node: &str) -> Vec<String> {
        let inner = self.lock();
        inner
            .nodes
            .get(node)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// Forgets the incident: it is over, or its object is gone. Returns the UID of its node, if it was known.
    pub(super) fn forget(&self, name: &str) -> Option<String> {
        let inner = &mut *self.lock();
        inner.nodes.retain(|_, names| {
            names.remove(name);
            !names.is_empty()
        });
        inner
            .incidents
            .remove(name)
            .map(|(_, memory)| memory.node_uid)
    }

    /// The names of all that is remembered.
    pub(super) fn names(&self) -> Vec<String> {
        self.lock().incidents.keys().cloned().collect()
    }

    /// The record of the incident as its last pass left it.
    pub(super) fn status(&self, name: &str) -> Option<NodeTerminationStatus> {
        let inner = self.lock();
        let (_, memory) = inner.incidents.get(name)?;
        memory.status.clone()
    }

    /// The other incidents of the same node.
    pub(super) fn beside(&self, name: &str) -> Vec<String> {
        let inner = self.lock();
        let node = inner.incidents.get(name).map(|(_, memory)| &memory.node);
        let same_node = node.and_then(|node| inner.nodes.get(node));
        let beside = same_node.into_iter().flatten().filter(|n| *n != name);
        beside.cloned().collect()
    }

    /// The incidents that go by the policy as it stands: no work has begun for them.
    pub(super) fn not_begun(&self) -> Vec<String> {
        let inner = self.lock();
        let waits = |m: &Memory| m.status.as_ref().is_some_and(|s| !s.has_begun());
        let waiting = inner
            .incidents
            .iter()
            .filter(|(_, (_, memory))| waits(memory));
        waiting.map(|(name, _)| name.clone()).collect()
    }

    /// EC2 has told of the incident's instance. One that was forgotten stays forgotten.
    pub(super) fn tell(&self, name: &str, told: Told) {
        if let Some((_, memory)) = self.lock().incidents.get_mut(name) {
            memory.told = Some((Instant::now(), told));
        }
    }

    /// A pass went well. An incident that was forgotten in it stays forgotten.
    pub(super) fn succeeded(&self, name: &str) {
        if let Some((_, memory)) = self.lock().incidents.get_mut(name) {
            memory.failures = 0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_ec2_said_is_believed_for_a_minute() {
        let stopped = Told::State(Some("stopped".to_owned()));
        let memory = Memory {
            told: Some((Instant::now(), stopped.clone())),
            ..Memory::default()
        };
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(memory.told(), Some(&stopped));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(memory.told(), None);
    }
}
