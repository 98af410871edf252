//! The promises, each held against what was seen from outside. A checker takes a history and tells what in it should
//! not be; what it excuses, and why, stands in its file.

mod actions;
mod cordon;
mod deadline;
mod endings;
mod leftovers;
mod orders;
mod past_budget;
mod processes;

use jiff::Timestamp;
pub use leftovers::{LABEL, TAINT};

use crate::history::History;

/// A promise that was not kept.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The promise.
    pub promise: &'static str,
    /// The node, by its number, if it is about one.
    pub node: Option<usize>,
    pub time: Option<Timestamp>,
    /// What was seen.
    pub what: String,
}

impl Violation {
    fn new(promise: &'static str, what: String) -> Self {
        Self {
            promise,
            node: None,
            time: None,
            what,
        }
    }

    fn on(mut self, node: usize) -> Self {
        self.node = Some(node);
        self
    }

    fn at(mut self, time: Timestamp) -> Self {
        self.time = Some(time);
        self
    }
}

/// Everything that should not be.
pub fn check(history: &History) -> Vec<Violation> {
    let checkers = [
        actions::check,
        cordon::check,
        deadline::check,
        endings::check,
        leftovers::check,
        orders::check,
        past_budget::check,
        processes::check,
    ];
    checkers.iter().flat_map(|check| check(history)).collect()
}

#[test]
fn a_history_without_fault_has_no_violation() {
    let violations = check(&crate::history::sample::history());
    assert!(violations.is_empty(), "{violations:#?}");
}
