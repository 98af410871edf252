//! One pod in the queue: what has happened to it, and where it belongs now.

mod answered;

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::gates::{Gates, Guard};
use crate::api::termination::BlockReason;
use crate::drain::budget::{self, BudgetId, Gate, Permit};
use crate::drain::plan::Candidate;
use crate::drain::pod::Pod;
use crate::drain::select::Tier;
use crate::drain::window::later;

/// A watch event can be lost; a pod that waits on its budget tries once in this time.
const PROBE_AFTER: SignedDuration = SignedDuration::from_secs(150);
/// After an accepted eviction the view shows the deletion at once; if it does not, the pod is looked at again.
const EXPECT_IN_VIEW: SignedDuration = SignedDuration::from_secs(30);
/// A budget whose status was contended, or not observed yet, is tried again after this (the server's own advice).
const BUDGET_PAUSE: SignedDuration = SignedDuration::from_secs(10);
/// A refused or failed pod is tried again after this, doubled each time; for want of a role after this at the latest,
const BACK_OFF_FIRST: SignedDuration = SignedDuration::from_secs(5);
/// up to this.
const BACK_OFF_LAST: SignedDuration = SignedDuration::from_secs(60);
/// After an unknown outcome or a conflict the view is given this long to tell; for want of a role it is the first wait.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(1);

/// A pod's place in the order: earliest latest-start, then tier, then the longest grace. Of equally urgent nodes one
/// is emptied after the other: it is given up, and its view closed, the sooner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    latest_start: Timestamp,
    tier: Tier,
    grace: Reverse<SignedDuration>,
    node: Arc<str>,
    pub(super) uid: String,
}

/// How a pod is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Through the eviction API, which asks its budget.
    Evict,
    /// Past its budget.
    Delete,
}

/// One call to make.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// The node it leaves, as it was offered.
    pub node: Arc<str>,
    /// The pod; its UID is the call's precondition.
    pub pod: Arc<Pod>,
    /// Evict or delete.
    pub verb: Verb,
    /// The grace period to send.
    pub grace: SignedDuration,
    /// The grace period that it would have without the deadline.
    pub own_grace: SignedDuration,
    /// What a deletion goes past, if anything refuses the pod.
    pub past: Option<Block>,
    /// Send the resource version too: without it the server retries a UID conflict for ten seconds on pods
    /// that are pending, finished or terminating.
    pub pin_version: bool,
    /// Set the `DisruptionTarget` condition first, so that a Job does not count the deletion as its own failure.
    pub mark_disruption: bool,
    /// The permit that it holds until it is answered.
    pub permit: Option<Permit>,
}

/// Why a pod can not leave yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// In one word.
    pub reason: BlockReason,
    /// The budget or webhook.
    pub by: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// In a sentence.
    pub message: String,
}

/// What is known of one pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// The pod's UID.
    pub uid: String,
    /// The pod as namespace/name.
    pub pod: String,
    /// Set while it can not leave.
    pub block: Option<Block>,
    /// When it is told to end whatever refuses.
    pub force_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Idle,
    BackOff { until: Timestamp, after: Verb },
    InFlight { verb: Verb },
    Sent { until: Timestamp },
}

/// Where a pod stands in the queue's sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Ready,
    Waiting(BudgetId),
    Parked,
}

pub(super) struct Entry {
    pub(super) node: Arc<str>,
    pub(super) candidate: Candidate,
    pub(super) guard: Guard,
    pub(super) state: State,
    /// It is among its node's pods; one that is not stays only until its call is answered.
    pub(super) offered: bool,
    /// Where it was put, and under which key and timer.
    pub(super) placed: Option<(Key, Place, Option<Timestamp>)>,
    block: Option<Block>,
    failures: u32,
    /// The namespace is being deleted: only a deletion is taken there.
    delete_only: bool,
    probe_at: Option<Timestamp>,
}

impl Entry {
    pub(super) fn new(node: Arc<str>, candidate: Candidate, guard: Guard) -> Self {
        Self {
            node,
            candidate,
            guard,
            state: State::Idle,
            offered: true,
            placed: None,
            block: None,
            failures: 0,
            delete_only: false,
            probe_at: None,
        }
    }

    /// The pod, its plan or its budgets changed.
    pub(super) fn renew(&mut self, node: Arc<str>, candidate: Candidate, guard: Guard) {
        if candidate.shorten && !self.candidate.shorten && !self.is_in_flight() {
            self.state = State::Idle;
        }
        self.node = node;
        self.offered = true;
        self.candidate = candidate;
        self.guard = guard;
    }

    /// Whether this is what was offered last: the same pod, unchanged, on the same terms.
    pub(super) fn is_offered_as(&self, node: &str, candidate: &Candidate) -> bool {
        let known = &self.candidate;
        self.offered
            && *self.node == *node
            && Arc::ptr_eq(&known.pod, &candidate.pod)
            && known.terms() == candidate.terms()
    }

    /// Something refuses the pod, or is about to.
    pub(super) fn is_blocked(&self) -> bool {
        self.block.is_some()
    }

    pub(super) fn key(&self) -> Key {
        Key {
            latest_start: self.candidate.latest_start,
            tier: self.candidate.tier,
            grace: Reverse(self.candidate.grace),
            node: self.node.clone(),
            uid: self.candidate.pod.uid.clone(),
        }
    }

    pub(super) fn work(&self) -> Work {
        Work {
            uid: self.candidate.pod.uid.clone(),
            pod: self.candidate.pod.full_name(),
            block: self.block.clone(),
            force_at: self.candidate.force_at,
        }
    }

    /// Where the pod belongs now, and when it must be looked at again by time alone.
    pub(super) fn place(&mut self, gates: &Gates, now: Timestamp) -> (Place, Option<Timestamp>) {
        match self.state {
            State::InFlight { .. } => return (Place::Parked, None),
            State::Sent { until } if now < until => return (Place::Parked, Some(until)),
            State::BackOff { until, after }
                if now < until
                    && !(after == Verb::Evict && self.verb(gates, now) == Verb::Delete) =>
            {
                return (Place::Parked, Some(self.not_after_force(until, now)));
            }
            _ => self.state = State::Idle,
        }
        if !self.candidate.open {
            return (Place::Parked, None);
        }
        if let Some(reason) = self.candidate.hesitation {
            let last_moment = self.candidate.latest_start;
            if now < last_moment {
                let message = "the policy keeps it until its last moment".to_owned();
                self.blocked(reason, None, message, now);
                return (Place::Parked, Some(last_moment));
            }
            // The policy refuses no longer, and nobody else has been asked.
            self.block.take_if(|b| b.reason == reason);
        }
        if self.candidate.shorten || self.is_forced(now) || self.delete_only {
            return (Place::Ready, None);
        }
        self.place_by_budget(gates, now)
    }

    fn place_by_budget(&mut self, gates: &Gates, now: Timestamp) -> (Place, Option<Timestamp>) {
        match self.guard.clone() {
            _ if budget::is_exempt(&self.candidate.pod) => self.free(),
            Guard::Free => self.free(),
            Guard::Multiple(ids) => {
                let names = ids
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", ");
                let message = format!(
                    "the API server refuses to evict a pod that more than one budget selects: {names}"
                );
                self.blocked(BlockReason::MultipleBudgets, Some(names), message, now);
                (Place::Parked, self.candidate.force_at)
            }
            Guard::Budget(id) => match gates.get(&id) {
                Some(gate)
                    if !gate.budget.lets_pass(&self.candidate.pod) && gate.permits(now) == 0 =>
                {
                    self.wait(id, gate, now)
                }
                _ => self.free(),
            },
        }
    }

    fn free(&mut self) -> (Place, Option<Timestamp>) {
        self.probe_at = None;
        // Only a slot is missing: no budget holds it any more.
        self.block.take_if(|block| block.reason.is_of_budget());
        (Place::Ready, None)
    }

    /// No room: nothing is sent until the budget's next event, the safety probe, or the pod's last moment.
    fn wait(&mut self, id: BudgetId, gate: &Gate, now: Timestamp) -> (Place, Option<Timestamp>) {
        let (reason, message) = gate.budget.refusal();
        self.blocked(reason, Some(id.to_string()), message, now);
        if reason != BlockReason::Budget {
            return (Place::Waiting(id), self.candidate.force_at);
        }
        let probe_at = *self.probe_at.get_or_insert(later(now, PROBE_AFTER));
        if now >= probe_at {
            return (Place::Ready, None);
        }
        (
            Place::Waiting(id),
            Some(self.not_after_force(probe_at, now)),
        )
    }

    /// The call to make now that a slot is free. `None`: its budget has no permit after all.
    pub(super) fn order(&mut self, gates: &mut Gates, now: Timestamp) -> Option<Order> {
        let verb = self.verb(gates, now);
        let permit = match (&self.guard, verb) {
            (Guard::Budget(id), Verb::Evict) if self.needs_permit(gates, id) => {
                let probing = self.probe_at.take().is_some_and(|at| now >= at);
                let permit = if self.is_forced(now) {
                    gates.take_beyond(id, now)
                } else {
                    gates.take(id, now)
                };
                if permit.is_none() && !probing {
                    return None;
                }
                permit
            }
            _ => None,
        };
        self.state = State::InFlight { verb };
        let pod = self.candidate.pod.clone();
        Some(Order {
            node: self.node.clone(),
            verb,
            grace: self.candidate.window.grace(self.candidate.grace, now),
            own_grace: self.candidate.grace,
            past: self.block.clone().filter(|_| verb == Verb::Delete),
            pin_version: budget::is_exempt(&pod),
            mark_disruption: verb == Verb::Delete
                && pod.owner.as_ref().is_some_and(|o| o.kind == "Job"),
            permit,
            pod,
        })
    }

    pub(super) fn needs_permit(&self, gates: &Gates, id: &BudgetId) -> bool {
        let pod = &self.candidate.pod;
        !budget::is_exempt(pod) && gates.get(id).is_some_and(|g| !g.budget.lets_pass(pod))
    }

    /// A deletion only where an eviction was refused, would be refused, or must not ask.
    pub(super) fn verb(&self, gates: &Gates, now: Timestamp) -> Verb {
        if self.delete_only {
            return Verb::Delete;
        }
        if self.candidate.shorten || !self.is_forced(now) || budget::is_exempt(&self.candidate.pod)
        {
            return Verb::Evict;
        }
        let (no_room, passes) = match &self.guard {
            Guard::Multiple(_) => (true, false),
            Guard::Budget(id) if self.needs_permit(gates, id) => {
                let passes = gates.get(id).is_some_and(|g| g.would_pass(now));
                (!passes, passes)
            }
            Guard::Free | Guard::Budget(_) => (false, false),
        };
        // A wait for our own evictions under a budget with room is nobody's refusal.
        let waits = |b: &Block| b.reason == BlockReason::Budget && passes;
        let refused = self.block.as_ref().is_some_and(|b| !waits(b));
        if self.candidate.ignore_budgets || refused || no_room {
            Verb::Delete
        } else {
            Verb::Evict
        }
    }

    fn blocked(
        &mut self,
        reason: BlockReason,
        by: Option<String>,
        message: String,
        now: Timestamp,
    ) {
        let since = self
            .block
            .as_ref()
            .filter(|b| b.reason == reason)
            .map_or(now, |b| b.since);
        self.block = Some(Block {
            reason,
            by,
            since,
            message,
        });
    }

    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self.state, State::InFlight { .. })
    }

    fn is_forced(&self, now: Timestamp) -> bool {
        self.candidate.ignore_budgets || self.candidate.force_at.is_some_and(|at| now >= at)
    }

    /// `until`, but not past the pod's last moment.
    fn not_after_force(&self, until: Timestamp, now: Timestamp) -> Timestamp {
        self.candidate
            .force_at
            .filter(|at| *at > now)
            .map_or(until, |at| at.min(until))
    }
}
