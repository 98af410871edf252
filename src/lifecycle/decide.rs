//! One pass: the steps of an incident in order. The first that is not done ends the pass.

mod drain;
mod end;
mod find;
mod observe;
mod release;
mod wait;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::action;
use super::effect::Effect;
use super::found;
use super::hooks::{self, Grid};
use super::key::ActionKey;
use super::standing::standing;
use super::view::{Machine, View};
use crate::api::Time;
use crate::api::policy::Action;
use crate::api::termination::{
    EffectivePolicy, FINALIZER, LIFECYCLE_ACTIONS_MAX, LifecycleActionState, LifecycleActionStatus,
    NodeIdentity, NodeTerminationStatus, Outcome, Phase, Signal, SignalKind, SignalStatus,
    WaitReason,
};
use crate::drain::cordon;
use crate::drain::window::later;

/// A cordon is tried this long at least, however late the notice came.
const CORDON_TRIED: SignedDuration = SignedDuration::from_secs(30);
/// A scheduler that has not seen the cordon yet may still bind pods for a moment.
const QUIET: SignedDuration = SignedDuration::from_secs(5);

/// What a pass does and says.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What is to be done, in order.
    pub effects: Vec<Effect>,
    /// What the record should say.
    pub status: NodeTerminationStatus,
    /// When to look again by time alone.
    pub wake: Option<Timestamp>,
    /// This report closes the incident: it must not overlook a signal that slips in.
    pub finishing: bool,
}

/// Decides one pass.
#[must_use]
pub fn decide(view: &View<'_>) -> Decision {
    let mut pass = Pass {
        view,
        signals: standing(&view.object.spec.signals),
        decision: start(view),
    };
    pass.run();
    pass.decision
}

fn start(view: &View<'_>) -> Decision {
    let status = view.object.status.clone().unwrap_or_default();
    Decision {
        effects: Vec::new(),
        status,
        wake: None,
        finishing: false,
    }
}

struct Pass<'a> {
    view: &'a View<'a>,
    /// The signals that still stand.
    signals: Vec<&'a Signal>,
    decision: Decision,
}

impl Pass<'_> {
    fn run(&mut self) {
        if self.status().phase.is_some_and(Phase::is_finished) {
            return self.let_go();
        }
        self.observe();
        if self.view.object.spec.cancel || self.view.object.metadata.deletion_timestamp.is_some() {
            return self.undo(Phase::Canceled, Outcome::Canceled);
        }
        if self.view.machine == Machine::Mismatch {
            return self.finish(Phase::Failed, Outcome::IdentityMismatch);
        }
        if self.is_by_hand() && self.status().node.is_none() {
            return self.await_node();
        }
        let Some(policy) = self.policy() else {
            return self.undo(Phase::Completed, Outcome::NoPolicy);
        };
        if let Some((phase, outcome)) = self.ends_early(&policy) {
            return self.undo(phase, outcome);
        }
        let action = action::of_all(&policy, &self.signals);
        self.take_up(&policy);
        self.heartbeats(&policy);
        let released = self.status().phase == Some(Phase::Released);
        if self.view.object.spec.hold && !released && self.view.machine.node().is_some() {
            return self.hold(&policy);
        }
        if self.waits(&policy, action) {
            return;
        }
        if action >= Action::Cordon && !self.cordon(&policy) {
            // A node that a person has opened is not given up.
            if self.status().waiting.is_some() || !self.gives_up(&policy) {
                return;
            }
        }
        if action == Action::CordonAndDrain && !self.drain(&policy) {
            return;
        }
        if action == Action::Observe && !self.foresee(&policy) {
            return;
        }
        self.conclude(action);
        if self.release(&policy) {
            self.wait_for_the_end(&policy);
        }
    }

    fn status(&mut self) -> &mut NodeTerminationStatus {
        &mut self.decision.status
    }

    fn now(&self) -> Time {
        Time(self.view.now)
    }

    fn wake_at(&mut self, at: Timestamp) {
        let wake = self.decision.wake.map_or(at, |w| w.min(at));
        self.decision.wake = Some(wake);
    }

    /// Takes down what is there: new signals, the generation, the most urgent kind.
    fn observe(&mut self) {
        let received_time = self.now();
        let all = &self.view.object.spec.signals;
        let generation = self.view.object.metadata.generation;
        let reason = if self.signals.is_empty() {
            action::most_urgent(&all.iter().collect::<Vec<_>>())
        } else {
            action::most_urgent(&self.signals)
        };
        let node = self.view.machine.node();
        let status = self.status();
        status.observed_generation = generation;
        status.reason = Some(reason);
        if let Some(node) = node {
            // Until work begins: then another boot ID means that the machine is back.
            let found = status.node.get_or_insert_with(|| NodeIdentity {
                uid: node.uid.clone(),
                instance_id: node.instance_id.clone(),
                boot_id: None,
            });
            if status.started_at.is_none() || found.boot_id.is_none() {
                found.boot_id.clone_from(&node.boot_id);
            }
        }
        for signal in all {
            if !status.signals.iter().any(|s| s.id == signal.id) {
                status.signals.push(SignalStatus {
                    id: signal.id.clone(),
                    received_time: received_time.clone(),
                });
            }
        }
        status.phase.get_or_insert(Phase::Pending);
    }

    /// Copies the settings and takes up every lifecycle action.
    fn take_up(&mut self, policy: &EffectivePolicy) {
        let now = self.now();
        let (signals, hooks) = (&self.view.object.spec.signals, self.view.hooks);
        let gone = self.view.machine.node().is_none();
        let status = &mut self.decision.status;
        if status.policy.as_ref() != Some(policy) {
            status.policy = Some(policy.clone());
        }
        for signal in signals.iter().filter(|s| s.lifecycle_hook.is_some()) {
            if status
                .lifecycle_actions
                .iter()
                .any(|a| a.signal_id == signal.id)
                || status.lifecycle_actions.len() >= LIFECYCLE_ACTIONS_MAX
            {
                continue;
            }
            let ours = action::of_signal(policy, signal) >= Action::Cordon;
            let over = signal.lifecycle_hook.as_ref().is_some_and(|hook| {
                found::hand_over(&mut status.lifecycle_actions, signals, signal, hook)
            });
            let grid = policy.lifecycle.heartbeat.as_ref().map(|h| {
                Grid::new(
                    h,
                    ActionKey::of_signal(signal).and_then(|key| hooks.get(&key)?.heartbeat()),
                )
            });
            status.lifecycle_actions.push(LifecycleActionStatus {
                signal_id: signal.id.clone(),
                hook_name: signal
                    .lifecycle_hook
                    .as_ref()
                    .map_or_else(String::new, |h| h.hook_name.clone()),
                auto_scaling_group_name: signal
                    .lifecycle_hook
                    .as_ref()
                    .map(|h| h.auto_scaling_group_name.clone()),
                state: match (ours, over) {
                    (false, _) => LifecycleActionState::Left,
                    (true, false) => LifecycleActionState::Pending,
                    (true, true) => LifecycleActionState::AlreadyDone,
                },
                heartbeats: 0,
                next_heartbeat_time: grid
                    .filter(|_| ours && !over)
                    .and_then(|g| g.first(signal.notice_time.0))
                    .map(Time),
                result: None,
                message: None,
                completed_at: over.then(|| now.clone()),
            });
        }
        self.take_up_found(policy);
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
                action.state = LifecycleActionState::Left;
                action.next_heartbeat_time = None;
                action.completed_at = Some(now.clone());
            }
        }
        self.tell_deadline(policy);
    }

    /// When the machine goes: the earliest of all signals that still stand.
    fn tell_deadline(&mut self, policy: &EffectivePolicy) {
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
        // The end of an action that is left alone is a guess: nobody reads its hook.
        let told =
            |s: &Signal| s.deadline.is_some() || action::of_signal(policy, s) >= Action::Cordon;
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

    /// The node can not be closed, and the time of the drain is over: the lifecycle actions are still owed an end.
    fn gives_up(&mut self, policy: &EffectivePolicy) -> bool {
        let window = self.window(policy);
        let over = window.over().max(later(window.start, CORDON_TRIED));
        if self.view.now < over {
            self.wake_at(over);
            return false;
        }
        // Not by a guess.
        if self.read_hooks() {
            return false;
        }
        self.status().outcome = Some(Outcome::DrainIncomplete);
        true
    }

    /// Frozen by hand: nothing further is evicted or completed.
    fn hold(&mut self, policy: &EffectivePolicy) {
        if policy.lifecycle.heartbeat.is_some() {
            // The hook may not survive the policy's interval.
            self.read_hooks();
        }
        self.decision
            .effects
            .extend([Effect::Withdraw, Effect::CloseView]);
        self.forget_blocked();
        self.wait(WaitReason::Held, None);
    }

    /// Closes the node. `true`: it is closed, or there is none to close.
    fn cordon(&mut self, policy: &EffectivePolicy) -> bool {
        let Some(node) = self.view.machine.node() else {
            return true;
        };
        let name = self.view.object.name_any();
        let add_finalizer = !self.has_finalizer();
        if cordon::is_closed(node, &name, &policy.cordon) {
            self.closed_again(policy);
        } else {
            if self.respects_uncordon(node, policy) {
                return false;
            }
            let kind = action::most_urgent(&self.signals);
            let patch = cordon::close(node, &name, &policy.cordon, kind.as_str());
            self.decision.effects.insert(
                0,
                Effect::Cordon {
                    patch,
                    add_finalizer,
                },
            );
            return false;
        }
        if add_finalizer {
            self.decision.effects.push(Effect::AddFinalizer);
        }
        let now = self.now();
        self.status().cordoned_at.get_or_insert(now);
        true
    }

    fn conclude(&mut self, action: Action) {
        match action {
            Action::Ignore | Action::Observe => self.status().outcome = Some(Outcome::Observed),
            Action::Cordon => {
                let outcome = if self.view.machine.node().is_some() {
                    Outcome::Cordoned
                } else {
                    Outcome::NodeGone
                };
                self.status().outcome.take_if(|o| *o == Outcome::Observed);
                self.status().outcome.get_or_insert(outcome);
            }
            Action::CordonAndDrain => {}
        }
    }

    /// Nobody is waited for any more, so nobody blocks.
    fn forget_blocked(&mut self) {
        let status = self.status();
        status.blocked.clear();
        if let Some(pods) = &mut status.pods {
            pods.blocked = 0;
        }
    }

    /// Finished: only the finalizer is left to go. The node may be another incident's by now.
    fn let_go(&mut self) {
        if self.has_finalizer() {
            self.decision.effects.push(Effect::RemoveFinalizer);
        }
    }

    fn has_finalizer(&self) -> bool {
        self.view.object.finalizers().iter().any(|f| f == FINALIZER)
    }
}
