//! One pass, as the controller runs it: look, decide, carry out, settle, report; and the death of the process.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Memory, World, at};
use crate::api::termination::{NodeTerminationStatus, Phase, VolumesStatus};
use crate::drain::Attachment;
use crate::lifecycle::view::Pods;
use crate::lifecycle::{
    ActionKey, Decision, Effect, HookTimeout, Machine, Outcome, View, admit, decide, settle,
};

impl World {
    /// One pass, as the controller runs it; it may die in the middle.
    pub fn pass(&mut self) -> Decision {
        self.passes += 1;
        let dies_after = self.crashes.remove(&self.passes);
        self.memory.wake = None;
        let unknown_for = HookTimeout::UNKNOWN_FOR.as_secs();
        self.memory.hooks.retain(|_, (asked, timeout)| {
            matches!(timeout, HookTimeout::Known { .. }) || self.now - *asked < unknown_for
        });
        let hooks = self.memory.hooks.iter();
        self.known_hooks = hooks.map(|(k, (_, t))| (k.clone(), t.clone())).collect();
        self.known_lookups.clone_from(&self.memory.lookups);
        let was_open = !self.phase().is_some_and(Phase::is_finished);
        let decision = self.look(decide);
        let finishes = was_open && decision.status.phase.is_some_and(Phase::is_finished);
        assert_eq!(
            decision.finishing, finishes,
            "only the report that finishes says so"
        );
        let mut outcomes = Vec::new();
        for (done, effect) in decision.effects.iter().enumerate() {
            if dies_after == Some(done) {
                self.crash();
                return decision;
            }
            let patches = matches!(effect, Effect::Cordon { .. } | Effect::Open { .. });
            if patches && self.refused.is_some() {
                continue;
            }
            outcomes.extend(self.carry_out(effect));
            self.effects.push(effect.clone());
        }
        if dies_after == Some(decision.effects.len()) {
            self.crash();
            return decision;
        }
        let mut status = decision.status.clone();
        self.look(|view| settle(view, &mut status, &outcomes));
        if let Some(said) = self.refused.clone() {
            self.look(|view| admit(view, &mut status, "Forbidden", &said));
        }
        if outcomes.iter().any(Outcome::leads_on) {
            self.memory.status = Some(status);
            self.dirty = true;
            if dies_after.is_some() {
                self.crash();
            }
            return decision;
        }
        self.report(status);
        self.memory.wake = [decision.wake, self.call_again()]
            .into_iter()
            .flatten()
            .min();
        if dies_after.is_some() {
            self.crash();
        }
        decision
    }

    /// A new leader: it knows what is stored, and looks at everything.
    pub fn crash(&mut self) {
        self.memory = Memory::default();
        self.dirty = true;
        self.tell_budget();
    }

    /// What was told of hooks is too old.
    pub fn forget_hooks(&mut self) {
        self.memory.hooks.clear();
    }

    fn look<T>(&mut self, see: impl FnOnce(&View<'_>) -> T) -> T {
        let mut object = self.object.clone();
        if let Some(status) = &self.memory.status {
            object.status = Some(status.clone());
        }
        let stored = object
            .status
            .as_ref()
            .and_then(|s| s.pods.as_ref())
            .map_or(0, |p| p.gone);
        let gone_before = *self.memory.gone_before.get_or_insert(stored);
        let uid = self.object.node_uid().unwrap_or_default();
        let (work, forced) = (self.memory.queue.work(uid), self.memory.queue.forced(uid));
        let stored = self.object.status.iter().flat_map(|s| &s.lifecycle_actions);
        let recorded = stored.map(ActionKey::from).collect();
        let pods: Vec<_> = self.pods.iter().cloned().map(Arc::new).collect();
        let attached: Option<Vec<Attachment>> =
            Some(self.attached.iter().map(|(a, _)| a.clone()).collect());
        see(&View {
            now: at(self.now),
            object: &object,
            machine: Machine::of(&object, self.node.as_ref()),
            anew: self
                .node
                .as_ref()
                .filter(|n| n.uid != uid && n.instance_id.as_deref() == object.instance_id()),
            policy: self.policy.as_ref(),
            hooks: &self.known_hooks,
            lookups: &self.known_lookups,
            recorded: &recorded,
            stored: self.object.status.as_ref(),
            pods: self.memory.view.map(|opened| Pods {
                pods: &pods,
                quiet_for: SignedDuration::from_secs(self.now - opened.max(self.arrived)),
                work: &work,
                forced,
            }),
            attachments: attached.as_deref().filter(|_| self.memory.volumes),
            told: self.memory.told.as_ref(),
            seen: &self.memory.seen,
            came: &self.memory.came,
            may_hand_over: self.may_hand_over,
            gone_before,
            outage: self.outage,
            conflicts: 0,
            neighbours: &[],
            follows: self.follows,
            turn: &|_| self.turn_comes,
            own_pod: self.own_pod.as_deref(),
        })
    }

    /// Stores the record, unless it tells of mere progress. Finished without a finalizer, a deleted object goes.
    fn report(&mut self, status: NodeTerminationStatus) {
        let substance = |s: &NodeTerminationStatus| {
            let mut s = s.clone();
            s.pods = None;
            s.volumes.iter_mut().for_each(VolumesStatus::uncount);
            s.conditions.iter_mut().for_each(|c| c.message.clear());
            s
        };
        let news = self.object.status.as_ref().map(substance) != Some(substance(&status));
        let untouched = status.phase == Some(Phase::Pending) && status.cordoned_at.is_none();
        if news && !untouched {
            self.object.status = Some(status.clone());
            self.dirty = true;
        }
        self.memory.status = Some(status);
    }

    fn call_again(&self) -> Option<Timestamp> {
        let status = self.status();
        let failing = status
            .lifecycle_actions
            .iter()
            .any(|a| !a.state.is_over() && a.message.is_some());
        (failing || status.phase == Some(Phase::Releasing)).then(|| at(self.now + 5))
    }
}
