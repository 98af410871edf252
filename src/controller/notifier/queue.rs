//! What is to be sent, to whom, and who is left alone for a while. One receiver that is slow or dead holds up no other.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tokio::time::Instant;

use crate::api::policy::Stage;
use crate::api::termination::{
    NodeTermination, NodeTerminationStatus, NotificationState, NotificationStatus,
};
use crate::lifecycle::{Notified, notices};

/// Notifications that wait, or whose end is not on record yet: each holds on to its incident's record.
const QUEUE: usize = 2048;
/// Requests in flight to one receiver,
const IN_FLIGHT: usize = 4;
/// and to all.
const IN_FLIGHT_ALL: usize = 16;
/// A receiver that failed is left alone for this long, doubled each time,
const BACK_OFF_FIRST: Duration = Duration::from_secs(1);
/// up to this.
const BACK_OFF_LAST: Duration = Duration::from_mins(1);
/// What was not accepted for so long after its stage is given up, and is no news any more.
const GIVEN_UP_AFTER: SignedDuration = SignedDuration::from_mins(15);

/// One notification: which incident, by UID, whom, and what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    uid: String,
    name: String,
    stage: Stage,
}

/// A receiver: a policy and the notification's name in it.
type Receiver = (String, String);

struct Delivery {
    incident: Arc<str>,
    receiver: Receiver,
    row: NotificationStatus,
    /// The incident as it was written; nothing once it is settled.
    object: Option<Arc<NodeTermination>>,
    attempts: u32,
    state: State,
}

enum State {
    Waiting(Instant),
    InFlight,
    Settled(Notified),
}

#[derive(Default)]
struct Patience {
    in_flight: usize,
    failures: u32,
    until: Option<Instant>,
    message: String,
}

/// Something to be sent now.
pub(super) struct Task {
    /// The incident's name.
    pub incident: Arc<str>,
    /// The policy's name.
    pub policy: String,
    /// The row of the record.
    pub row: NotificationStatus,
    /// The incident.
    pub object: Arc<NodeTermination>,
    key: Key,
}

/// What may be done.
pub(super) enum Next {
    /// This may be sent.
    Send(Box<Task>),
    /// Nothing before that time; without one, until something is handed in or answered.
    At(Option<Instant>),
}

/// What came of a task.
pub(super) enum End {
    /// That is the end of it.
    Settled(NotificationState, Option<Timestamp>, Option<String>),
    /// Once more, but not before so long has passed.
    Again(String, Duration),
}

/// See the module.
#[derive(Default)]
pub(super) struct Queue {
    deliveries: BTreeMap<Key, Delivery>,
    receivers: HashMap<Receiver, Patience>,
}

impl Queue {
    /// Takes the pending rows of a stored record. `false`: there is no room for all.
    pub(super) fn offer(
        &mut self,
        object: &NodeTermination,
        stored: &NodeTerminationStatus,
    ) -> bool {
        let (uid, incident) = (object.uid().unwrap_or_default(), object.name_any());
        let policy = stored.policy.as_ref().map_or("", |p| p.name.as_str());
        let (mut kept, mut name) = (None, None::<Arc<str>>);
        for row in notices::pending(stored) {
            let key = Key {
                uid: uid.clone(),
                name: row.name.clone(),
                stage: row.stage,
            };
            if self.deliveries.contains_key(&key) {
                continue;
            }
            if self.deliveries.len() >= QUEUE {
                return false;
            }
            let object = kept.get_or_insert_with(|| {
                let mut object = object.clone();
                object.status = Some(stored.clone());
                Arc::new(object)
            });
            let delivery = Delivery {
                incident: name
                    .get_or_insert_with(|| Arc::from(incident.as_str()))
                    .clone(),
                receiver: (policy.to_owned(), row.name.clone()),
                row: row.clone(),
                object: Some(object.clone()),
                attempts: 0,
                state: State::Waiting(Instant::now()),
            };
            self.deliveries.insert(key, delivery);
        }
        true
    }

    /// What may be sent next: the first stage of an incident before its later ones, what was tried least before the rest.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        let in_flight: usize = self.receivers.values().map(|r| r.in_flight).sum();
        let (mut best, mut wake) = (None, None);
        let mut head: Option<(&str, &str)> = None;
        for (key, delivery) in &self.deliveries {
            if matches!(delivery.state, State::Settled(_)) {
                continue;
            }
            let of_receiver = Some((key.uid.as_str(), key.name.as_str()));
            let first = std::mem::replace(&mut head, of_receiver) != of_receiver;
            let State::Waiting(since) = delivery.state else {
                continue;
            };
            if !first {
                continue;
            }
            let patience = self.receivers.get(&delivery.receiver);
            let until = patience.and_then(|p| p.until).unwrap_or(since).max(since);
            let probing = patience.is_some_and(|p| p.failures > 0);
            let room = if probing { 1 } else { IN_FLIGHT };
            if patience.is_some_and(|p| p.in_flight >= room) {
                continue;
            }
            if until > now {
                wake = Some(wake.map_or(until, |w: Instant| w.min(until)));
                continue;
            }
            let rank = (delivery.attempts, delivery.row.reached_at.0, key);
            if best.as_ref().is_none_or(|b| rank < *b) {
                best = Some(rank);
            }
        }
        let Some((_, _, key)) = best.filter(|_| in_flight < IN_FLIGHT_ALL) else {
            return Next::At(wake);
        };
        let key = key.clone();
        self.take(key)
            .map_or(Next::At(wake), |task| Next::Send(Box::new(task)))
    }

    fn take(&mut self, key: Key) -> Option<Task> {
        let delivery = self.deliveries.get_mut(&key)?;
        let object = delivery.object.clone()?;
        delivery.state = State::InFlight;
        let receiver = delivery.receiver.clone();
        self.receivers.entry(receiver).or_default().in_flight += 1;
        Some(Task {
            incident: delivery.incident.clone(),
            policy: delivery.receiver.0.clone(),
            row: delivery.row.clone(),
            object,
            key,
        })
    }

    /// Takes down what came of a task. Returns how the notification stands now.
    pub(super) fn end(
        &mut self,
        task: &Task,
        end: End,
        now: Instant,
        time: Timestamp,
    ) -> NotificationState {
        let Some(delivery) = self.deliveries.get_mut(&task.key) else {
            return NotificationState::Failed;
        };
        let patience = self.receivers.entry(delivery.receiver.clone()).or_default();
        patience.in_flight = patience.in_flight.saturating_sub(1);
        match end {
            End::Settled(state, sent_at, message) => {
                // It answers: even a refusal shows that it is well.
                patience.failures = 0;
                patience.until = None;
                settle(delivery, state, sent_at, message);
                state
            }
            End::Again(message, at_least) => {
                let wait = back_off(patience.failures).max(at_least);
                patience.failures = patience.failures.saturating_add(1);
                patience.until = Some(now + wait);
                patience.message.clone_from(&message);
                let again = now + back_off(delivery.attempts).max(at_least);
                delivery.attempts = delivery.attempts.saturating_add(1);
                delivery.state = State::Waiting(again);
                if is_over(&delivery.row, time) {
                    settle(delivery, NotificationState::Failed, None, Some(message));
                    return NotificationState::Failed;
                }
                NotificationState::Pending
            }
        }
    }

    /// Gives up what is too old for a receiver that fails: with many, each would wait long for an attempt of its own.
    /// Returns the stages and the incidents.
    pub(super) fn expire(&mut self, now: Instant, time: Timestamp) -> Vec<(Stage, Arc<str>)> {
        let mut expired = Vec::new();
        for (key, delivery) in &mut self.deliveries {
            let failing = self.receivers.get(&delivery.receiver);
            let Some(failing) = failing.filter(|p| p.until.is_some_and(|until| until > now)) else {
                continue;
            };
            if matches!(delivery.state, State::Waiting(_)) && is_over(&delivery.row, time) {
                let message = Some(failing.message.clone());
                settle(delivery, NotificationState::Failed, None, message);
                expired.push((key.stage, delivery.incident.clone()));
            }
        }
        expired
    }

    /// What has come to an end and is not on record yet. What the record shows is forgotten.
    pub(super) fn settled(
        &mut self,
        uid: &str,
        stored: Option<&NodeTerminationStatus>,
    ) -> Vec<Notified> {
        let rows = stored.map_or(&[][..], |s| &s.notifications);
        let from = Key {
            uid: uid.to_owned(),
            name: String::new(),
            stage: Stage::Received,
        };
        let of_incident = self
            .deliveries
            .range(from..)
            .take_while(|(key, _)| key.uid == uid);
        let (mut settled, mut shown) = (Vec::new(), Vec::new());
        for (key, delivery) in of_incident {
            let State::Settled(notified) = &delivery.state else {
                continue;
            };
            let is = |r: &&NotificationStatus| r.name == key.name && r.stage == key.stage;
            let row = rows.iter().find(is);
            if row.is_some_and(|r| r.state != NotificationState::Pending) {
                shown.push(key.clone());
            } else {
                settled.push(notified.clone());
            }
        }
        for key in shown {
            self.deliveries.remove(&key);
        }
        settled
    }

    /// Forgets what is settled of incidents whose objects are gone, and receivers that nothing waits for.
    pub(super) fn forget_gone(&mut self, is_there: impl Fn(&str) -> bool) {
        self.deliveries
            .retain(|key, d| !matches!(d.state, State::Settled(_)) || is_there(&key.uid));
        let deliveries = &self.deliveries;
        self.receivers
            .retain(|receiver, _| deliveries.values().any(|d| d.receiver == *receiver));
    }

    /// Nobody is to be told of anything.
    pub(super) fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && self.receivers.is_empty()
    }

    /// How many are still to be sent.
    pub(super) fn waiting(&self) -> usize {
        let open = |d: &&Delivery| !matches!(d.state, State::Settled(_));
        self.deliveries.values().filter(open).count()
    }
}

fn settle(
    delivery: &mut Delivery,
    state: NotificationState,
    sent_at: Option<Timestamp>,
    message: Option<String>,
) {
    delivery.object = None;
    delivery.state = State::Settled(Notified {
        name: delivery.row.name.clone(),
        stage: delivery.row.stage,
        state,
        sent_at,
        message,
    });
}

fn is_over(row: &NotificationStatus, time: Timestamp) -> bool {
    time.duration_since(row.reached_at.0) >= GIVEN_UP_AFTER
}

fn back_off(times: u32) -> Duration {
    (BACK_OFF_FIRST * 2_u32.pow(times.min(6))).min(BACK_OFF_LAST)
}

#[cfg(test)]
mod tests;
