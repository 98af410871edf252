//! Pods that come to a node in spite of its cordon: they are made to leave, but nobody is chased in circles.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::pod::Pod;
use super::window::later;

/// A scheduler may not have seen the cordon for a moment: what it binds meanwhile is no sign of a loop.
const UNAWARE: SignedDuration = SignedDuration::from_secs(5);
/// So many of one owner are evicted that came later than that. The next would only bring another.
const OF_ONE_OWNER: usize = 3;

/// So many owners are told apart; the pods of all others count as one owner's. A Job may be made every second.
const OWNERS_MAX: usize = 256;
/// The name of those others.
const OTHERS: &str = "many owners";

/// Who came in spite of the cordon, by owner: UIDs of pods that were to leave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    owners: BTreeMap<String, BTreeSet<String>>,
}

impl Arrivals {
    /// Notes a pod that is to leave. `false`: enough of its owner have come and were evicted, so it is left alone.
    pub(super) fn admit(&mut self, pod: &Pod, cordoned_at: Option<Timestamp>) -> bool {
        let came = cordoned_at.zip(pod.created);
        if came.is_none_or(|(cordoned, created)| created <= later(cordoned, UNAWARE)) {
            return true;
        }
        let known = self.owners.entry(self.counted_as(pod)).or_default();
        if !known.contains(&pod.uid) && known.len() >= OF_ONE_OWNER {
            return false;
        }
        known.insert(pod.uid.clone());
        true
    }

    /// The owner with whose pods this one is counted: its own, while there are not too many.
    pub(super) fn counted_as(&self, pod: &Pod) -> String {
        let owner = owner(pod);
        if self.owners.len() < OWNERS_MAX || self.owners.contains_key(&owner) {
            owner
        } else {
            OTHERS.to_owned()
        }
    }

    /// How many were noted.
    #[must_use]
    pub fn count(&self) -> usize {
        self.owners.values().map(BTreeSet::len).sum()
    }
}

/// The pod's controller; all pods of a namespace that have none count as one owner's.
fn owner(pod: &Pod) -> String {
    let namespace = &pod.namespace;
    match &pod.owner {
        Some(owner) => format!("{} {namespace}/{}", owner.kind, owner.name),
        None => format!("nobody in {namespace}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drain::select::tests::pod;

    #[test]
    fn beyond_so_many_owners_the_pods_of_all_others_count_as_one_owners() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let of = |owner: usize, number: usize| {
            let mut late = pod(&format!("{owner}-{number}"));
            late.created = Some(at(100));
            late.owner.as_mut().unwrap().name = owner.to_string();
            late
        };
        let mut came = Arrivals::default();
        let mut admitted = |owner, number| came.admit(&of(owner, number), Some(at(0)));
        assert!((0..OWNERS_MAX).all(|owner| admitted(owner, 0)));
        let others = (0..900).filter(|n| admitted(OWNERS_MAX + n, 0)).count();
        assert_eq!(others, OF_ONE_OWNER);
        assert!(admitted(0, 1), "one that is known has its own count");
        assert!(admitted(OWNERS_MAX, 0), "the same pod counts once");
        assert_eq!(came.owners.len(), OWNERS_MAX + 1);
        assert_eq!(came.count(), OWNERS_MAX + OF_ONE_OWNER + 1);
        assert_eq!(came.counted_as(&of(5000, 0)), OTHERS);
    }
}
