//! What time it is, by the clocks of those whose times we go by.
//!
//! A deadline is absolute and comes from AWS: a process whose own clock is wrong would meet none. Our clock is looked at
//! once, and time goes on from there by what has passed: whoever sets it later, even right, moves no deadline.
//! Every answer over HTTP says in its `Date` what time its server had, in whole seconds; the median of the last few tells
//! how far that is off. Two seconds are let pass: one answer is not more exact than that.

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

/// What our clock said when we first looked, and when that was.
static START: LazyLock<(Timestamp, Instant)> = LazyLock::new(|| (Timestamp::now(), Instant::now()));
/// Milliseconds to add to what has become of that.
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
    shifted(reckoned(Instant::now()), SHIFT.load(Ordering::Relaxed))
}

/// Puts the skew of our clock into the registry.
pub fn register(registry: &mut Registry) {
    registry.register_with_unit(
        "clock_skew",
        "How far the clock of this process's machine is ahead of the servers' that it talks to",
        Unit::Seconds,
        SKEW.clone(),
    );
}

/// Takes the `Date` of an answer that has just come, so long after it was asked for.
pub fn heard(server: Server, date: Option<&str>, took: Duration) {
    let at = Instant::now();
    let ours = reckoned(at);
    let mut estimate = ESTIMATE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(offset) = estimate.hear(server, date, took, ours, at) else {
        return;
    };
    if differs(&mut estimate.shift, offset) {
        SHIFT.store(estimate.shift, Ordering::Relaxed);
        let by = SignedDuration::from_millis(estimate.shift);
        tracing::info!(%by, "the time since our first look at our clock is corrected by the servers'");
    }
    let theirs = shifted(ours, offset).as_millisecond();
    tell(&mut estimate, Timestamp::now().as_millisecond() - theirs);
}

/// Says how far our clock is ahead now: nothing goes by it any more, but whoever runs the machine should know.
fn tell(estimate: &mut Estimate, ahead: i64) {
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of a wrong clock")]
    SKEW.set(ahead as f64 / 1000.0);
    if !differs(&mut estimate.told, ahead) {
        return;
    }
    let skew = SignedDuration::from_millis(ahead);
    if estimate.told == 0 {
        tracing::info!(%skew, "our clock agrees with the servers' again");
    } else {
        tracing::warn!(%skew, "our clock is off: deadlines go by the servers'. Is the time of this node synchronised?");
    }
}

/// Whether the error is not the known one any more, which is the new one then; one that is let pass is none.
fn differs(known: &mut i64, found: i64) -> bool {
    if (found - *known).abs() <= TOLERATED {
        return false;
    }
    *known = if found.abs() > TOLERATED { found } else { 0 };
    true
}

/// What our clock would say, had nobody set it since we first looked. A machine that was suspended is behind by that,
/// until the servers tell.
fn reckoned(at: Instant) -> Timestamp {
    let (said, looked) = *START;
    let passed = at.saturating_duration_since(looked);
    said.checked_add(passed).unwrap_or(said)
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
    /// How far our clock was ahead when it was last told of; 0 if it agreed.
    told: i64,
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
            told: 0,
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
        let heard = match server {
            Server::Aws => &mut self.aws,
            Server::Api => &mut self.api,
        };
        heard.hear(date.filter(|_| took < PROMPT)?, ours, at)?;
        let fresh = |h: &&Heard| h.last.is_some_and(|last| at.duration_since(last) < FRESH);
        let aws = Some(&self.aws).filter(fresh).and_then(Heard::median);
        aws.or_else(|| self.api.median())
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
