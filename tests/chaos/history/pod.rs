//! One pod, from its first sight on a node to its end.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// A pod's life.
#[derive(Clone, Debug, Default)]
pub struct PodLife {
    pub uid: String,
    /// `namespace/name`.
    pub name: String,
    /// The node it is bound to, and since when that was seen.
    pub node: Option<(Timestamp, String)>,
    /// The kind of its controller.
    pub owner: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// `terminationGracePeriodSeconds`.
    pub grace: i64,
    /// The grace period of its deletion, from each time on.
    pub terminating: Vec<(Timestamp, i64)>,
    /// Its containers had stopped.
    pub stopped: Option<Timestamp>,
    pub gone: Option<Gone>,
}

/// When an object went: the observer may have been blind at that time.
#[derive(Clone, Copy, Debug)]
pub struct Gone {
    /// It was there at that time.
    pub after: Timestamp,
    /// It was not there any more.
    pub by: Timestamp,
}

impl PodLife {
    pub fn namespace(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }

    /// Whether a drain leaves it alone.
    pub fn stays(&self) -> bool {
        matches!(self.owner.as_deref(), Some("DaemonSet" | "Node"))
    }

    /// Whether it certainly ran at that time on a node.
    pub fn runs_at(&self, time: Timestamp) -> bool {
        let there = self.node.as_ref().is_some_and(|(since, _)| *since <= time);
        there && self.gone.is_none_or(|g| g.after > time) && self.stopped.is_none_or(|s| s > time)
    }

    /// Whether it had been told to end by then, or was gone.
    pub fn told_by(&self, time: Timestamp) -> bool {
        self.terminating.first().is_some_and(|(at, _)| *at <= time)
            || self.gone.is_some_and(|g| g.after <= time)
            || self.stopped.is_some_and(|s| s <= time)
    }

    /// The grace period of its deletion at that time.
    pub fn terminates_at(&self, time: Timestamp) -> Option<i64> {
        let known = self.terminating.iter().rev().find(|(at, _)| *at <= time);
        known.map(|(_, grace)| *grace)
    }

    pub fn is_on(&self, node: &str) -> bool {
        self.node.as_ref().is_some_and(|(_, name)| name == node)
    }
}
