//! What the queue would do with pods that nobody offers: a look ahead, for incidents that are only observed.

use std::collections::HashMap;

use jiff::Timestamp;

use super::entry::{Block, Entry, Verb, Work};
use super::gates::Guard;
use super::{BudgetId, Queue};
use crate::api::termination::BlockReason;
use crate::drain::plan::Candidate;

impl Queue {
    /// What would hold each of these pods at first, were they offered now and the most urgent served first. A budget
    /// that has room for some of them holds the others, until their replacements are ready.
    #[must_use]
    pub fn would_hold(&self, candidates: &[Candidate], now: Timestamp) -> Vec<Work> {
        let mut entries: Vec<Entry> = candidates
            .iter()
            .map(|candidate| {
                // Every tier's turn comes.
                let open = true;
                let candidate = candidate.clone();
                let guard = self.gates.guard_of(&candidate.pod);
                Entry::new("".into(), Candidate { open, ..candidate }, guard)
            })
            .collect();
        entries.sort_by_cached_key(Entry::key);
        let mut taken: HashMap<BudgetId, i32> = HashMap::new();
        entries
            .iter_mut()
            .map(|entry| self.hold(entry, &mut taken, now))
            .collect()
    }

    fn hold(&self, entry: &mut Entry, taken: &mut HashMap<BudgetId, i32>, now: Timestamp) -> Work {
        entry.place(&self.gates, now);
        let work = entry.work();
        let Guard::Budget(id) = &entry.guard else {
            return work;
        };
        let asks = entry.verb(&self.gates, now) == Verb::Evict;
        let Some(gate) = self
            .gates
            .get(id)
            .filter(|_| work.block.is_none() && asks && entry.needs_permit(&self.gates, id))
        else {
            return work;
        };
        let taken = taken.entry(id.clone()).or_default();
        if *taken < gate.room() {
            *taken += 1;
            return work;
        }
        let message = format!("the budget has room for {taken} of the pods that it guards here");
        let block = Block {
            reason: BlockReason::Budget,
            by: Some(id.to_string()),
            since: now,
            message,
        };
        Work {
            block: Some(block),
            ..work
        }
    }
}
