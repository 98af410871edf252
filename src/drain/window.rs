//! The time that a drain has, and what it makes of each pod's grace period.

use jiff::{SignedDuration, Timestamp};

/// Grace 0 removes the object without asking the kubelet: two copies of a `StatefulSet` pod could run.
const GRACE_FLOOR: SignedDuration = SignedDuration::from_secs(1);

/// A quarter of the window belongs to polite eviction, however long a pod's grace period is.
const POLITE_SHARE: i32 = 4;

/// `time` + `by`, or the end of time.
#[must_use]
pub fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// From when until when a node is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// When work started.
    pub start: Timestamp,
    /// When the machine goes.
    pub deadline: Timestamp,
    /// What kill, unmount and report of the last pod take.
    pub margin: SignedDuration,
}

impl Window {
    /// When the last pod must have ended: the deadline less the margin.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.deadline
            .checked_sub(self.margin)
            .unwrap_or(self.deadline)
    }

    /// When a drain that has not ended has failed. Half of the margin is left for the kubelet's report of pods
    /// whose grace was cut to [`Self::end`], the other half for completing the lifecycle action in time.
    #[must_use]
    pub fn over(&self) -> Timestamp {
        self.deadline
            .checked_sub(self.margin / 2)
            .unwrap_or(self.deadline)
    }

    /// The grace period that a pod gets if it is told to end now: its own, cut to what is left, never below 1 s.
    #[must_use]
    pub fn grace(&self, own: SignedDuration, now: Timestamp) -> SignedDuration {
        let left = self.end().duration_since(now);
        let whole_seconds = SignedDuration::from_secs(own.min(left).as_secs());
        whole_seconds.max(GRACE_FLOOR)
    }

    /// The last moment to tell a pod to end without cutting its grace, but not in the first quarter of the window.
    #[must_use]
    pub fn latest_start(&self, own: SignedDuration) -> Timestamp {
        let polite = self
            .end()
            .duration_since(self.start)
            .max(SignedDuration::ZERO)
            / POLITE_SHARE;
        let earliest = self.start.checked_add(polite).unwrap_or(self.start);
        self.end()
            .checked_sub(own)
            .unwrap_or(earliest)
            .max(earliest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn spot() -> Window {
        Window {
            start: at(0),
            deadline: at(120),
            margin: SignedDuration::from_secs(8),
        }
    }

    #[test]
    fn grace_is_cut_to_what_is_left_and_never_below_a_second() {
        for (own, now, given) in [
            (30, 0, 30),
            (30, 82, 30),
            (30, 100, 12),
            (600, 0, 112),
            (30, 112, 1),
            (30, 500, 1),
            (0, 0, 1),
        ] {
            assert_eq!(
                spot().grace(SignedDuration::from_secs(own), at(now)),
                SignedDuration::from_secs(given),
                "{own} at {now}"
            );
        }
    }

    #[test]
    fn the_latest_start_leaves_the_whole_grace_but_not_less_than_a_quarter_to_politeness() {
        for (own, start) in [(30, 82), (0, 112), (84, 28), (600, 28)] {
            assert_eq!(
                spot().latest_start(SignedDuration::from_secs(own)),
                at(start),
                "{own}"
            );
        }
    }

    #[test]
    fn a_window_that_is_over_at_the_start_acts_at_once() {
        let late = Window {
            start: at(200),
            deadline: at(120),
            margin: SignedDuration::from_secs(8),
        };
        assert_eq!(late.latest_start(SignedDuration::from_secs(30)), at(200));
        assert_eq!(
            late.grace(SignedDuration::from_secs(30), at(200)),
            SignedDuration::from_secs(1)
        );
    }
}
