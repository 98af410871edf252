//! Whose turn it is under a policy's limit: who is at work, and who waits, the most urgent first.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use kube::ResourceExt;
use tokio::sync::broadcast;

use super::Context;
use crate::api::termination::{
    EffectivePolicy, NodeTermination, NodeTerminationStatus, Phase, WaitReason,
};
use crate::lifecycle::limits;

/// A subscriber that falls further behind than this looks at everything again.
const CHANGES: usize = 1024;

/// The places of all policies; what is not told of them is read from the records once.
pub(super) struct Turns {
    places: Mutex<Option<Places>>,
    /// Incidents whose turn may have come.
    changes: broadcast::Sender<Arc<str>>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            places: Mutex::default(),
            changes: broadcast::Sender::new(CHANGES),
        }
    }
}

/// Who goes first: the earliest deadline, then the oldest.
type Rank = (Timestamp, Timestamp, String);

/// Where one incident stands.
#[derive(Clone, Debug, PartialEq)]
enum Stand {
    AtWork,
    Waits(Rank),
}

#[derive(Default)]
struct Places {
    /// Each incident that is at work or waits, with its policy.
    stands: HashMap<String, (String, Stand)>,
    /// Those that wait, by policy.
    waiting: HashMap<String, BTreeSet<Rank>>,
}

impl Places {
    /// Takes down where an incident stands now. Returns who may go on account of it.
    fn put(&mut self, name: &str, policy: &str, stand: Option<Stand>) -> Option<String> {
        let before = self.stands.get(name).cloned();
        if before.as_ref().map(|(p, s)| (p.as_str(), s)) == stand.as_ref().map(|s| (policy, s)) {
            return None;
        }
        if let Some((policy, Stand::Waits(rank))) = &before {
            self.waiting.get_mut(policy)?.remove(rank);
        }
        if let Some(Stand::Waits(rank)) = &stand {
            let waiting = self.waiting.entry(policy.to_owned()).or_default();
            waiting.insert(rank.clone());
        }
        match stand {
            Some(stand) => self
                .stands
                .insert(name.to_owned(), (policy.to_owned(), stand)),
            None => self.stands.remove(name),
        };
        let (left, _) = before?;
        self.waiting
            .get(&left)?
            .first()
            .map(|(_, _, next)| next.clone())
    }

    /// Whether the incident goes next, given how many of the policy's may be at work.
    fn is_turn(&self, name: &str, policy: &str, rank: &Rank, most: u32) -> bool {
        let places = self
            .stands
            .iter()
            .filter(|(other, (p, stand))| *other != name && p == policy && *stand == Stand::AtWork);
        let waiting = self.waiting.get(policy);
        let before = waiting.map_or(0, |w| w.range(..rank.clone()).count());
        places.count() + before < most as usize
    }
}

fn rank(object: &NodeTermination, status: &NodeTerminationStatus) -> Rank {
    let deadline = status.deadline.as_ref().map_or(Timestamp::MAX, |d| d.0);
    let made = object.metadata.creation_timestamp.as_ref();
    (
        deadline,
        made.map_or(Timestamp::MIN, |t| t.0),
        object.name_any(),
    )
}

/// Where an incident stands by its record.
fn stand(object: &NodeTermination, status: &NodeTerminationStatus) -> Option<Stand> {
    let over = |p: Phase| p == Phase::Released || p.is_finished();
    let waits = status.waiting.as_ref().map(|w| w.reason);
    let rests = matches!(waits, Some(WaitReason::Held | WaitReason::Uncordoned));
    if status.phase.is_some_and(over) || rests {
        None
    } else if status.started_at.is_some() {
        Some(Stand::AtWork)
    } else {
        (waits == Some(WaitReason::LimitReached)).then(|| Stand::Waits(rank(object, status)))
    }
}

impl Turns {
    /// Incidents whose turn may have come, from now on.
    pub(super) fn changes(&self) -> broadcast::Receiver<Arc<str>> {
        self.changes.subscribe()
    }

    /// Takes down what the incident's record says now.
    pub(super) fn note(&self, object: &NodeTermination, status: &NodeTerminationStatus) {
        let policy = status.policy.as_ref().map_or("", |p| p.name.as_str());
        self.put(&object.name_any(), policy, stand(object, status));
    }

    /// The incident's object is gone.
    pub(super) fn forget(&self, name: &str) {
        self.put(name, "", None);
    }

    fn put(&self, name: &str, policy: &str, stand: Option<Stand>) {
        // Before they were asked for, nobody can wait for a turn.
        let next = self
            .lock()
            .as_mut()
            .and_then(|p| p.put(name, policy, stand));
        if let Some(next) = next {
            // Nobody listens while the last leader task ends.
            let _ = self.changes.send(next.into());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Places>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Context {
    /// Whether the incident may start now. A yes holds its place.
    pub(super) fn is_turn_of(&self, object: &NodeTermination, policy: &EffectivePolicy) -> bool {
        let Some(most) = limits::most(&policy.limits, self.nodes_of(policy)) else {
            return true;
        };
        let name = object.name_any();
        let status = object.status.clone().unwrap_or_default();
        let mut places = self.turns.lock();
        let places = places.get_or_insert_with(|| self.places());
        let turn = places.is_turn(&name, &policy.name, &rank(object, &status), most);
        let next = turn
            .then(|| places.put(&name, &policy.name, Some(Stand::AtWork)))
            .flatten();
        if let Some(next) = next {
            // There may be a place for one more.
            let _ = self.turns.changes.send(next.into());
        }
        turn
    }

    /// The places as the records have them.
    fn places(&self) -> Places {
        let mut places = Places::default();
        for object in self.terminations.all() {
            let Ok(object) = &object.0 else { continue };
            let name = object.name_any();
            let known = self
                .memories
                .status(&name)
                .or_else(|| object.status.clone());
            let status = known.unwrap_or_default();
            let policy = status.policy.as_ref().map_or("", |p| p.name.as_str());
            places.put(&name, policy, stand(object, &status));
        }
        places
    }

    /// How many nodes the policy speaks for, as its status says.
    fn nodes_of(&self, policy: &EffectivePolicy) -> u32 {
        let policies = self.policies.all();
        let mut nodes = policies.filter_map(|p| {
            let object = p.0.as_ref().ok().filter(|p| p.name_any() == policy.name)?;
            Some(object.status.as_ref()?.matched_nodes)
        });
        nodes.next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(deadline: i64, name: &str) -> Rank {
        let deadline = Timestamp::from_second(deadline).unwrap();
        (deadline, Timestamp::MIN, name.to_owned())
    }

    fn waits(places: &mut Places, deadline: i64, name: &str) -> Option<String> {
        places.put(name, "p", Some(Stand::Waits(rank(deadline, name))))
    }

    #[test]
    fn places_are_given_to_the_most_urgent_and_never_more_than_there_are() {
        let mut places = Places::default();
        places.put("a", "p", Some(Stand::AtWork));
        places.put("other", "q", Some(Stand::AtWork));
        assert!(places.is_turn("b", "p", &rank(9, "b"), 2));
        assert!(!places.is_turn("b", "p", &rank(9, "b"), 1));
        waits(&mut places, 9, "b");
        waits(&mut places, 5, "c");
        assert!(!places.is_turn("b", "p", &rank(9, "b"), 2), "c goes first");
        assert!(places.is_turn("c", "p", &rank(5, "c"), 2));
    }

    #[test]
    fn whoever_leaves_wakes_the_next_one() {
        let mut places = Places::default();
        places.put("a", "p", Some(Stand::AtWork));
        assert_eq!(waits(&mut places, 9, "b"), None);
        assert_eq!(waits(&mut places, 5, "c"), None);
        let next = |name: &str| Some(name.to_owned());
        assert_eq!(places.put("a", "p", None), next("c"));
        assert_eq!(places.put("c", "p", Some(Stand::AtWork)), next("b"));
        assert_eq!(places.put("c", "p", Some(Stand::AtWork)), None, "no news");
        assert_eq!(places.put("b", "p", None), None);
    }
}
