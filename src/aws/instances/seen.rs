//! What EC2 has told of instances, for as long as it is believed.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::aws::Error;

/// Tags of nodes change seldom.
const CARRYING_KEPT: Duration = Duration::from_mins(5);
/// An instance that has just launched is not seen at once, nor are its tags (EC2 User Guide, "Eventual consistency").
const OTHERS_KEPT: Duration = Duration::from_secs(30);
/// All that wait for a call that fails share its failure.
const FAILURE_KEPT: Duration = Duration::from_secs(2);
/// More instances than this are not remembered: twice the largest cluster.
const KEPT_MAX: usize = 10_000;

/// The answers so far, and what is to be asked.
#[derive(Debug, Default)]
pub(super) struct Seen {
    known: HashMap<String, Known>,
    wanted: BTreeSet<String>,
    failed: Option<(Instant, Error)>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    carries: bool,
    until: Instant,
}

impl Seen {
    /// These are to be asked for, unless they are known.
    pub fn want(&mut self, ids: &BTreeSet<String>, now: Instant) {
        let unknown = ids.iter().filter(|id| !self.knows(id, now)).cloned();
        let unknown: Vec<String> = unknown.collect();
        self.wanted.extend(unknown);
    }

    /// What to ask for so that all of `ids` will be known, others that wait with them: at most `most`. Nothing, if all
    /// are known. Fails while the last call's failure is fresh.
    pub fn batch(
        &mut self,
        ids: &BTreeSet<String>,
        most: usize,
        now: Instant,
    ) -> Result<BTreeSet<String>, Error> {
        let unknown = ids.iter().filter(|id| !self.knows(id, now));
        let mut batch: BTreeSet<String> = unknown.take(most).cloned().collect();
        if batch.is_empty() {
            return Ok(batch);
        }
        if let Some((at, error)) = &self.failed
            && now.duration_since(*at) < FAILURE_KEPT
        {
            return Err(error.clone());
        }
        let room = most - batch.len();
        batch.extend(self.wanted.iter().take(room).cloned());
        Ok(batch)
    }

    /// Takes the answer about a batch.
    pub fn learn(
        &mut self,
        batch: BTreeSet<String>,
        answer: Result<BTreeSet<String>, Error>,
        now: Instant,
    ) {
        self.wanted.retain(|id| !batch.contains(id));
        let carrying = match answer {
            Ok(carrying) => carrying,
            Err(error) => {
                self.failed = Some((now, error));
                return;
            }
        };
        self.failed = None;
        if self.known.len() + batch.len() > KEPT_MAX {
            self.known.retain(|_, known| known.until > now);
        }
        if self.known.len() + batch.len() > KEPT_MAX {
            self.known.clear();
        }
        for id in batch {
            let carries = carrying.contains(&id);
            let kept = if carries { CARRYING_KEPT } else { OTHERS_KEPT };
            let until = now + kept;
            self.known.insert(id, Known { carries, until });
        }
    }

    /// Those of `ids` that carry a tag, as far as is known.
    pub fn carrying(&self, ids: &BTreeSet<String>) -> BTreeSet<String> {
        let carries = |id: &&String| self.known.get(*id).is_some_and(|known| known.carries);
        ids.iter().filter(carries).cloned().collect()
    }

    fn knows(&self, id: &str, now: Instant) -> bool {
        self.known.get(id).is_some_and(|known| known.until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::{Operation, Reason};

    fn set(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|&id| id.to_owned()).collect()
    }

    #[test]
    fn those_who_wait_are_asked_for_together_and_only_what_is_not_known() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        for ids in [&["a", "b"][..], &["c"], &["d"]] {
            seen.want(&set(ids), now);
        }
        assert_eq!(seen.batch(&set(&["d"]), 3, now), Ok(set(&["a", "b", "d"])));
        seen.learn(set(&["a", "b", "d"]), Ok(set(&["a", "d"])), now);
        assert_eq!(seen.carrying(&set(&["a", "b"])), set(&["a"]));
        assert_eq!(seen.batch(&set(&["a", "b", "d"]), 3, now), Ok(set(&[])));
        assert_eq!(seen.batch(&set(&["a", "c"]), 3, now), Ok(set(&["c"])));
    }

    #[test]
    fn that_an_instance_carries_none_is_believed_more_shortly_than_that_it_does() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        let both = set(&["tagged", "untagged"]);
        seen.learn(both.clone(), Ok(set(&["tagged"])), now);
        for (later, unknown) in [
            (Duration::from_secs(29), set(&[])),
            (OTHERS_KEPT, set(&["untagged"])),
            (CARRYING_KEPT, both.clone()),
        ] {
            assert_eq!(seen.batch(&both, 9, now + later), Ok(unknown), "{later:?}");
        }
    }

    #[test]
    fn a_failure_tells_of_nobody_and_is_forgotten_soon() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        let error = Error::new(Operation::DescribeInstances, Reason::Throttled, "");
        let (known, other) = (set(&["known"]), set(&["other"]));
        seen.learn(known.clone(), Ok(known.clone()), now);
        seen.learn(other.clone(), Err(error.clone()), now);
        assert_eq!(seen.batch(&other, 9, now), Err(error));
        assert_eq!(
            seen.batch(&known, 9, now),
            Ok(set(&[])),
            "what is known stays"
        );
        assert_eq!(seen.batch(&other, 9, now + FAILURE_KEPT), Ok(other));
    }

    #[test]
    fn no_more_than_ten_thousand_are_remembered() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        for number in 0..2 * KEPT_MAX {
            let one = set(&[&format!("i-{number}")]);
            seen.learn(one.clone(), Ok(one), now);
        }
        assert!(seen.known.len() <= KEPT_MAX);
    }
}
