//! When what was out of order, and with it the times in which nothing can be demanded of the operator.

use jiff::{SignedDuration, Timestamp};

/// Something was out of order.
#[derive(Clone, Debug)]
pub struct Trouble {
    pub from: Timestamp,
    pub until: Timestamp,
    pub cause: Cause,
}

/// What was out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The API server or etcd was away.
    Api,
    /// Connections to the API server were cut.
    Connections,
    /// The leader was killed, frozen, or lost its lease.
    Leader,
    /// Calls to SQS failed.
    Queue,
    /// Other calls to AWS failed.
    Aws,
}

impl Cause {
    /// How long after it the operator may need until all is as if nothing had been: to list again after an outage, with
    /// watches that try again after at most 2 s; for the lease of 5 s to run out, the other to see that and to take
    /// over; for messages whose receive was not answered to be visible again, after 15 s; for a lifecycle call's back-off,
    /// of 5 and 10 s.
    pub fn recovery(self) -> SignedDuration {
        SignedDuration::from_secs(match self {
            Self::Api => 8,
            Self::Connections => 4,
            Self::Leader => 10,
            Self::Queue => 17,
            Self::Aws => 20,
        })
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Troubles(pub Vec<Trouble>);

impl Troubles {
    /// Whether one of these, its recovery included, falls into the time.
    pub fn touch(&self, from: Timestamp, until: Timestamp, causes: &[Cause]) -> bool {
        self.0.iter().any(|t| {
            causes.contains(&t.cause) && t.from <= until && t.until + t.cause.recovery() >= from
        })
    }

    /// Whether one of these began in the time.
    pub fn begin(&self, from: Timestamp, until: Timestamp, causes: &[Cause]) -> bool {
        let time = from..=until;
        let mut begun = self.0.iter().filter(|t| causes.contains(&t.cause));
        begun.any(|t| time.contains(&t.from) || time.contains(&t.until))
    }

    /// When so much time without these, their recovery included, has passed since `from`.
    pub fn well_after(
        &self,
        from: Timestamp,
        allowed: SignedDuration,
        causes: &[Cause],
    ) -> Timestamp {
        let mut spans: Vec<(Timestamp, Timestamp)> = self
            .0
            .iter()
            .filter(|t| causes.contains(&t.cause))
            .map(|t| (t.from, t.until + t.cause.recovery()))
            .collect();
        spans.sort_unstable();
        let (mut at, mut left) = (from, allowed);
        for (begins, ends) in spans {
            if ends <= at {
                continue;
            }
            let well = begins.duration_since(at).max(SignedDuration::ZERO);
            if well >= left {
                break;
            }
            left -= well;
            at = ends;
        }
        at + left
    }

    /// The last time before `time` at which a leader went.
    pub fn last_kill(&self, time: Timestamp) -> Option<Timestamp> {
        let kills = self
            .0
            .iter()
            .filter(|t| t.cause == Cause::Leader && t.from <= time);
        kills.map(|t| t.from).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn troubles() -> Troubles {
        let trouble = |from, until, cause| Trouble {
            from: at(from),
            until: at(until),
            cause,
        };
        Troubles(vec![
            trouble(10, 12, Cause::Api),
            trouble(15, 16, Cause::Api),
            trouble(30, 31, Cause::Leader),
        ])
    }

    #[test]
    fn time_in_trouble_and_in_recovery_does_not_count() {
        let allowed = SignedDuration::from_secs(5);
        for (from, reached) in [(0, 5), (6, 25), (8, 27), (11, 29), (40, 45)] {
            let reached_at = troubles().well_after(at(from), allowed, &[Cause::Api]);
            assert_eq!(reached_at, at(reached), "from {from}");
        }
    }

    #[test]
    fn a_moment_is_touched_by_a_trouble_and_by_its_recovery() {
        let touched = |from, until| troubles().touch(at(from), at(until), &[Cause::Leader]);
        assert!(!touched(20, 29) && touched(29, 30) && touched(40, 41) && !touched(42, 50));
        assert_eq!(troubles().last_kill(at(29)), None);
        assert_eq!(troubles().last_kill(at(50)), Some(at(30)));
    }
}
