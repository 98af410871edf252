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
pub(crate) mod tests {
    use super::*;
    use crate::drain::pod::{Deletion, Owner, Phase};
    use k8s_openapi::api::core::v1::Toleration;

    pub(crate) fn pod(name: &str) -> Pod {
        Pod {
            uid: format!("uid-{name}"),
            namespace: "web".into(),
            name: name.into(),
            resource_version: "1".into(),
            created: Some(Timestamp::from_second(0).unwrap()),
            labels: std::iter::once(("app".to_owned(), name.to_owned())).collect(),
            phase: Phase::Running,
            ready: true,
            deletion: None,
            grace: SignedDuration::from_secs(30),
            priority: 0,
            owner: Some(Owner {
                kind: "ReplicaSet".into(),
                api_version: "apps/v1".into(),
                name: name.into(),
            }),
            mirror: false,
            empty_dir: false,
            claims: vec![],
            own_claims: 0,
            tolerations: vec![],
            finalizers: vec![],
        }
    }

    fn owner(kind: &str, api_version: &str) -> Owner {
        Owner {
            kind: kind.into(),
            api_version: api_version.into(),
            name: "owner".into(),
        }
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "one table of all sorts of pods")]
    fn each_sort_of_pod_meets_its_fate() {
        let drain = Drain::default();
        let gentle = Drain {
            empty_dir_pods: Hesitation::Block,
            unmanaged_pods: Hesitation::Block,
            daemon_set_pods: DaemonSetPods::EvictLast,
            ..Drain::default()
        };
        let cordon = Cordon::default();
        let at = |s| Timestamp::from_second(s).unwrap();
        let deletion = Some(Deletion {
            ends: at(30),
            grace: SignedDuration::from_secs(30),
        });
        let everything = vec![Toleration {
            operator: Some("Exists".into()),
            ..Toleration::default()
        }];
        let plain = pod("p");
        let daemon = Pod {
            owner: Some(owner("DaemonSet", "apps/v1")),
            ..pod("p")
        };
        let late = Pod {
            created: Some(at(20)),
            ..pod("p")
        };
        for (settings, pod, fate, why) in [
            (
                &drain,
                plain.clone(),
                Fate::Leaves(Tier::Normal),
                "an ordinary pod",
            ),
            (
                &drain,
                Pod {
                    mirror: true,
                    ..pod("p")
                },
                Fate::Stays(StayReason::Static),
                "a mirror pod",
            ),
            (
                &drain,
                Pod {
                    owner: Some(owner("Node", "v1")),
                    ..pod("p")
                },
                Fate::Stays(StayReason::Static),
                "owned by its node",
            ),
            (
                &drain,
                daemon.clone(),
                Fate::Stays(StayReason::DaemonSet),
                "a daemon",
            ),
            (
                &gentle,
                daemon.clone(),
                Fate::Leaves(Tier::Daemon),
                "a daemon under EvictLast",
            ),
            (
                &gentle,
                Pod {
                    created: Some(at(20)),
                    ..daemon
                },
                Fate::Stays(StayReason::Returned),
                "the daemon that took its place",
            ),
            (
                &drain,
                Pod {
                    phase: Phase::Succeeded,
                    ..pod("p")
                },
                Fate::Stays(StayReason::Finished),
                "a finished pod",
            ),
            (
                &drain,
                Pod {
                    deletion,
                    ..pod("p")
                },
                Fate::Leaving,
                "a terminating pod",
            ),
            (
                &drain,
                Pod {
                    deletion,
                    phase: Phase::Failed,
                    ..pod("p")
                },
                Fate::Stopped,
                "stopped, kept by a finalizer",
            ),
            (
                &drain,
                Pod {
                    empty_dir: true,
                    owner: None,
                    ..pod("p")
                },
                Fate::Leaves(Tier::Normal),
                "evict by default",
            ),
            (
                &gentle,
                Pod {
                    empty_dir: true,
                    ..pod("p")
                },
                Fate::LeavesLast(Tier::Normal, BlockReason::EmptyDir),
                "emptyDir under Block",
            ),
            (
                &gentle,
                Pod {
                    owner: None,
                    ..pod("p")
                },
                Fate::LeavesLast(Tier::Normal, BlockReason::Unmanaged),
                "unmanaged under Block",
            ),
            (
                &drain,
                Pod {
                    priority: 2_000_000_000,
                    ..pod("p")
                },
                Fate::Leaves(Tier::Critical),
                "critical",
            ),
            (
                &drain,
                Pod {
                    name: "own".into(),
                    ..pod("p")
                },
                Fate::Leaves(Tier::Own),
                "the operator itself",
            ),
            (
                &drain,
                late.clone(),
                Fate::Leaves(Tier::Normal),
                "bound late by a scheduler that had not seen the cordon",
            ),
            (
                &drain,
                Pod {
                    tolerations: everything.clone(),
                    ..late
                },
                Fate::Stays(StayReason::Returned),
                "came back in spite of the taint",
            ),
            (
                &drain,
                Pod {
                    tolerations: everything,
                    ..plain
                },
                Fate::Leaves(Tier::Normal),
                "tolerates everything, there before",
            ),
        ] {
            let selection = Selection {
                drain: settings,
                cordon: &cordon,
                skip: None,
                cordoned_at: Some(at(10)),
                seen: &BTreeSet::new(),
                came: &Arrivals::default(),
                own_pod: Some("web/own"),
            };
            assert_eq!(selection.fate(&pod), fate, "{why}");
        }
    }
}
