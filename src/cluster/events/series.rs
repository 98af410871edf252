//! Which happenings are one Event: those that say the same of the same object, one soon after the other.
//!
//! kube's own Recorder does not look at the note: whatever is told of an object for the same reason again would be shown
//! with the words of the first.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::core::ObjectMeta;

use super::super::FIELD_MANAGER;
use super::Happening;
use crate::api::bounded;

/// What is told again within this of the last time is counted up.
const LASTS: SignedDuration = SignedDuration::from_mins(6);

/// So many are remembered. What is told again after it was forgotten is a new Event.
const REMEMBERED: usize = 4096;

/// The longest note that the API server takes, in bytes (events.k8s.io validation).
const NOTE_MAX: usize = 1024;

/// What was told lately.
pub(super) struct Series {
    instance: String,
    /// By a digest of all that people see of it.
    told: HashMap<u64, Told>,
}

struct Told {
    name: String,
    count: i32,
    last: Timestamp,
}

impl Series {
    /// Nothing was told yet by this replica.
    pub(super) fn new(instance: String) -> Self {
        Self {
            instance,
            told: HashMap::new(),
        }
    }

    /// The Event for it: a new one, or the one that it belongs to, with its count.
    pub(super) fn event(&self, happening: &Happening, now: Timestamp) -> Event {
        let told = self.told.get(&digest(happening));
        let lasts = |t: &&Told| now.duration_since(t.last) < LASTS;
        let of = told.filter(lasts);
        let regarding = &happening.regarding;
        let subject = regarding.name.as_deref().unwrap_or(FIELD_MANAGER);
        let new = || format!("{subject}.{:x}", now.as_nanosecond());
        Event {
            metadata: ObjectMeta {
                name: Some(of.map_or_else(new, |t| t.name.clone())),
                namespace: regarding.namespace.clone(),
                ..ObjectMeta::default()
            },
            series: of.map(|t| EventSeries {
                count: t.count.saturating_add(1),
                last_observed_time: MicroTime(now),
            }),
            event_time: Some(MicroTime(now)),
            type_: Some(kind(happening).to_owned()),
            reason: Some(happening.reason.to_owned()),
            action: Some(happening.action.to_owned()),
            note: Some(bounded(happening.note.clone(), NOTE_MAX)),
            regarding: Some(regarding.clone()),
            related: happening.related.clone(),
            reporting_controller: Some(FIELD_MANAGER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }

    /// It was published.
    pub(super) fn published(&mut self, happening: &Happening, event: &Event, now: Timestamp) {
        if self.told.len() >= REMEMBERED {
            self.told
                .retain(|_, told| now.duration_since(told.last) < LASTS);
        }
        if self.told.len() >= REMEMBERED {
            self.told.clear();
        }
        let told = Told {
            name: event.metadata.name.clone().unwrap_or_default(),
            count: event.series.as_ref().map_or(1, |s| s.count),
            last: now,
        };
        self.told.insert(digest(happening), told);
    }

    /// Its Event is not there, as far as is known.
    pub(super) fn forget(&mut self, happening: &Happening) {
        self.told.remove(&digest(happening));
    }
}

fn kind(happening: &Happening) -> &'static str {
    if happening.warning {
        "Warning"
    } else {
        "Normal"
    }
}

fn digest(happening: &Happening) -> u64 {
    let mut hasher = DefaultHasher::new();
    let (regarding, related) = (&happening.regarding, happening.related.as_ref());
    (&regarding.kind, &regarding.namespace, &regarding.name).hash(&mut hasher);
    (&regarding.uid, related.map(|r| &r.uid)).hash(&mut hasher);
    let said = (kind(happening), happening.reason, happening.action);
    (said, &happening.note).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ObjectReference;

    fn at_risk(note: &str) -> Happening {
        Happening {
            regarding: ObjectReference {
                kind: Some("NodeTermination".into()),
                name: Some("i-1".into()),
                uid: Some("u".into()),
                ..ObjectReference::default()
            },
            related: None,
            warning: true,
            reason: "DeadlineAtRisk",
            action: "Terminate",
            note: note.into(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// The Event's name, its count and its note, when it is told at that second.
    fn told(series: &mut Series, happening: &Happening, second: i64) -> (String, i32, String) {
        let event = series.event(happening, at(second));
        series.published(happening, &event, at(second));
        let count = event.series.as_ref().map_or(1, |s| s.count);
        (event.metadata.name.unwrap(), count, event.note.unwrap())
    }

    #[test]
    fn the_same_is_counted_up_and_another_note_is_another_event() {
        let mut series = Series::new("replica".into());
        let (cut, stuck) = (at_risk("has 110 s"), at_risk("still runs"));
        let (first, count, _) = told(&mut series, &cut, 1);
        assert_eq!(count, 1);
        let (second, count, note) = told(&mut series, &stuck, 2);
        assert_ne!(second, first);
        assert_eq!((count, note.as_str()), (1, "still runs"));
        let again = told(&mut series, &cut, 3);
        assert_eq!(again, (first.clone(), 2, "has 110 s".into()));
        let other = Happening {
            regarding: ObjectReference {
                uid: Some("another".into()),
                ..cut.regarding.clone()
            },
            ..cut.clone()
        };
        assert_eq!(told(&mut series, &other, 4).1, 1, "of another object");
        let (late, count, _) = told(&mut series, &cut, 3 + 360);
        assert_eq!(count, 1, "it was told long ago");
        assert_ne!(late, first);
        series.forget(&cut);
        assert_eq!(told(&mut series, &cut, 3 + 361).1, 1, "it is not there");
    }

    #[test]
    fn what_was_told_is_forgotten_before_it_is_too_much() {
        let mut series = Series::new("replica".into());
        for number in 0..2 * REMEMBERED {
            told(&mut series, &at_risk(&number.to_string()), 1);
            assert!(series.told.len() <= REMEMBERED);
        }
    }
}
