//! The budgets of the cluster, their permits, and who waits on which.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;

use super::entry::Key;
use crate::drain::answer::Answer;
use crate::drain::budget::{Budget, BudgetId, Gate, Permit};
use crate::drain::pod::Pod;

/// Which budgets stand before a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// None.
    Free,
    /// One: it needs a permit of it.
    Budget(BudgetId),
    /// More than one: the API server refuses every eviction of such a pod.
    Multiple(Vec<BudgetId>),
}

/// All budgets, by namespace.
#[derive(Default)]
pub(super) struct Gates {
    namespaces: HashMap<String, HashMap<String, Gate>>,
    waiting: HashMap<BudgetId, BTreeSet<Key>>,
}

impl Gates {
    /// Which budgets stand before the pod now.
    pub(super) fn guard_of(&self, pod: &Pod) -> Guard {
        let gates = self.namespaces.get(&pod.namespace);
        let mut ids: Vec<_> = gates
            .into_iter()
            .flatten()
            .filter(|(_, g)| g.budget.guards(pod))
            .map(|(_, g)| g.budget.id.clone())
            .collect();
        ids.sort();
        match ids.len() {
            0 => Guard::Free,
            1 => Guard::Budget(ids.remove(0)),
            _ => Guard::Multiple(ids),
        }
    }

    pub(super) fn get(&self, id: &BudgetId) -> Option<&Gate> {
        self.namespaces.get(&id.namespace)?.get(&id.name)
    }

    fn get_mut(&mut self, id: &BudgetId) -> Option<&mut Gate> {
        self.namespaces.get_mut(&id.namespace)?.get_mut(&id.name)
    }

    /// Takes a permit, if there is one.
    pub(super) fn take(&mut self, id: &BudgetId, now: Timestamp) -> Option<Permit> {
        let gate = self.get_mut(id)?;
        (gate.permits(now) > 0).then(|| gate.send())
    }

    /// Takes the right to one more than our own bound allows, if the budget itself has room: a pod at its last moment.
    pub(super) fn take_beyond(&mut self, id: &BudgetId, now: Timestamp) -> Option<Permit> {
        let gate = self.get_mut(id)?;
        gate.would_pass(now).then(|| gate.send())
    }

    /// An eviction under this budget was answered; these wait for what it may have freed.
    pub(super) fn give_back(
        &mut self,
        permit: &Permit,
        answer: &Answer,
        now: Timestamp,
    ) -> Vec<String> {
        let id = &permit.budget;
        let Some(gate) = self.get_mut(id) else {
            return Vec::new();
        };
        gate.answered(permit, answer, now);
        self.next(id, now)
    }

    /// As many of those who wait on the budget as it has permits.
    pub(super) fn next(&self, id: &BudgetId, now: Timestamp) -> Vec<String> {
        let permits = self.get(id).map_or(0, |gate| gate.permits(now));
        self.first_waiting(id, usize::try_from(permits).unwrap_or_default())
    }

    /// Whether the budget may guard other pods than those that we know it to guard.
    pub(super) fn selects_anew(&self, budget: &Budget) -> bool {
        self.get(&budget.id)
            .is_none_or(|known| !known.budget.selects_like(budget))
    }

    /// A budget's new state. With room: as many of those who wait as it has permits; else all, to learn the reason.
    pub(super) fn observe(&mut self, budget: Budget, now: Timestamp) -> Vec<String> {
        let id = budget.id.clone();
        let gates = self.namespaces.entry(id.namespace.clone()).or_default();
        match gates.get_mut(&id.name) {
            Some(gate) => gate.observe(budget),
            None => drop(gates.insert(id.name.clone(), Gate::new(budget))),
        }
        match self.get(&id).map(|gate| gate.permits(now)) {
            Some(permits) if permits > 0 => {
                self.first_waiting(&id, usize::try_from(permits).unwrap_or_default())
            }
            _ => self.first_waiting(&id, usize::MAX),
        }
    }

    /// A budget was deleted: all who wait on it may go.
    pub(super) fn remove(&mut self, id: &BudgetId) -> Vec<String> {
        if let Some(gates) = self.namespaces.get_mut(&id.namespace) {
            gates.remove(&id.name);
        }
        self.first_waiting(id, usize::MAX)
    }

    /// The names of all budgets that are known.
    pub(super) fn ids(&self) -> Vec<BudgetId> {
        self.namespaces
            .values()
            .flat_map(HashMap::values)
            .map(|g| g.budget.id.clone())
            .collect()
    }

    pub(super) fn wait(&mut self, id: &BudgetId, key: Key) {
        self.waiting.entry(id.clone()).or_default().insert(key);
    }

    pub(super) fn stop_waiting(&mut self, id: &BudgetId, key: &Key) {
        if let Some(keys) = self.waiting.get_mut(id) {
            keys.remove(key);
            if keys.is_empty() {
                self.waiting.remove(id);
            }
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.values().map(BTreeSet::len).sum()
    }

    fn first_waiting(&self, id: &BudgetId, count: usize) -> Vec<String> {
        self.waiting
            .get(id)
            .into_iter()
            .flatten()
            .take(count)
            .map(|k| k.uid.clone())
            .collect()
    }
}
