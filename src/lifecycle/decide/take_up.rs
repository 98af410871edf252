//! Taking up an incident: the settings that it goes by, its lifecycle actions, its deadline.

use jiff::SignedDuration;

use super::super::found;
use super::super::hooks;
use super::super::key::ActionKey;
use super::{Pass, action, later};
use crate::api::Time;
use crate::api::policy::Action;
use crate::api::termination::{
    EffectivePolicy, LIFECYCLE_ACTIONS_MAX, LifecycleActionState, LifecycleActionStatus, Signal,
    SignalKind,
};

impl Pass<'_> {
    /// Copies the settings and takes up every lifecycle action.
    pub(super) fn take_up(&mut self, policy: &EffectivePolicy) {
        let now = self.now();
        let (signals, hooks) = (&self.view.object.spec.signals, self.view.hooks);
        let gone = self.view.machine.node().is_none();
        let status = &mut self.decision.status;
        if status.policy.as_ref() != Some(policy) {
            status.policy = Some(policy.clone());
        }
        for signal in signals {
            self.take_up_named(policy, signal);
        }
        self.take_up_found();
        if !self.decision.status.has_begun() {
            self.choose_actions(policy);
        }
        let status = &mut self.decision.status;
        for action in status
            .lifecycle_actions
            .iter_mut()
            .filter(|a| !a.state.is_over())
        {
            let signal = signals.iter().find(|s| s.id == action.signal_id);
            let timeout = hooks.get(&ActionKey::from(&*action));
            let ended = signal.is_some_and(|s| now.0 >= hooks::end_of_life(s, timeout));
            // The machine is gone, its time is over, and nobody lets us say so.
            let moot = gone
                && action.message.is_some()
                && status.deadline.as_ref().is_some_and(|d| now.0 >= d.0);
            if ended || moot {
                action.close(LifecycleActionState::Left, now.clone());
            }
        }
        self.tell_deadline(policy);
    }

    /// Which actions are ours, as the policy has it until work begins. What is over stays so.
    fn choose_actions(&mut self, policy: &EffectivePolicy) {
        for action in &mut self.decision.status.lifecycle_actions {
            let signals = &self.view.object.spec.signals;
            let Some(signal) = signals.iter().find(|s| s.id == action.signal_id) else {
                continue;
            };
            let ours = action::of_signal(policy, signal) >= Action::Cordon;
            if action.completed_at.is_none() && ours {
                action.state = LifecycleActionState::Pending;
            } else if action.completed_at.is_none() {
                action.state = LifecycleActionState::Left;
                action.next_heartbeat_time = None;
            }
        }
    }

    /// The action that a signal names, unless it has its entry.
    fn take_up_named(&mut self, policy: &EffectivePolicy, signal: &Signal) {
        let Some(hook) = &signal.lifecycle_hook else {
            return;
        };
        let (all, now) = (&self.view.object.spec.signals, self.now());
        let actions = &mut self.decision.status.lifecycle_actions;
        if let Some(known) = actions.iter_mut().find(|a| a.signal_id == signal.id) {
            // A release before this one wrote no name.
            if known.hook_name.is_empty() {
                known.hook_name.clone_from(&hook.hook_name);
            }
            return;
        }
        if actions.len() >= LIFECYCLE_ACTIONS_MAX {
            return;
        }
        let over = found::hand_over(actions, all, signal, hook);
        let ours = action::of_signal(policy, signal) >= Action::Cordon;
        let actions = &mut self.decision.status.lifecycle_actions;
        actions.push(LifecycleActionStatus {
            signal_id: signal.id.clone(),
            hook_name: hook.hook_name.clone(),
            auto_scaling_group_name: Some(hook.auto_scaling_group_name.clone()),
            state: match (ours, over) {
                (false, _) => LifecycleActionState::Left,
                (true, false) => LifecycleActionState::Pending,
                (true, true) => LifecycleActionState::AlreadyDone,
            },
            heartbeats: 0,
            next_heartbeat_time: None,
            result: None,
            message: None,
            completed_at: over.then_some(now),
        });
    }

    /// When the machine goes: the earliest of all signals that still stand.
    pub(super) fn tell_deadline(&mut self, policy: &EffectivePolicy) {
        // A hook that this process has not read, or can not: what the record says of it, else a guess.
        let said = self.decision.status.deadline.as_ref().map(|d| d.0);
        let started = self.decision.status.started_at.as_ref().map(|t| t.0);
        let timeout = SignedDuration::from_secs(i64::from(policy.drain.timeout_seconds));
        let deadline = |s: &Signal| {
            if s.deadline.is_none() && s.kind == SignalKind::RebalanceRecommendation {
                // Nothing is announced: its time begins with the work.
                return started.map(|at| later(at, timeout));
            }
            let actions = &self.decision.status.lifecycle_actions;
            let (found, guessed) = found::deadline(self.view, actions, s, policy);
            Some(said.filter(|_| guessed).unwrap_or(found))
        };
        // A guess must not end a drain that another signal leaves time for: the hook will have been read in a moment.
        let margin = SignedDuration::from_secs(i64::from(policy.drain.deadline_margin_seconds));
        let presses = later(self.view.now, margin);
        let over_by_guess = |s: &Signal| {
            found::is_unread(self.view, s) && deadline(s).is_some_and(|at| at <= presses)
        };
        // The end of an action that is left alone is a guess: nobody reads its hook.
        let told = |s: &Signal| {
            let ours = action::of_signal(policy, s) >= Action::Cordon;
            s.deadline.is_some() || (ours && !over_by_guess(s))
        };
        let by = |told: &dyn Fn(&Signal) -> bool| {
            self.signals
                .iter()
                .filter(|s| told(s))
                .filter_map(|s| deadline(s))
                .min()
        };
        let earliest = by(&told).or_else(|| by(&|_| true));
        let by_hand = started
            .filter(|_| self.signals.is_empty())
            .map(|at| later(at, timeout));
        self.status().deadline = earliest.or(by_hand).map(Time);
    }
}
