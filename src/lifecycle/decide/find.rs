//! The part of a pass that finds the hooks which instance metadata told of.

use jiff::Timestamp;

use super::super::effect::Effect;
use super::super::found::{self, Lookup};
use super::super::{ActionKey, hooks};
use super::Pass;
use crate::api::termination::{
    EffectivePolicy, LIFECYCLE_ACTIONS_MAX, LifecycleActionStatus, Phase, Signal,
};

impl Pass<'_> {
    /// Takes up the hooks that were found.
    pub(super) fn take_up_found(&mut self) {
        let entries = found::entries(self.view, &self.decision.status.lifecycle_actions);
        for entry in entries {
            if self.decision.status.lifecycle_actions.len() >= LIFECYCLE_ACTIONS_MAX {
                return;
            }
            self.status().lifecycle_actions.push(entry);
        }
    }

    /// Asks for the hooks that instance metadata told of. `true`: they have not been asked for before.
    pub(super) fn find_hooks(&mut self) -> bool {
        let status = &self.decision.status;
        let policy = status.policy.as_ref();
        let Some((policy, access)) = policy.and_then(|p| Some((p, p.aws.clone()?))) else {
            return false;
        };
        let unfound: Vec<&Signal> = self
            .signals
            .iter()
            .copied()
            .filter(|s| found::is_unfound(s, policy, status) && !self.is_settled(s))
            .collect();
        let mut unasked = false;
        for signal in unfound {
            let answer = self.view.lookups.get(&signal.id);
            unasked |= answer.is_none();
            match answer.map(Lookup::again_at) {
                Some(None) => {}
                Some(Some(at)) if at > self.view.now => self.wake_at(at),
                None | Some(Some(_)) => self.ask(Effect::FindHooks {
                    signal_id: signal.id.clone(),
                    access: access.clone(),
                }),
            }
        }
        unasked
    }

    /// Asks once in a pass. Nothing but the next pass tells that there is an answer.
    fn ask(&mut self, effect: Effect) {
        if !self.decision.effects.contains(&effect) {
            self.decision.effects.push(effect);
        }
        self.wake_at(self.view.now);
    }

    /// Somebody waits for an action whose hook may still be found.
    pub(super) fn owes_lookup(&mut self, policy: &EffectivePolicy) -> bool {
        self.find_hooks();
        let status = &self.decision.status;
        let over = status
            .deadline
            .as_ref()
            .is_some_and(|d| self.view.now >= d.0);
        // The machine is gone, its time is over, and nobody lets us ask.
        let moot = self.view.machine.node().is_none() && over;
        policy.aws.is_some()
            && self
                .signals
                .iter()
                .filter(|s| found::is_unfound(s, policy, status) && !self.is_settled(s))
                .filter(|s| self.view.now < hooks::end_of_life(s, None))
                .any(|s| match self.view.lookups.get(&s.id) {
                    None => true,
                    Some(answer) => answer.is_owed() && !moot,
                })
    }

    /// The incident was released after it had heard of the signal: what there was to be found had been found.
    fn is_settled(&self, signal: &Signal) -> bool {
        let status = &self.decision.status;
        let received = status.signals.iter().find(|s| s.id == signal.id);
        status.phase == Some(Phase::Released)
            && received
                .zip(status.released_at.as_ref())
                .is_some_and(|(r, released)| r.received_time.0 < released.0)
    }

    /// The stored record shows the action, or its signal does: a completion is never the only thing that knows of it.
    pub(super) fn is_on_record(&self, action: &ActionKey) -> bool {
        let named = self
            .signals
            .iter()
            .any(|s| s.id == action.signal_id && !found::names_no_hook(s));
        named || self.view.recorded.contains(action)
    }

    /// When the instance goes on account of this action.
    pub(super) fn deadline_of_action(
        &self,
        action: &LifecycleActionStatus,
        policy: &EffectivePolicy,
    ) -> Option<Timestamp> {
        let signal = self.signals.iter().find(|s| s.id == action.signal_id)?;
        let hook = self.view.hooks.get(&ActionKey::from(action));
        Some(hooks::deadline(
            signal,
            hook,
            &policy.drain,
            &policy.lifecycle,
        ))
    }
}
