//! Pods that come to a node in spite of its cordon: they are made to leave, but nobody is chased in circles.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::pod::Pod;
use super::window::later;

/// A scheduler may not have seen the cordon for a moment: what it binds meanwhile is no sign of a loop.
const UNAWARE: SignedDuration = SignedDuration::from_secs(5);
/// So many of one owner are evicted that came later than that. The next would only bring another.
const OF_ONE_OWNER: usize = 3;

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
        let known = self.owners.entry(owner(pod)).or_default();
        if !known.contains(&pod.uid) && known.len() >= OF_ONE_OWNER {
            return false;
        }
        known.insert(pod.uid.clone());
        true
    }

    /// How many were noted.
    #[must_use]
    pub fn count(&self) -> usize {
        self.owners.values().map(BTreeSet::len).sum()
    }
}

/// The pod's controller; all pods of a namespace that have none count as one owner's.
pub(super) fn owner(pod: &Pod) -> String {
    let namespace = &pod.namespace;
    match &pod.owner {
        Some(owner) => format!("{} {namespace}/{}", owner.kind, owner.name),
        None => format!("nobody in {namespace}"),
    }
}
