//! The stand-in's time: the machine's, plus what the test has advanced it by.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::lock;

/// Runs with the machine's monotonic clock and jumps ahead on demand.
#[derive(Debug)]
pub(super) struct Clock {
    started: Timestamp,
    origin: Instant,
    ahead: Mutex<Duration>,
}

impl Clock {
    pub fn new() -> Self {
        Self {
            started: Timestamp::now(),
            origin: Instant::now(),
            ahead: Mutex::default(),
        }
    }

    pub fn now(&self) -> Timestamp {
        self.started + self.origin.elapsed() + *lock(&self.ahead)
    }

    pub fn advance(&self, by: Duration) {
        *lock(&self.ahead) += by;
    }

    /// How long to wait on the machine's clock until `then`, if nobody advances this one.
    pub fn until(&self, then: Timestamp) -> Duration {
        then.duration_since(self.now())
            .try_into()
            .unwrap_or(Duration::ZERO)
    }
}
