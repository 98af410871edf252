//! What effects do in the world, and what the API server and Auto Scaling answer.

use kube::ResourceExt;

use super::{NOTICE, World, at};
use crate::api::termination::FINALIZER;
use crate::drain::cordon::tests::apply;
use crate::drain::pod::Deletion;
use crate::drain::{Answer, Order, Verb};
use crate::lifecycle::effect::LifecycleResult;
use crate::lifecycle::{Effect, Outcome};

impl World {
    pub(super) fn carry_out(&mut self, effect: &Effect) -> Option<Outcome> {
        let uid = self.object.node_uid().unwrap_or_default().to_owned();
        match effect {
            Effect::Cordon {
                patch,
                add_finalizer,
            } => {
                self.patch(patch);
                if *add_finalizer {
                    self.object.finalizers_mut().push(FINALIZER.into());
                }
            }
            Effect::Open { patch } => self.patch(patch),
            Effect::AddFinalizer => self.object.finalizers_mut().push(FINALIZER.into()),
            Effect::RemoveFinalizer => self.object.finalizers_mut().retain(|f| f != FINALIZER),
            Effect::OpenView { .. } => {
                self.dirty |= self.memory.view.is_none();
                self.memory.view.get_or_insert(self.now);
            }
            Effect::CloseView => self.memory.view = None,
            Effect::Offer(plan) => {
                self.memory.seen.extend(plan.remaining.iter().cloned());
                self.memory
                    .queue
                    .offer(&uid, plan.candidates.clone(), at(self.now));
            }
            Effect::Withdraw => self.memory.queue.withdraw(&uid),
            Effect::ReadHook { signal_id } => {
                self.memory
                    .hooks
                    .insert(signal_id.clone(), self.timeout.clone());
            }
            Effect::Heartbeat { signal_id } => return Some(self.beat(signal_id)),
            Effect::Complete { signal_id, result } => {
                return Some(self.complete(signal_id, *result));
            }
        }
        None
    }

    fn patch(&mut self, patch: &serde_json::Value) {
        let Some(node) = &mut self.node else { return };
        apply(node, patch);
        let version: u64 = node.resource_version.parse().unwrap();
        node.resource_version = (version + 1).to_string();
        self.dirty = true;
    }

    fn beat(&mut self, signal_id: &str) -> Outcome {
        let signal_id = signal_id.to_owned();
        let action = self.actions.get_mut(&signal_id).unwrap();
        if !action.active {
            return Outcome::NoSuchAction { signal_id };
        }
        action.beats.push(self.now - NOTICE);
        Outcome::Beat { signal_id }
    }

    fn complete(&mut self, signal_id: &str, result: LifecycleResult) -> Outcome {
        let signal_id = signal_id.to_owned();
        let action = self.actions.get_mut(&signal_id).unwrap();
        if action.denied {
            let message = "denied".into();
            return Outcome::CallFailed { signal_id, message };
        }
        if !std::mem::take(&mut action.active) {
            return Outcome::NoSuchAction { signal_id };
        }
        action.completed.push(result);
        Outcome::Completed { signal_id, result }
    }

    /// The API server answers what the queue sends.
    pub(super) fn serve(&mut self) {
        while let Some(order) = self.memory.queue.pop(at(self.now)) {
            let answer = self.serve_one(&order);
            self.memory.queue.answered(&order, &answer, at(self.now));
        }
    }

    fn serve_one(&mut self, order: &Order) -> Answer {
        assert!(
            !self.replacements.contains(&order.pod.name),
            "{} has a replacement",
            order.pod.name
        );
        let Some(pod) = self.pods.iter_mut().find(|p| p.uid == order.pod.uid) else {
            panic!("{} has gone", order.pod.name)
        };
        let db = pod.labels.get("app").is_some_and(|app| app == "db");
        if order.verb == Verb::Evict && pod.deletion.is_none() && db && self.allowed == 0 {
            return Answer::BudgetRefused {
                message: "no room".into(),
                retry_after: None,
            };
        }
        self.forced += u32::from(order.verb == Verb::Delete);
        let ends = at(self.now + order.grace.as_secs());
        if pod.deletion.is_none_or(|d| ends < d.ends) {
            if pod.deletion.is_none() {
                *self.told.entry(pod.uid.clone()).or_default() += 1;
            }
            pod.deletion = Some(Deletion {
                ends,
                grace: order.grace,
            });
            self.dirty = true;
        }
        Answer::Accepted
    }
}
