//! One node's plan: what each pod on it is owed, and from when at the latest.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::arrivals::Arrivals;
use super::pod::Pod;
use super::select::{Fate, Selection, StayReason, Tier};
use super::window::{Window, later};
use crate::api::bounded;
use crate::api::policy::DisruptionBudgets;
use crate::api::termination::{BlockReason, LeftPod, LeftReason};

/// A pod still there this long after its grace period is stuck: its kubelet is silent, or a finalizer holds it.
const STUCK_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// A grace period that was cut to the window ends a little before it: it and the time have whole seconds.
const ROUNDED: SignedDuration = SignedDuration::from_secs(3);
/// The record names so many pods that are left, and so many that nothing brings back.
const NAMED_MAX: usize = 10;
/// The longest message of a pod that is left, in bytes: the field's maximum is 1024.
const MESSAGE_MAX: usize = 1024;

/// A pod that the queue should see off.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The pod as it was last seen.
    pub pod: Arc<Pod>,
    /// When its tier's turn comes.
    pub tier: Tier,
    /// The tier may go now.
    pub open: bool,
    /// From when it is told to end whatever refuses; absent: never in spite of a refusal.
    pub force_at: Option<Timestamp>,
    /// Its place in the order: the last moment that leaves it its grace.
    pub latest_start: Timestamp,
    /// The policy keeps it until its last moment.
    pub hesitation: Option<BlockReason>,
    /// It terminates already, too slowly for the deadline: its grace is to be cut.
    pub shorten: bool,
    /// The window that cuts its grace.
    pub window: Window,
    /// The grace period that the policy gives every pod.
    pub grace: SignedDuration,
    /// Budgets are not asked at all.
    pub ignore_budgets: bool,
}

impl Candidate {
    /// Everything but the pod.
    pub(super) fn terms(&self) -> impl PartialEq + use<> {
        let Self {
            pod: _,
            tier,
            open,
            force_at,
            latest_start,
            hesitation,
            shorten,
            window,
            grace,
            ignore_budgets,
        } = self;
        let order = (*tier, *open, *latest_start, *grace);
        let terms = (*force_at, *hesitation, *shorten, *window, *ignore_budgets);
        (order, terms)
    }
}

/// A pod that still runs long after its grace period.
#[derive(Clone, Debug, PartialEq)]
pub struct Stuck {
    /// The pod.
    pub pod: Arc<Pod>,
    /// When its grace period was over.
    pub since: Timestamp,
}

/// A pod that was told to end with less than its grace period.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// The pod, as namespace/name.
    pub pod: String,
    /// What it would have had.
    pub own: SignedDuration,
    /// What it has.
    pub given: SignedDuration,
    /// Its end is that of the window: it was cut to end in time.
    pub to_window: bool,
}

/// What a node's pods are owed now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Pods for the queue.
    pub candidates: Vec<Candidate>,
    /// UIDs of all pods that were to leave and are still there, terminating ones included.
    pub remaining: Vec<String>,
    /// How many terminate.
    pub leaving: u32,
    /// How many are left alone.
    pub skipped: u32,
    /// Pods that still run long after their grace period.
    pub stuck: Vec<Stuck>,
    /// Terminating pods that have less than their grace period.
    pub cut: Vec<Cut>,
    /// Pods that are left and not waited for, though they are no part of the node: the first ten.
    pub left: Vec<LeftPod>,
    /// Pods that leave and have no controller, as namespace/name: the first ten.
    pub unmanaged: Vec<String>,
    /// Who came in spite of the cordon so far.
    pub came: Arrivals,
    /// When something changes by time alone.
    pub wake: Option<Timestamp>,
}

/// Makes the plan for one node's pods.
#[must_use]
pub fn plan(pods: &[Arc<Pod>], selection: &Selection<'_>, window: Window, now: Timestamp) -> Plan {
    let mut plan = Plan {
        came: selection.came.clone(),
        ..Plan::default()
    };
    let mut first = None;
    for pod in pods {
        let fate = selection.fate(pod);
        let leaves = matches!(fate, Fate::Leaves(_) | Fate::LeavesLast(..));
        if leaves && !plan.came.admit(pod, selection.cordoned_at) {
            plan.skipped += 1;
            let message = too_many(&plan.came, pod);
            plan.leave_alone(pod, LeftReason::Returned, message);
            continue;
        }
        match fate {
            Fate::Stays(reason) => {
                plan.skipped += 1;
                if reason == StayReason::Returned {
                    plan.leave_alone(pod, LeftReason::Returned, TOLERATES.to_owned());
                }
                continue;
            }
            Fate::Stopped => {
                plan.leave_alone(pod, LeftReason::Finalizers, stopped(pod));
                continue;
            }
            Fate::Leaving => plan.leave(pod, selection, window, now),
            Fate::Leaves(tier) => plan.add(pod, tier, None, selection, window),
            Fate::LeavesLast(tier, reason) => plan.add(pod, tier, Some(reason), selection, window),
        }
        let tier = selection.tier(pod);
        first = Some(first.map_or(tier, |before: Tier| before.min(tier)));
    }
    plan.open_tiers(first, window, now);
    plan
}

const TOLERATES: &str =
    "it came after the cordon and tolerates it: evicting it would bring the next one";

fn too_many(came: &Arrivals, pod: &Pod) -> String {
    format!(
        "others of {} came in spite of the cordon and were evicted; this one would only bring the next",
        came.counted_as(pod)
    )
}

fn stopped(pod: &Pod) -> String {
    let finalizers = pod.finalizers.join(", ");
    format!("its containers have stopped; finalizers keep the object: {finalizers}")
}

impl Plan {
    /// Nobody is left that was to leave.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remaining.is_empty()
    }

    fn add(
        &mut self,
        pod: &Arc<Pod>,
        tier: Tier,
        hesitation: Option<BlockReason>,
        selection: &Selection<'_>,
        window: Window,
    ) {
        let grace = own_grace(pod, selection);
        if pod.owner.is_none() && self.unmanaged.len() < NAMED_MAX {
            self.unmanaged.push(pod.full_name());
        }
        let latest_start = window.latest_start(grace);
        self.remaining.push(pod.uid.clone());
        self.candidates.push(Candidate {
            pod: pod.clone(),
            tier,
            open: true,
            force_at: (selection.drain.disruption_budgets != DisruptionBudgets::Respect)
                .then_some(latest_start),
            latest_start,
            hesitation,
            shorten: false,
            window,
            grace,
            ignore_budgets: selection.drain.disruption_budgets == DisruptionBudgets::Ignore,
        });
    }

    /// A terminating pod: waited for, cut short if it would outlive the window, named when it is stuck.
    fn leave(&mut self, pod: &Arc<Pod>, selection: &Selection<'_>, window: Window, now: Timestamp) {
        let Some(deletion) = pod.deletion else { return };
        self.remaining.push(pod.uid.clone());
        self.leaving += 1;
        let stuck_at = deletion
            .ends
            .checked_add(STUCK_AFTER)
            .unwrap_or(deletion.ends);
        if now >= stuck_at {
            self.stuck.push(Stuck {
                pod: pod.clone(),
                since: deletion.ends,
            });
        } else {
            self.wake_at(stuck_at);
        }
        let spare = SignedDuration::from_secs(1);
        let own = own_grace(pod, selection);
        if deletion.grace < own {
            self.cut.push(Cut {
                pod: pod.full_name(),
                own,
                given: deletion.grace,
                to_window: deletion.ends.duration_since(window.end()) >= -ROUNDED,
            });
        }
        let too_slow = deletion.ends.duration_since(window.end()) > spare
            && window.grace(deletion.grace, now) < deletion.grace;
        if too_slow {
            let tier = Tier::Normal;
            self.candidates.push(Candidate {
                pod: pod.clone(),
                tier,
                open: true,
                force_at: None,
                latest_start: now,
                hesitation: None,
                shorten: true,
                window,
                grace: deletion.grace,
                ignore_budgets: false,
            });
        }
    }

    /// A tier waits for the earlier ones, but not longer than its own graces need (at most half of the window).
    fn open_tiers(&mut self, first: Option<Tier>, window: Window, now: Timestamp) {
        let mut reserve = SignedDuration::ZERO;
        let half = window
            .end()
            .duration_since(window.start)
            .max(SignedDuration::ZERO)
            / 2;
        for tier in [Tier::Own, Tier::Critical, Tier::Daemon] {
            let longest = self
                .candidates
                .iter()
                .filter(|c| c.tier == tier)
                .map(|c| c.grace)
                .max();
            let Some(longest) = longest else { continue };
            reserve = reserve.saturating_add(longest).min(half);
            let start = window.end().checked_sub(reserve).unwrap_or(window.start);
            let open = now >= start || first == Some(tier);
            if !open {
                self.wake_at(start);
                self.candidates
                    .iter_mut()
                    .filter(|c| c.tier == tier)
                    .for_each(|c| c.open = false);
            }
        }
    }

    /// Keeps the operator's own pod back, if it is the only one left to go and loses nothing by waiting for so long.
    pub fn hold_own(&mut self, for_at_most: SignedDuration, now: Timestamp) -> bool {
        let in_time = |c: &Candidate| later(now, for_at_most) < c.latest_start;
        let alone = self.remaining.len() == 1;
        let mut candidates = self.candidates.iter_mut();
        let own = candidates.find(|c| alone && c.open && c.tier == Tier::Own && in_time(c));
        own.map(|c| c.open = false).is_some()
    }

    fn leave_alone(&mut self, pod: &Pod, reason: LeftReason, message: String) {
        if self.left.len() < NAMED_MAX {
            self.left.push(LeftPod {
                pod: pod.full_name(),
                uid: pod.uid.clone(),
                reason,
                message: bounded(message, MESSAGE_MAX),
            });
        }
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |w| w.min(at)));
    }
}

fn own_grace(pod: &Pod, selection: &Selection<'_>) -> SignedDuration {
    selection
        .drain
        .grace_period_seconds
        .map_or(pod.grace, |s| SignedDuration::from_secs(i64::from(s)))
}

#[cfg(test)]
mod tests;
