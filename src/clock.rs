//! What time it is, by the clocks of those whose times we go by.
//!
//! A deadline is absolute and comes from AWS: a process whose own clock is wrong would meet none. Every answer over
//! HTTP says in its `Date` what time its server had, in whole seconds; the median of the last few tells how far our clock
//! is off. Two seconds are let pass: one answer is not more exact than that.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// So many answers of each sort of server are remembered. One in a while that was read late changes no median.
const KEPT: usize = 9;
/// With fewer nothing is concluded.
const ENOUGH: usize = 3;
/// The answers of a burst are as good as one.
const APART: Duration = Duration::from_millis(500);
/// AWS is believed before the API server for so long after its last answer: it is AWS that sets the deadlines.
const FRESH: Duration = Duration::from_mins(5);
/// An answer that took longer is not heard: its `Date` may be of its beginning, as that of a long poll.
const PROMPT: Duration = Duration::from_secs(2);
/// An error of so many milliseconds is let pass.
const TOLERATED: i64 = 2_000;
/// A `Date` is cut off to the second: on average it is so many milliseconds old.
const CUT_OFF: i64 = 500;

/// Milliseconds to add to what our clock says.
static SHIFT: AtomicI64 = AtomicI64::new(0);
static ESTIMATE: Mutex<Estimate> = Mutex::new(Estimate::new());
static SKEW: LazyLock<Gauge<f64, AtomicU64>> = LazyLock::new(Gauge::default);

/// Whose clock an answer tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// AWS, which sets the deadlines.
    Aws,
    /// The Kubernetes API server.
    Api,
}

/// The time, for everything that is compared with what a server has said.
#[must_use]
pub fn now() -> Timestamp {
    shifted(Timestamp::now(), SHIFT.load(Ordering::Relaxed))
}

/// Puts the skew of our clock into the registry.
pub fn register(registry: &mut Registry) {
    registry.register_with_unit(
        "clock_skew",
        "How far this process's clock is ahead of the servers' that it talks to",
        Unit::Seconds,
        SKEW.clone(),
    );
}

/// Takes the `Date` of an answer that has just come, so long after it was asked for.
pub fn heard(server: Server, date: Option<&str>, took: Duration) {
    let ours = Timestamp::now();
    let mut estimate = ESTIMATE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(offset) = estimate.hear(server, date, took, ours, Instant::now()) else {
        return;
    };
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of a wrong clock")]
    SKEW.set(-offset as f64 / 1000.0);
    if (offset - estimate.shift).abs() <= TOLERATED {
        return;
    }
    estimate.shift = if offset.abs() > TOLERATED { offset } else { 0 };
    SHIFT.store(estimate.shift, Ordering::Relaxed);
    let skew = SignedDuration::from_millis(-offset);
    if estimate.shift == 0 {
        tracing::info!(%skew, "our clock agrees with the servers' again");
    } else {
        tracing::warn!(%skew, "our clock is off: deadlines go by the servers'. Is the time of this node synchronised?");
    }
}

fn shifted(time: Timestamp, milliseconds: i64) -> Timestamp {
    let shifted = time.checked_add(SignedDuration::from_millis(milliseconds));
    shifted.unwrap_or(time)
}

/// What the last answers have told.
struct Estimate {
    aws: Heard,
    api: Heard,
    /// What [`SHIFT`] is.
    shift: i64,
    /// What our clock last said, and when.
    looked: Option<(Timestamp, Instant)>,
}

/// How far one sort of server is ahead of us, in milliseconds, by its last answers.
struct Heard {
    offsets: VecDeque<i64>,
    last: Option<Instant>,
}

impl Estimate {
    const fn new() -> Self {
        Self {
            aws: Heard::new(),
            api: Heard::new(),
            shift: 0,
            looked: None,
        }
    }

    /// How far the servers are ahead of us now, if this answer is news and enough have been heard.
    fn hear(
        &mut self,
        server: Server,
        date: Option<&str>,
        took: Duration,
        ours: Timestamp,
        at: Instant,
    ) -> Option<i64> {
        if self.was_set(ours, at) {
            (self.aws, self.api) = (Heard::new(), Heard::new());
        }
        let heard = match server {
            Server::Aws => &mut self.aws,
            Server::Api => &mut self.api,
        };
        heard.hear(date.filter(|_| took < PROMPT)?, ours, at)?;
        let fresh = |h: &&Heard| h.last.is_some_and(|last| at.duration_since(last) < FRESH);
        let aws = Some(&self.aws).filter(fresh).and_then(Heard::median);
        aws.or_else(|| self.api.median())
    }

    /// Whether somebody has set our clock since we last looked: then what was heard by it says nothing any more.
    fn was_set(&mut self, ours: Timestamp, at: Instant) -> bool {
        let Some((said, before)) = self.looked.replace((ours, at)) else {
            return false;
        };
        let passed = i64::try_from(at.duration_since(before).as_millis()).unwrap_or(i64::MAX);
        let by = ours.as_millisecond() - said.as_millisecond();
        by.abs_diff(passed) > TOLERATED.unsigned_abs()
    }
}

impl Heard {
    const fn new() -> Self {
        Self {
            offsets: VecDeque::new(),
            last: None,
        }
    }

    fn hear(&mut self, date: &str, ours: Timestamp, at: Instant) -> Option<()> {
        // Clocks drift: what was heard long ago says little of now.
        if self
            .last
            .is_some_and(|last| at.duration_since(last) >= FRESH)
        {
            self.offsets.clear();
        }
        let full = self.offsets.len() >= KEPT;
        let soon = self
            .last
            .is_some_and(|last| at.duration_since(last) < APART);
        if full && soon {
            return None;
        }
        let theirs = rfc2822::parse(date).ok()?.timestamp();
        let offset = theirs.as_millisecond() + CUT_OFF - ours.as_millisecond();
        if full {
            self.offsets.pop_front();
        }
        self.offsets.push_back(offset);
        self.last = Some(at);
        Some(())
    }

    fn median(&self) -> Option<i64> {
        let mut sorted: Vec<i64> = self.offsets.iter().copied().collect();
        sorted.sort_unstable();
        (sorted.len() >= ENOUGH).then(|| sorted[sorted.len() / 2])
    }
}
