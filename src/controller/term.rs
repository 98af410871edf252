//! Until when this process leads, by its own clock.
//!
//! A process that was frozen (a machine that is paused, a node out of CPU) goes on in the middle of its work, and is told
//! a moment later that somebody else leads. Meanwhile every pod's last moment may have come: looked at before each act,
//! the term keeps it from deleting past their budgets what the new leader has begun to evict.

use tokio::sync::watch;
use tokio::time::Instant;

/// The term; cheap to clone.
#[derive(Clone)]
pub struct Term(watch::Receiver<Option<Instant>>);

impl Term {
    /// The end of leadership unless it is renewed, and none while others lead.
    #[must_use]
    pub fn new(until: watch::Receiver<Option<Instant>>) -> Self {
        Self(until)
    }

    /// Whether somebody else may lead by now.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.borrow().is_none_or(|end| Instant::now() >= end)
    }
}
