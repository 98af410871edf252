//! Which pods leave the node, which stay, and why.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use kube::core::{Selector, SelectorExt};

use super::arrivals::Arrivals;
use super::pod::Pod;
use crate::api::policy::{Cordon, DaemonSetPods, Drain, Hesitation};
use crate::api::termination::BlockReason;

/// From this priority on a pod is critical to the system (kubelet: system-cluster-critical is 2,000,000,000).
const CRITICAL_PRIORITY: i32 = 2_000_000_000;
/// The API server's times have whole seconds, and its clock may be two seconds off ours (`clock`): what was made so long
/// before the cordon was there before it.
const SURELY_BEFORE: SignedDuration = SignedDuration::from_secs(3);

/// What becomes of one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is left alone: neither evicted nor waited for.
    Stays(StayReason),
    /// It terminates already; it is waited for.
    Leaving,
    /// It terminates and its containers have stopped; only finalizers keep the object. It counts as gone.
    Stopped,
    /// It is to leave, in this tier.
    Leaves(Tier),
    /// It is to leave in this tier, but only at its last moment.
    LeavesLast(Tier, BlockReason),
}

/// Why a pod is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StayReason {
    /// Its kubelet alone ends it.
    Static,
    /// It belongs to a `DaemonSet`.
    DaemonSet,
    /// Its containers have stopped.
    Finished,
    /// The policy's skipPodSelector names it.
    Skipped,
    /// It came after the cordon and tolerates it: evicting it would bring the next one.
    Returned,
}

/// The order in which pods leave: a tier waits for the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Everything else.
    Normal,
    /// Pods of `DaemonSets`, under `EvictLast`.
    Daemon,
    /// Pods that are critical to the system.
    Critical,
    /// The operator's own pod: it hands over to the other replica.
    Own,
}

/// What selection goes by.
#[derive(Clone, Debug)]
pub struct Selection<'a> {
    /// The drain settings.
    pub drain: &'a Drain,
    /// The cordon settings: whether a pod tolerates the taint.
    pub cordon: &'a Cordon,
    /// The drain settings' skipPodSelector, parsed.
    pub skip: Option<Selector>,
    /// When the node was closed.
    pub cordoned_at: Option<Timestamp>,
    /// UIDs of the pods that were to leave before; empty at the first look.
    pub seen: &'a BTreeSet<String>,
    /// Who came in spite of the cordon so far.
    pub came: &'a Arrivals,
    /// The operator's own pod, as namespace/name.
    pub own_pod: Option<&'a str>,
}

impl Selection<'_> {
    /// What becomes of the pod.
    #[must_use]
    pub fn fate(&self, pod: &Pod) -> Fate {
        if pod.is_static() {
            return Fate::Stays(StayReason::Static);
        }
        if pod.is_daemon() && self.drain.daemon_set_pods == DaemonSetPods::Leave {
            return Fate::Stays(StayReason::DaemonSet);
        }
        if self.skip.as_ref().is_some_and(|s| s.matches(&pod.labels)) {
            return Fate::Stays(StayReason::Skipped);
        }
        match (pod.deletion.is_some(), pod.phase.is_terminal()) {
            (true, true) => return Fate::Stopped,
            (true, false) => return Fate::Leaving,
            (false, true) => return Fate::Stays(StayReason::Finished),
            (false, false) => {}
        }
        if self.came_back(pod) {
            return Fate::Stays(StayReason::Returned);
        }
        let tier = self.tier(pod);
        self.hesitation(pod)
            .map_or(Fate::Leaves(tier), |reason| Fate::LeavesLast(tier, reason))
    }

    pub(super) fn tier(&self, pod: &Pod) -> Tier {
        if self.own_pod.is_some_and(|own| own == pod.full_name()) {
            Tier::Own
        } else if pod.is_daemon() {
            Tier::Daemon
        } else if pod.priority >= CRITICAL_PRIORITY {
            Tier::Critical
        } else {
            Tier::Normal
        }
    }

    fn came_back(&self, pod: &Pod) -> bool {
        let taint = &self.cordon.taint;
        let times = self.cordoned_at.zip(pod.created);
        let age = times.map(|(cordoned, created)| cordoned.duration_since(created));
        let after = age.is_some_and(|age| age.is_negative());
        // A replacement comes in less than times can tell. One that only became a pod to leave has been there all along.
        let new = !self.seen.is_empty()
            && !self.seen.contains(&pod.uid)
            && age.is_none_or(|age| age <= SURELY_BEFORE);
        (after || new) && (pod.is_daemon() || pod.tolerates(&taint.key, &taint.effect))
    }

    fn hesitation(&self, pod: &Pod) -> Option<BlockReason> {
        if pod.empty_dir && self.drain.empty_dir_pods == Hesitation::Block {
            Some(BlockReason::EmptyDir)
        } else if pod.owner.is_none() && self.drain.unmanaged_pods == Hesitation::Block {
            Some(BlockReason::Unmanaged)
        } else {
            None
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
