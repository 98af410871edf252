//! What effects do in the world, and what the API server and Auto Scaling answer.

use kube::ResourceExt;

use super::{Action, NOTICE, World, at};
use crate::api::termination::{BlockReason, FINALIZER};
use crate::drain::cordon::tests::apply;
use crate::drain::pod::Deletion;
use crate::drain::preview::preview;
use crate::drain::{Answer, Order, Verb};
use crate::lifecycle::effect::LifecycleResult;
use crate::lifecycle::found::FoundHook;
use crate::lifecycle::{ActionKey, Effect, Lookup, Outcome};

impl World {
    pub(super) fn carry_out(&mut self, effect: &Effect) -> Option<Outcome> {
        let uid = self.object.node_uid().unwrap_or_default().to_owned();
        match effect {
            Effect::Cordon { patch } | Effect::Open { patch } => self.patch(patch),
            Effect::OutOfService { patch } => {
                self.patch(patch);
                self.memory.told = None;
            }
            Effect::AddFinalizer => self.object.finalizers_mut().push(FINALIZER.into()),
            Effect::RemoveFinalizer => self.object.finalizers_mut().retain(|f| f != FINALIZER),
            Effect::OpenView { .. } if self.unlisted => {}
            Effect::OpenView { .. } => {
                self.dirty |= self.memory.view.is_none();
                self.memory.view.get_or_insert(self.now);
            }
            Effect::CloseView => {
                self.memory.view = None;
                self.memory.volumes = false;
            }
            Effect::WatchVolumes => {
                self.dirty |= !self.memory.volumes;
                self.memory.volumes = true;
            }
            Effect::AskState { .. } if self.mute => self.asked += 1,
            Effect::AskState { .. } => {
                self.asked += 1;
                self.dirty |= self.memory.told != self.state;
                self.memory.told.clone_from(&self.state);
            }
            Effect::Offer(plan) => {
                self.memory.seen.extend(plan.remaining.iter().cloned());
                self.memory.came.clone_from(&plan.came);
                self.memory
                    .queue
                    .offer(&uid, plan.candidates.clone(), at(self.now));
            }
            Effect::Preview(plan) => {
                let held = self.memory.queue.would_hold(&plan.candidates, at(self.now));
                let preview = preview(plan, held, at(self.now));
                return Some(Outcome::Previewed(preview));
            }
            // Nobody else takes over: this process leads again.
            Effect::HandOver => {
                self.may_hand_over = false;
                self.dirty = true;
            }
            Effect::Withdraw => self.memory.queue.withdraw(&uid),
            Effect::ReadHook { action } => {
                self.memory
                    .hooks
                    .insert(action.clone(), (self.now, self.timeout.clone()));
            }
            Effect::FindHooks { signal_id, .. } => {
                let found = self.find();
                self.memory.lookups.insert(signal_id.clone(), found);
            }
            Effect::Heartbeat { action } => return Some(self.beat(action)),
            Effect::Complete { action, result } => {
                return Some(self.complete(action, *result));
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

    fn action_of(&mut self, key: &ActionKey) -> &mut Action {
        let named = self.actions.get_mut(&key.signal_id);
        named.unwrap_or_else(|| self.unnamed.get_mut(&key.hook_name).unwrap())
    }

    /// What Auto Scaling tells of the hooks that the instance waits in.
    fn find(&self) -> Lookup {
        let found = |hook: &String| FoundHook {
            group: "workers".into(),
            hook: hook.clone(),
            timeout: self.timeout.clone(),
        };
        let waits = self.unnamed.values().any(|a| a.active);
        let hooks = self.unnamed.keys().map(found).collect();
        self.lookup.clone().unwrap_or(if waits {
            Lookup::Waiting(hooks)
        } else {
            Lookup::Nothing("the instance is Terminating:Proceed".into())
        })
    }

    fn beat(&mut self, key: &ActionKey) -> Outcome {
        let (now, action) = (self.now, key.clone());
        let kept = self.action_of(key);
        if !kept.active {
            return Outcome::NoSuchAction { action };
        }
        if kept.throttled {
            let message = "throttled".into();
            return Outcome::CallFailed { action, message };
        }
        kept.beats.push(now - NOTICE);
        Outcome::Beat { action }
    }

    fn complete(&mut self, key: &ActionKey, result: LifecycleResult) -> Outcome {
        let action = key.clone();
        let shown = self.object.status.iter().flat_map(|s| &s.lifecycle_actions);
        assert!(
            self.actions.contains_key(&key.signal_id) || shown.clone().any(|a| key.is_of(a)),
            "{key:?} is completed and not on record"
        );
        let kept = self.action_of(key);
        if kept.denied {
            let message = "denied".into();
            return Outcome::CallFailed { action, message };
        }
        if !std::mem::take(&mut kept.active) {
            return Outcome::NoSuchAction { action };
        }
        kept.completed.push(result);
        Outcome::Completed { action, result }
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
        if self.webhook || self.forbidden {
            return Answer::Denied {
                reason: if self.webhook {
                    BlockReason::Webhook
                } else {
                    BlockReason::Forbidden
                },
                by: self.webhook.then(|| "deny.example.com".to_owned()),
                message: "no".to_owned(),
            };
        }
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
