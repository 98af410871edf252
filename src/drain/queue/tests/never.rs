//! Over random histories of offers, budget events, answers and time: what the queue never does.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::api::termination::BlockReason;

#[derive(Clone, Debug)]
enum Step {
    Offer {
        node: usize,
        pods: Vec<(usize, i64)>,
    },
    Withdraw {
        node: usize,
    },
    Budget {
        name: usize,
        allowed: i32,
    },
    Delete {
        name: usize,
    },
    Answer {
        which: usize,
        answer: Answer,
    },
    Wait {
        seconds: i64,
    },
}

fn answer() -> impl Strategy<Value = Answer> {
    let retry_after = Some(Duration::from_secs(10));
    let message = String::new;
    let denied = Answer::Denied {
        reason: BlockReason::Webhook,
        by: None,
        message: message(),
    };
    prop_oneof![
        6 => Just(Answer::Accepted),
        1 => Just(Answer::NotFound),
        1 => Just(Answer::Conflict),
        2 => Just(Answer::BudgetRefused { message: message(), retry_after: None }),
        1 => Just(Answer::BudgetRefused { message: message(), retry_after }),
        1 => Just(Answer::BudgetContended),
        1 => Just(Answer::BudgetUncomputed { message: message() }),
        1 => Just(Answer::MultipleBudgets),
        1 => Just(Answer::Overloaded { retry_after: None }),
        1 => Just(Answer::NamespaceTerminating),
        1 => Just(denied),
        1 => Just(Answer::RoleMissing { message: message() }),
        1 => Just(Answer::Unanswered { message: message() }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let pods = proptest::collection::vec((0..6_usize, 20..400_i64), 0..6);
    prop_oneof![
        4 => (0..2_usize, pods).prop_map(|(node, pods)| Step::Offer { node, pods }),
        1 => (0..2_usize).prop_map(|node| Step::Withdraw { node }),
        4 => (0..2_usize, 0..8_i32).prop_map(|(name, allowed)| Step::Budget { name, allowed }),
        1 => (0..2_usize).prop_map(|name| Step::Delete { name }),
        8 => (0..8_usize, answer()).prop_map(|(which, answer)| Step::Answer { which, answer }),
        3 => prop_oneof![0..3_i64, 0..200_i64].prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// What the world outside of the queue knows.
#[derive(Default)]
struct World {
    queue: Queue,
    now: i64,
    in_flight: Vec<Order>,
    offered: [HashMap<String, i64>; 2],
    /// Since when an accepted pod is offered without a break.
    accepted: HashMap<String, i64>,
    /// Allowed at the last event, and accepted since.
    budgets: HashMap<BudgetId, (i32, i32)>,
    /// Events of each budget since it was made.
    events: HashMap<BudgetId, u64>,
}

const BUDGETS: [&str; 2] = ["web", "all"];

fn id(name: usize) -> BudgetId {
    BudgetId {
        namespace: "web".into(),
        name: BUDGETS[name].into(),
    }
}

impl World {
    fn take(&mut self, step: Step) {
        let now = at(self.now);
        match step {
            Step::Offer { node, pods } => {
                let before = std::mem::take(&mut self.offered[node]);
                let mut offer = Vec::new();
                for (pod, latest) in pods {
                    let candidate = candidate(&format!("{node}-{pod}"), latest);
                    // One that is drawn twice is offered once, on its first terms.
                    if let Entry::Vacant(new) = self.offered[node].entry(candidate.pod.uid.clone())
                    {
                        new.insert(latest);
                        offer.push(candidate);
                    }
                }
                for gone in before
                    .keys()
                    .filter(|uid| !self.offered[node].contains_key(*uid))
                {
                    self.accepted.remove(gone);
                }
                self.queue.offer(&node.to_string(), offer, now);
            }
            Step::Withdraw { node } => {
                for uid in std::mem::take(&mut self.offered[node]).keys() {
                    self.accepted.remove(uid);
                }
                self.queue.withdraw(&node.to_string());
            }
            Step::Budget { name, allowed } => {
                self.budgets.insert(id(name), (allowed, 0));
                let events = self.events.entry(id(name));
                events.and_modify(|e| *e += 1).or_default();
                self.queue
                    .budget_changed(budget_of(BUDGETS[name], allowed, 2, "x"), now);
            }
            // A budget that is made anew starts to count anew: the server refuses what is too much.
            Step::Delete { name } if self.holds_permit(&id(name)) => {}
            Step::Delete { name } => {
                self.budgets.remove(&id(name));
                self.events.remove(&id(name));
                self.queue.budget_deleted(&id(name), now);
            }
            Step::Answer { which, answer } => self.answer(which, &answer),
            Step::Wait { seconds } => self.now += seconds,
        }
    }

    fn holds_permit(&self, id: &BudgetId) -> bool {
        self.in_flight
            .iter()
            .any(|o| o.permit.as_ref().is_some_and(|p| &p.budget == id))
    }

    fn answer(&mut self, which: usize, answer: &Answer) {
        if self.in_flight.is_empty() {
            return;
        }
        let order = self.in_flight.swap_remove(which % self.in_flight.len());
        let offered = self.offered.iter().any(|o| o.contains_key(&order.pod.uid));
        if *answer == Answer::Accepted {
            if offered {
                self.accepted.insert(order.pod.uid.clone(), self.now);
            }
            if let Some(permit) = &order.permit
                && let Some((_, unseen)) = self.budgets.get_mut(&permit.budget)
                && self.events.get(&permit.budget) == Some(&permit.events)
            {
                *unseen += 1;
            }
        }
        self.queue.answered(&order, answer, at(self.now));
    }

    fn send(&mut self) -> Result<(), TestCaseError> {
        let pods: usize = self.offered.iter().map(HashMap::len).sum();
        for sent in 0.. {
            let Some(order) = self.queue.pop(at(self.now)) else {
                break;
            };
            prop_assert!(sent <= pods, "more orders than pods at one moment");
            self.check(&order)?;
            self.in_flight.push(order);
        }
        let wake = self.queue.wake();
        prop_assert!(
            wake.is_none_or(|w| w > at(self.now)),
            "busy: {wake:?} at {}",
            self.now
        );
        Ok(())
    }

    fn check(&self, order: &Order) -> Result<(), TestCaseError> {
        let uid = &order.pod.uid;
        prop_assert!(
            self.in_flight.iter().all(|o| &o.pod.uid != uid),
            "{uid} is in flight twice"
        );
        prop_assert!(order.grace >= secs(1) && order.grace <= order.pod.grace);
        let latest = self.offered.iter().find_map(|o| o.get(uid));
        prop_assert!(latest.is_some(), "{uid} is not offered");
        if let Some(accepted) = self.accepted.get(uid) {
            prop_assert!(
                self.now >= accepted + 30,
                "{uid} was accepted at {accepted}"
            );
        }
        let forced = latest.is_some_and(|l| self.now >= *l);
        let multiple = self.budgets.len() > 1;
        prop_assert!(
            !multiple || forced || order.verb == Verb::Delete,
            "two budgets guard {uid}"
        );
        if let Some(id) = order.permit.as_ref().map(|p| &p.budget) {
            let in_flight = self
                .in_flight
                .iter()
                .filter(|o| o.permit.as_ref().is_some_and(|p| &p.budget == id))
                .count();
            let (allowed, unseen) = self.budgets[id];
            let in_flight = i32::try_from(in_flight).unwrap() + 1;
            prop_assert!(
                (in_flight <= 4 || forced) && in_flight + unseen <= allowed,
                "{in_flight} + {unseen} of {allowed}"
            );
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn no_history_makes_the_queue_overspend_repeat_itself_or_spin(steps in proptest::collection::vec(step(), 1..80)) {
        let mut world = World::default();
        for step in steps {
            world.take(step);
            world.send()?;
        }
    }

    #[test]
    fn whatever_happened_before_an_accepting_server_sees_every_pod_off(steps in proptest::collection::vec(step(), 1..40)) {
        let mut world = World::default();
        for step in steps {
            world.take(step);
            world.send()?;
        }
        let mut left: HashSet<String> = world.offered.iter().flat_map(HashMap::keys).cloned().collect();
        for _ in 0..500 {
            while let Some(order) = world.in_flight.pop() {
                left.remove(&order.pod.uid);
                world.queue.answered(&order, &Answer::Accepted, at(world.now));
            }
            world.send()?;
            world.now += 1;
        }
        prop_assert!(left.is_empty(), "never sent: {left:?}");
    }
}
