//! What to do about a lease, from what was seen of it: pure, `now` is an argument.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::Instant;

use super::Config;

/// What of a lease tells that its holder is alive.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Record {
    pub(super) holder: Option<String>,
    pub(super) renewed: Option<Timestamp>,
    pub(super) transitions: Option<i32>,
    pub(super) duration_seconds: Option<i32>,
}

impl From<&Lease> for Record {
    fn from(lease: &Lease) -> Self {
        let Some(spec) = &lease.spec else {
            return Self::default();
        };
        Self {
            holder: spec.holder_identity.clone(),
            renewed: spec.renew_time.as_ref().map(|time| time.0),
            transitions: spec.lease_transitions,
            duration_seconds: spec.lease_duration_seconds,
        }
    }
}

impl Record {
    /// The holder; a released lease has an empty one.
    fn holder(&self) -> Option<&str> {
        self.holder.as_deref().filter(|holder| !holder.is_empty())
    }

    /// How long its holder may still think it leads: as it wrote itself, if that is longer than ours.
    fn lasts(&self, ours: Duration) -> Duration {
        let seconds = self.duration_seconds.unwrap_or_default();
        let theirs = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        theirs.max(ours)
    }
}

/// The record as last seen, and since when it has been seen so.
#[derive(Debug)]
pub(super) struct Observed {
    record: Option<Record>,
    since: Instant,
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Write the lease as ours: renew it, take it over, or create it.
    Hold,
    /// Look again later.
    Wait,
}

impl Observed {
    /// Nothing seen yet.
    pub(super) fn nothing(now: Instant) -> Self {
        Self {
            record: None,
            since: now,
        }
    }

    /// Takes note of the record as it was at `now`.
    pub(super) fn update(&mut self, record: Option<Record>, now: Instant) {
        if record != self.record {
            self.record = record;
            self.since = now;
        }
    }

    pub(super) fn decide(&self, config: &Config, now: Instant) -> Step {
        let Some(record) = &self.record else {
            return Step::Hold;
        };
        match record.holder() {
            None => Step::Hold,
            Some(holder) if holder == config.identity => Step::Hold,
            Some(_) if now - self.since >= record.lasts(config.lease_duration) => Step::Hold,
            Some(_) => Step::Wait,
        }
    }

    pub(super) fn holder(&self) -> Option<&str> {
        self.record.as_ref()?.holder()
    }

    pub(super) fn is_held_by(&self, identity: &str) -> bool {
        self.holder() == Some(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(holder: &str, duration_seconds: i32) -> Record {
        Record {
            holder: Some(holder.to_owned()),
            duration_seconds: Some(duration_seconds),
            ..Record::default()
        }
    }

    #[test]
    fn a_lease_is_taken_when_it_is_free_ours_or_silent_for_its_duration() {
        let config = Config {
            namespace: "operators".to_owned(),
            name: "leader".to_owned(),
            identity: "me".to_owned(),
            lease_duration: Duration::from_secs(15),
        };
        for (record, seconds_unchanged, step) in [
            (None, 0, Step::Hold),
            (Some(Record::default()), 0, Step::Hold),
            (Some(record("", 1)), 0, Step::Hold),
            (Some(record("me", 15)), 0, Step::Hold),
            (Some(record("other", 15)), 0, Step::Wait),
            (Some(record("other", 15)), 14, Step::Wait),
            (Some(record("other", 15)), 15, Step::Hold),
            // Ours is the least, the holder's own promise counts if it is longer.
            (Some(record("other", 1)), 14, Step::Wait),
            (Some(record("other", 60)), 59, Step::Wait),
            (Some(record("other", 60)), 60, Step::Hold),
        ] {
            let since = Instant::now();
            let now = since + Duration::from_secs(seconds_unchanged);
            let mut observed = Observed::nothing(since);
            observed.update(record, since);
            assert_eq!(observed.decide(&config, now), step, "{observed:?} {now:?}");
        }
    }

    #[test]
    fn any_change_of_the_record_is_a_sign_of_life_and_the_holders_clock_is_none() {
        let start = Instant::now();
        let later = start + Duration::from_secs(10);
        let mut observed = Observed::nothing(start);
        let long_ago = Record {
            renewed: Some(Timestamp::UNIX_EPOCH),
            ..record("other", 15)
        };
        observed.update(Some(long_ago.clone()), start);
        observed.update(Some(long_ago.clone()), later);
        assert_eq!(observed.since, start);

        let transitions = Some(1);
        observed.update(
            Some(Record {
                transitions,
                ..long_ago
            }),
            later,
        );
        assert_eq!(observed.since, later);
    }
}
