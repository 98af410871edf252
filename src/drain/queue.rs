//! The eviction queue of the whole cluster: who may be told to end now, most urgent first.
//!
//! One queue for all nodes, so that two nodes that share a budget are served by deadline. A pod is in one place:
//! *ready* (only a slot is missing), *waiting* on its budget (nothing is sent while that has no room), or *parked*
//! (its tier is closed, it backs off, it is in flight, or the view is about to show its deletion).

mod entry;
mod gates;
#[cfg(test)]
mod tests;
mod would;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

pub use entry::{Block, Order, Verb, Work};
use entry::{Entry, Key, Place, State};
use gates::Gates;
pub use gates::Guard;

use super::answer::Answer;
use super::budget::{Budget, BudgetId};
use super::plan::Candidate;
use super::window::later;

/// How long an overloaded server is left alone if it does not say.
const OVERLOAD_PAUSE: SignedDuration = SignedDuration::from_secs(1);

/// However long it asks for: pods have deadlines.
const OVERLOAD_PAUSE_MAX: SignedDuration = SignedDuration::from_secs(10);

/// The queue. Its methods are cheap. `now` may go back, when our time is found to be off: nothing is sent too early or
/// twice on that account, and a pod that waits by time alone waits longer by as much.
#[derive(Default)]
pub struct Queue {
    entries: HashMap<String, Entry>,
    nodes: HashMap<String, Vec<String>>,
    ready: BTreeSet<Key>,
    timers: BTreeSet<(Timestamp, String)>,
    gates: Gates,
    forced: HashMap<String, u32>,
    /// Budgets that a pod was about to be sent under, and will not be.
    freed: BTreeSet<BudgetId>,
    /// Nothing is sent before this: the server said that it is overloaded.
    pause: Option<Timestamp>,
}

impl Queue {
    /// Replaces what is known of one node's pods. Pods that are no longer named are forgotten. Whether one of the others
    /// is new, or owed something new, or may go in the place of one that was forgotten.
    pub fn offer(&mut self, node: &str, candidates: Vec<Candidate>, now: Timestamp) -> bool {
        self.name_anew(node, &candidates);
        let mut any = !self.freed.is_empty();
        let node: Arc<str> = node.into();
        for candidate in candidates {
            let known = self.entries.get(&candidate.pod.uid);
            // Every event of a pod offers its whole node again; the others of the node stay as they are.
            if known.is_some_and(|entry| entry.is_offered_as(&node, &candidate)) {
                continue;
            }
            any = true;
            let guard = match known {
                Some(entry) if entry.candidate.pod.labels == candidate.pod.labels => {
                    entry.guard.clone()
                }
                _ => self.gates.guard_of(&candidate.pod),
            };
            let uid = candidate.pod.uid.clone();
            self.unplace(&uid);
            match self.entries.get_mut(&uid) {
                Some(entry) => entry.renew(node.clone(), candidate, guard),
                None => drop(
                    self.entries
                        .insert(uid.clone(), Entry::new(node.clone(), candidate, guard)),
                ),
            }
            self.place(&uid, now);
        }
        any
    }

    /// Takes down which pods the node has now, and forgets those that it had.
    fn name_anew(&mut self, node: &str, candidates: &[Candidate]) {
        let now = || candidates.iter().map(|c| &c.pod.uid);
        let before = self.nodes.get(node);
        if before.is_some_and(|before| before.iter().eq(now())) {
            return;
        }
        let uids: Vec<String> = now().cloned().collect();
        let before = self.nodes.insert(node.to_owned(), uids).unwrap_or_default();
        let there: HashSet<&String> = now().collect();
        for uid in before.iter().filter(|uid| !there.contains(uid)) {
            self.forget(uid);
        }
    }

    /// Forgets a node: its drain is over, held or canceled.
    pub fn withdraw(&mut self, node: &str) {
        for uid in self.nodes.remove(node).unwrap_or_default() {
            self.forget(&uid);
        }
        self.forced.remove(node);
    }

    /// A budget's new state: whoever waits on one with room goes on.
    pub fn budget_changed(&mut self, budget: Budget, now: Timestamp) {
        let namespace = self
            .gates
            .selects_anew(&budget)
            .then(|| budget.id.namespace.clone());
        let woken = self.gates.observe(budget, now);
        match namespace {
            Some(namespace) => self.look_again(self.uids_in(&namespace), now),
            None => self.look_again(woken, now),
        }
    }

    /// A budget was deleted.
    pub fn budget_deleted(&mut self, id: &BudgetId, now: Timestamp) {
        self.gates.remove(id);
        // A pod that two budgets selected waits on neither: it is looked at too.
        self.look_again(self.uids_in(&id.namespace), now);
    }

    /// A new list of all budgets: those that are missing from it are gone.
    pub fn budgets_listed(&mut self, budgets: Vec<Budget>, now: Timestamp) {
        let listed: BTreeSet<BudgetId> = budgets.iter().map(|b| b.id.clone()).collect();
        for id in self.gates.ids().iter().filter(|id| !listed.contains(id)) {
            self.budget_deleted(id, now);
        }
        for budget in budgets {
            self.budget_changed(budget, now);
        }
        let all = self.entries.keys().cloned().collect();
        self.look_again(all, now);
    }

    /// The next pod to be told to end, if any may be told now. It is in flight until [`Self::answered`].
    pub fn pop(&mut self, now: Timestamp) -> Option<Order> {
        self.run_timers(now);
        for budget in std::mem::take(&mut self.freed) {
            self.look_again(self.gates.next(&budget, now), now);
        }
        // A longer pause is none of ours: the time that it was taken by has been corrected since.
        let lapses = |until: Timestamp| now >= until || until > later(now, OVERLOAD_PAUSE_MAX);
        self.pause.take_if(|until| lapses(*until));
        if self.pause.is_some() {
            return None;
        }
        while let Some(uid) = self.ready.first().map(|key| key.uid.clone()) {
            self.unplace(&uid);
            let order = self
                .entries
                .get_mut(&uid)
                .and_then(|entry| entry.order(&mut self.gates, now));
            self.place(&uid, now);
            if order.is_some() {
                return order;
            }
        }
        None
    }

    /// When the queue must be asked again by time alone.
    #[must_use]
    pub fn wake(&self) -> Option<Timestamp> {
        if !self.freed.is_empty() {
            return Some(Timestamp::MIN);
        }
        let timer = self.timers.first().map(|(at, _)| *at);
        if self.ready.is_empty() {
            timer
        } else {
            self.pause.or(timer)
        }
    }

    /// What became of an order.
    pub fn answered(&mut self, order: &Order, answer: &Answer, now: Timestamp) {
        let accepted = *answer == Answer::Accepted;
        if accepted && order.verb == Verb::Delete && self.nodes.contains_key(&*order.node) {
            *self.forced.entry(order.node.to_string()).or_default() += 1;
        }
        if let Answer::Overloaded { retry_after } = answer {
            let wait = retry_after
                .and_then(|d| SignedDuration::try_from(d).ok())
                .unwrap_or(OVERLOAD_PAUSE)
                .min(OVERLOAD_PAUSE_MAX);
            self.pause = now.checked_add(wait).ok();
        }
        let woken = order
            .permit
            .as_ref()
            .map(|permit| self.gates.give_back(permit, answer, now))
            .unwrap_or_default();
        let uid = &order.pod.uid;
        if let Some(entry) = self.entries.get_mut(uid) {
            if !accepted {
                entry.guard = self.gates.guard_of(&entry.candidate.pod);
            }
            entry.answered(order.verb, answer, &self.gates, now);
            let offered = entry.offered;
            self.unplace(uid);
            if offered {
                self.place(uid, now);
            } else {
                self.entries.remove(uid);
            }
        }
        self.look_again(woken, now);
    }

    /// Which of a node's pods are blocked, and why.
    #[must_use]
    pub fn work(&self, node: &str) -> Vec<Work> {
        let uids = self.nodes.get(node).map(Vec::as_slice).unwrap_or_default();
        uids.iter()
            .filter_map(|uid| self.entries.get(uid))
            .filter(|entry| entry.is_blocked())
            .map(Entry::work)
            .collect()
    }

    /// How many of a node's pods were deleted past a refusal since it was first offered. A deletion that is under way
    /// counts: the last report of a drain may not hear of its answer.
    #[must_use]
    pub fn forced(&self, node: &str) -> u32 {
        let answered = self.forced.get(node).copied().unwrap_or_default();
        let deletes = State::InFlight { verb: Verb::Delete };
        let uids = self.nodes.get(node).into_iter().flatten();
        let under_way =
            uids.filter(|uid| self.entries.get(*uid).is_some_and(|e| e.state == deletes));
        let under_way = u32::try_from(under_way.count()).unwrap_or(u32::MAX);
        answered.saturating_add(under_way)
    }

    /// How many pods wait on a budget: a gauge.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.gates.waiting()
    }

    /// A pod in flight is kept until its call is answered: offered again meanwhile, it must not be sent twice.
    fn forget(&mut self, uid: &str) {
        if let Some(entry) = self.entries.get(uid)
            && let (Some((_, Place::Ready, _)), Guard::Budget(id)) = (&entry.placed, &entry.guard)
        {
            self.freed.insert(id.clone());
        }
        self.unplace(uid);
        match self.entries.get_mut(uid) {
            Some(entry) if entry.is_in_flight() => entry.offered = false,
            _ => drop(self.entries.remove(uid)),
        }
    }

    fn uids_in(&self, namespace: &str) -> Vec<String> {
        let there = |entry: &&Entry| entry.candidate.pod.namespace == namespace;
        self.entries
            .values()
            .filter(there)
            .map(|entry| entry.candidate.pod.uid.clone())
            .collect()
    }

    fn look_again(&mut self, uids: Vec<String>, now: Timestamp) {
        for uid in uids {
            self.unplace(&uid);
            if let Some(entry) = self.entries.get_mut(&uid) {
                entry.guard = self.gates.guard_of(&entry.candidate.pod);
            }
            self.place(&uid, now);
        }
    }

    fn run_timers(&mut self, now: Timestamp) {
        while let Some((_, uid)) = self.timers.first().filter(|(at, _)| *at <= now).cloned() {
            self.unplace(&uid);
            self.place(&uid, now);
        }
    }

    fn unplace(&mut self, uid: &str) {
        let Some((key, place, timer)) = self.entries.get_mut(uid).and_then(|e| e.placed.take())
        else {
            return;
        };
        match place {
            Place::Ready => drop(self.ready.remove(&key)),
            Place::Waiting(id) => self.gates.stop_waiting(&id, &key),
            Place::Parked => {}
        }
        if let Some(at) = timer {
            self.timers.remove(&(at, key.uid));
        }
    }

    fn place(&mut self, uid: &str, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(uid) else {
            return;
        };
        let (place, timer) = entry.place(&self.gates, now);
        // A time that has come already would be run again and again; the next event or offer looks again.
        let timer = timer.filter(|at| *at > now);
        let key = entry.key();
        match &place {
            Place::Ready => drop(self.ready.insert(key.clone())),
            Place::Waiting(id) => self.gates.wait(id, key.clone()),
            Place::Parked => {}
        }
        if let Some(at) = timer {
            self.timers.insert((at, uid.to_owned()));
        }
        entry.placed = Some((key, place, timer));
    }
}
