//! The arithmetic of lifecycle actions: deadlines and the grid of heartbeats.

use jiff::{SignedDuration, Timestamp};

use super::view::HookTimeout;
use crate::api::policy::{Drain, Heartbeat, Lifecycle};
use crate::api::termination::Signal;
use crate::drain::window::later;

/// A heartbeat is sent so long after its time at most, as when the leader died: not one that was overdue long before.
const LATE_MAX: SignedDuration = SignedDuration::from_secs(20);

/// When the instance goes on account of this signal.
#[must_use]
pub fn deadline(
    signal: &Signal,
    hook: Option<&HookTimeout>,
    drain: &Drain,
    lifecycle: &Lifecycle,
) -> Timestamp {
    if let Some(deadline) = &signal.deadline {
        return deadline.0;
    }
    let notice = signal.notice_time.0;
    match hook {
        Some(HookTimeout::Known { heartbeat, global }) => {
            let last = lifecycle
                .heartbeat
                .as_ref()
                .map_or(SignedDuration::ZERO, |h| {
                    Grid::new(h, Some(*heartbeat)).last()
                });
            later(notice, (last + *heartbeat).min(*global))
        }
        _ => later(
            notice,
            SignedDuration::from_secs(i64::from(drain.timeout_seconds)),
        ),
    }
}

/// Auto Scaling ends every lifecycle action after 48 hours at the latest (`PutLifecycleHook`, heartbeat timeout).
const LIFE_MAX: SignedDuration = SignedDuration::from_hours(48);

/// When the signal's lifecycle action is over by itself, whatever anybody does.
#[must_use]
pub fn end_of_life(signal: &Signal, hook: Option<&HookTimeout>) -> Timestamp {
    let life = match hook {
        Some(HookTimeout::Known { global, .. }) => (*global).min(LIFE_MAX),
        _ => LIFE_MAX,
    };
    later(signal.notice_time.0, life)
}

/// When heartbeats are due: the n-th at the notice + n × interval, without jitter, so that a restart keeps the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    interval: SignedDuration,
    until: SignedDuration,
    /// The interval of the policy is not below the hook's time-out.
    pub shortened: bool,
}

impl Grid {
    /// The grid of the settings; an interval that the hook would not survive is cut to half of its time-out.
    #[must_use]
    pub fn new(heartbeat: &Heartbeat, timeout: Option<SignedDuration>) -> Self {
        let interval = SignedDuration::from_secs(i64::from(heartbeat.interval_seconds));
        let until = SignedDuration::from_secs(i64::from(heartbeat.until_seconds));
        let shortened = timeout
            .filter(|t| interval >= *t)
            .map(|t| SignedDuration::from_secs((t.as_secs() / 2).max(1)));
        Self {
            interval: shortened.unwrap_or(interval),
            until,
            shortened: shortened.is_some(),
        }
    }

    /// The last heartbeat, counted from the notice.
    #[must_use]
    pub fn last(&self) -> SignedDuration {
        self.nth(self.until.as_secs() / self.interval.as_secs().max(1))
    }

    /// The first heartbeat strictly after `now`, or none if it would be after the last.
    #[must_use]
    pub fn after(&self, notice: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let elapsed = now
            .duration_since(notice)
            .max(SignedDuration::ZERO)
            .as_secs();
        let next = self.nth(elapsed / self.interval.as_secs().max(1) + 1);
        (next <= self.until).then(|| later(notice, next))
    }

    /// The first heartbeat of all. It is overdue when the notice came late, and then due at once.
    #[must_use]
    pub fn first(&self, notice: Timestamp) -> Option<Timestamp> {
        (self.interval <= self.until).then(|| later(notice, self.interval))
    }

    /// Whether the time for heartbeats is over. The deadline counts on the last one, which is sent though it comes late.
    #[must_use]
    pub fn is_over(&self, notice: Timestamp, now: Timestamp) -> bool {
        now.duration_since(notice) > self.until.max(self.last() + LATE_MAX)
    }

    fn nth(&self, n: i64) -> SignedDuration {
        SignedDuration::from_secs(self.interval.as_secs().saturating_mul(n))
    }
}

#[cfg(test)]
mod tests;
