//! When the API server gave no answer: while it does not, nothing can be written, so it is told afterwards.

use std::sync::{LazyLock, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::clock;

/// A shorter one is not worth telling.
const WORTH_TELLING: SignedDuration = SignedDuration::from_secs(2);
/// Failures that are closer together are none: the server failed one call, or some at once, and the next came late.
/// A watch, and there always are some, is tried again within 2 s.
const APART: SignedDuration = SignedDuration::from_secs(1);

static CALLS: Mutex<Calls> = Mutex::new(Calls::new());
static FAILING: LazyLock<Gauge> = LazyLock::new(Gauge::default);

/// How the calls of this process go, all of them together.
struct Calls {
    /// The first and the last of those that have failed since one went well.
    failing: Option<(Timestamp, Timestamp)>,
    /// The last outage that is over.
    last: Option<(Timestamp, Timestamp)>,
}

/// Puts the metric into the registry.
pub(super) fn register(registry: &mut Registry) {
    registry.register(
        "api_server_failing",
        "Whether the last call to the API server failed",
        FAILING.clone(),
    );
}

/// From when until when the API server last gave no answer.
#[must_use]
pub fn last() -> Option<(Timestamp, Timestamp)> {
    CALLS.lock().unwrap_or_else(PoisonError::into_inner).last
}

/// A call has ended: with an answer of the API server's own, or without.
pub(super) fn ended(well: bool) {
    FAILING.set(i64::from(!well));
    let mut calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((since, until)) = calls.ended(well, clock::now()) {
        tracing::warn!(%since, %until, "the API server gave no answer; it does again");
    }
}

impl Calls {
    const fn new() -> Self {
        Self {
            failing: None,
            last: None,
        }
    }

    /// Returns the outage that is over with this call.
    fn ended(&mut self, well: bool, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        if !well {
            self.failing.get_or_insert((now, now)).1 = now;
            return None;
        }
        let (since, last) = self.failing.take()?;
        let told =
            now.duration_since(since) >= WORTH_TELLING && last.duration_since(since) >= APART;
        if !told {
            return None;
        }
        self.last = Some((since, now));
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_outage_lasts_from_the_first_failure_to_the_next_answer() {
        let mut calls = Calls::new();
        for (well, second) in [(true, 0), (false, 10), (false, 11), (true, 17)] {
            calls.ended(well, at(second));
        }
        assert_eq!(calls.last, Some((at(10), at(17))));
        for (well, second) in [(false, 20), (false, 21), (true, 21)] {
            calls.ended(well, at(second));
        }
        assert_eq!(calls.last, Some((at(10), at(17))), "too short");
    }

    #[test]
    fn calls_that_fail_at_once_are_none_however_long_the_next_one_takes_to_come() {
        let mut calls = Calls::new();
        for (well, second) in [(true, 0), (false, 10), (false, 10), (true, 13)] {
            calls.ended(well, at(second));
        }
        assert_eq!(calls.last, None);
    }

    #[test]
    fn single_calls_that_fail_among_others_are_none() {
        let mut calls = Calls::new();
        for second in 0..100 {
            calls.ended(second % 2 == 0, at(second));
        }
        assert_eq!(calls.last, None);
    }
}
