//! How many evictions may be in flight: more while the API server answers well, half when it says it is overloaded.
//!
//! As TCP does: one more with each answer until the server has first said that it has enough, then one more with each
//! full window. One a window from the start cost a burst of 3,000 pods its first ten seconds.

use std::collections::BTreeSet;

/// An eviction takes about 100 ms whatever the load, so a slot is worth ten a second.
const START: usize = 32;
/// Above this the server only queues: latency grows and the rate does not.
const CAP: usize = 64;
/// Even an overloaded server must be able to say that it is well again.
const FLOOR: usize = 4;

/// So many pods in a row that the server fails to serve are no fault of one pod.
const FAILURES: usize = 3;

/// The adaptive limit.
#[derive(Clone, Debug)]
pub struct Slots {
    limit: usize,
    streak: usize,
    /// The server has had enough once.
    congested: bool,
    /// The pods of the last calls, while the server failed to serve each.
    failed: BTreeSet<String>,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            limit: START,
            streak: 0,
            congested: false,
            failed: BTreeSet::new(),
        }
    }
}

impl Slots {
    /// How many may be in flight at the moment.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The server answered: one slot more, or one after each full window once it was overloaded.
    pub fn served(&mut self) {
        self.failed.clear();
        self.streak += 1;
        if !self.congested || self.streak >= self.limit {
            self.streak = 0;
            self.limit = (self.limit + 1).min(CAP);
        }
    }

    /// The server failed to serve the eviction of the pod of that UID: half as many, if it was so for three pods in
    /// a row.
    pub fn failed(&mut self, uid: &str) {
        self.streak = 0;
        self.failed.insert(uid.to_owned());
        if self.failed.len() >= FAILURES {
            self.overloaded();
        }
    }

    /// The server said that it is overloaded: half as many.
    pub fn overloaded(&mut self) {
        self.failed.clear();
        self.streak = 0;
        self.congested = true;
        self.limit = (self.limit / 2).max(FLOOR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_in_a_window_until_the_first_overload_then_grows_by_one_and_stays_in_bounds() {
        let mut slots = Slots::default();
        (0..32).for_each(|_| slots.served());
        assert_eq!(slots.limit(), 64);
        (0..100_000).for_each(|_| slots.served());
        assert_eq!(slots.limit(), 64);
        slots.overloaded();
        assert_eq!(slots.limit(), 32);
        (0..32).for_each(|_| slots.served());
        assert_eq!(slots.limit(), 33);
        slots.overloaded();
        assert_eq!(slots.limit(), 16);
        (0..10).for_each(|_| slots.overloaded());
        assert_eq!(slots.limit(), 4);
    }

    #[test]
    fn three_failures_in_a_row_halve_it_if_they_are_of_different_pods() {
        let mut slots = Slots::default();
        (0..10).for_each(|_| slots.failed("a"));
        slots.failed("b");
        assert_eq!(slots.limit(), 32, "two pods");
        slots.served();
        slots.failed("a");
        slots.failed("b");
        assert_eq!(slots.limit(), 33, "not in a row");
        slots.failed("c");
        assert_eq!(slots.limit(), 16);
        slots.failed("a");
        slots.failed("b");
        assert_eq!(slots.limit(), 16, "three more are needed");
    }
}
