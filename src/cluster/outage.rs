//! When the API server gave no answer: while it does not, nothing can be written, so it is told afterwards.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::clock;

/// A shorter one is not worth telling.
const WORTH_TELLING: Duration = Duration::from_secs(2);
/// Failures that are closer together are none: the server failed one call, or some at once, and the next came late.
/// A watch, and there always are some, is tried again within 2 s.
const APART: Duration = Duration::from_secs(1);

static CALLS: Mutex<Calls> = Mutex::new(Calls::new());
static FAILING: LazyLock<Gauge> = LazyLock::new(Gauge::default);

/// How the calls of this process go, all of them together.
struct Calls {
    /// The first and the last of those that have failed since one went well.
    failing: Option<(Instant, Instant)>,
    /// The last outage that is over.
    last: Option<(Timestamp, Timestamp)>,
}

/// Puts the metric into the registry.
pub fn register(registry: &mut Registry) {
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
    if let Some((since, until)) = calls.ended(well, Instant::now(), clock::now()) {
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

    /// Returns the outage that is over with this call. How long it was does not go by `now`, which may have been
    /// corrected meanwhile.
    fn ended(&mut self, well: bool, at: Instant, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        if !well {
            self.failing.get_or_insert((at, at)).1 = at;
            return None;
        }
        let (first, last) = self.failing.take()?;
        let (lasted, apart) = (at.duration_since(first), last.duration_since(first));
        if lasted < WORTH_TELLING || apart < APART {
            return None;
        }
        self.last = Some((now.checked_sub(lasted).unwrap_or(now), now));
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// The calls end so, at these seconds; the time is said to be so far ahead.
    fn after(calls: &mut Calls, ends: &[(bool, u64, i64)]) -> Option<(Timestamp, Timestamp)> {
        let start = Instant::now();
        for &(well, second, ahead) in ends {
            let now = at(second.cast_signed() + ahead);
            calls.ended(well, start + Duration::from_secs(second), now);
        }
        calls.last
    }

    #[test]
    fn an_outage_lasts_from_the_first_failure_to_the_next_answer() {
        let mut calls = Calls::new();
        let long = [(true, 0, 0), (false, 10, 0), (false, 11, 0), (true, 17, 0)];
        assert_eq!(after(&mut calls, &long), Some((at(10), at(17))));
        let short = [(false, 20, 0), (false, 21, 0), (true, 21, 0)];
        assert_eq!(after(&mut calls, &short), Some((at(10), at(17))));
    }

    #[test]
    fn a_time_that_is_corrected_while_calls_fail_makes_no_outage_and_none_longer() {
        let brief = [(false, 10, 0), (false, 11, 0), (true, 11, 1200)];
        assert_eq!(after(&mut Calls::new(), &brief), None);
        let long = [(false, 10, 1200), (false, 15, 1200), (true, 17, 0)];
        assert_eq!(after(&mut Calls::new(), &long), Some((at(10), at(17))));
    }

    #[test]
    fn calls_that_fail_at_once_are_none_however_long_the_next_one_takes_to_come() {
        let ends = [(true, 0, 0), (false, 10, 0), (false, 10, 0), (true, 13, 0)];
        assert_eq!(after(&mut Calls::new(), &ends), None);
    }

    #[test]
    fn single_calls_that_fail_among_others_are_none() {
        let ends: Vec<_> = (0..100)
            .map(|second| (second % 2 == 0, second, 0))
            .collect();
        assert_eq!(after(&mut Calls::new(), &ends), None);
    }
}
