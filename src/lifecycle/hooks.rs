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
mod tests {
    use super::*;
    use crate::api::Time;
    use crate::api::termination::{LifecycleHook, SignalKind};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn secs(s: i64) -> SignedDuration {
        SignedDuration::from_secs(s)
    }

    fn hook_signal() -> Signal {
        let id = "AutoScalingTermination-0123456789abcdef".to_owned();
        Signal {
            lifecycle_hook: Some(LifecycleHook::default()),
            ..Signal::new(id, SignalKind::AutoScalingTermination, Time(at(1000)))
        }
    }

    fn beating(interval_seconds: u32, until_seconds: u32) -> Lifecycle {
        Lifecycle {
            heartbeat: Some(Heartbeat {
                interval_seconds,
                until_seconds,
            }),
            ..Lifecycle::default()
        }
    }

    #[test]
    fn a_hooks_deadline_follows_from_its_timeout_and_the_planned_heartbeats() {
        let known = |ht| {
            Some(HookTimeout::Known {
                heartbeat: secs(ht),
                global: secs((100 * ht).min(172_800)),
            })
        };
        for (lifecycle, timeout, deadline_after, why) in [
            (
                Lifecycle::default(),
                known(300),
                300,
                "no heartbeats: the hook's own time-out",
            ),
            (beating(60, 600), known(300), 900, "last beat at 600"),
            (
                beating(60, 630),
                known(300),
                900,
                "the last beat on the grid is at 600",
            ),
            (
                beating(30, 172_800),
                known(300),
                30_000,
                "never longer than 100 time-outs",
            ),
            (
                beating(60, 172_800),
                known(3600),
                172_800,
                "never longer than 48 hours",
            ),
            (
                beating(600, 600),
                known(60),
                660,
                "an interval above the time-out is cut to half of it: last beat at 600",
            ),
            (
                Lifecycle::default(),
                Some(HookTimeout::Unknown("denied".into())),
                120,
                "not known: the policy's time-out",
            ),
            (Lifecycle::default(), None, 120, "not known yet"),
        ] {
            let found = deadline(
                &hook_signal(),
                timeout.as_ref(),
                &Drain::default(),
                &lifecycle,
            );
            assert_eq!(found, at(1000 + deadline_after), "{why}");
        }
        let spot = Signal {
            deadline: Some(Time(at(1120))),
            lifecycle_hook: None,
            ..hook_signal()
        };
        assert_eq!(
            deadline(&spot, None, &Drain::default(), &beating(60, 600)),
            at(1120)
        );
    }

    #[test]
    fn heartbeats_stay_on_the_grid_whatever_happens_between() {
        let grid = Grid::new(
            &Heartbeat {
                interval_seconds: 60,
                until_seconds: 200,
            },
            Some(secs(300)),
        );
        assert_eq!(grid.first(at(1000)), Some(at(1060)));
        for (now, next) in [
            (1000, Some(1060)),
            (1059, Some(1060)),
            (1060, Some(1120)),
            (1119, Some(1120)),
            (1179, Some(1180)),
            (1180, None),
            (5000, None),
        ] {
            assert_eq!(grid.after(at(1000), at(now)), next.map(at), "{now}");
        }
        assert!(!grid.is_over(at(1000), at(1200)) && grid.is_over(at(1000), at(1201)));
    }

    #[test]
    fn the_last_heartbeat_is_sent_though_it_falls_on_the_end_and_a_timer_is_never_early() {
        let heartbeat = Heartbeat {
            interval_seconds: 60,
            until_seconds: 3600,
        };
        let grid = Grid::new(&heartbeat, Some(secs(120)));
        assert_eq!(grid.after(at(1000), at(4599)), Some(at(4600)));
        let a_little_late = at(4600) + SignedDuration::from_millis(5);
        assert!(!grid.is_over(at(1000), a_little_late));
        assert!(grid.is_over(at(1000), at(4621)), "long overdue");
    }
}
