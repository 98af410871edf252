//! One pass: the steps of an incident in order. The first that is not done ends the pass.

mod drain;
mod find;
mod observe;
mod release;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::action;
use super::effect::Effect;
use super::hooks::{self, Grid};
use super::key::ActionKey;
use super::view::{Machine, View};
use super::{foresee, found};
use crate::api::Time;
use crate::api::policy::Action;
use crate::api::termination::{
    EffectivePolicy, FINALIZER, LIFECYCLE_ACTIONS_MAX, LifecycleActionState, LifecycleActionStatus,
    NodeTerminationStatus, Outcome, Phase, Signal, SignalStatus,
};
use crate::drain::cordon;
use crate::drain::window::later;

/// After our work is done the incident stays open this long for what follows it (`shutting-down` after a spot
/// notice), unless the Node goes before.
const LINGER: SignedDuration = SignedDuration::from_secs(900);
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
        signals: &view.object.spec.signals,
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
    signals: &'a [Signal],
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
        let Some(policy) = self
            .status()
            .policy
            .clone()
            .or_else(|| self.view.policy.cloned())
        else {
            return self.undo(Phase::Completed, Outcome::NoPolicy);
        };
        let action = action::of_all(&policy, self.signals);
        self.take_up(&policy, action);
        self.heartbeats(&policy);
        let released = self.status().phase == Some(Phase::Released);
        if self.view.object.spec.hold && !released && self.view.machine.node().is_some() {
            return self.hold(&policy);
        }
        if action >= Action::Cordon && !self.cordon(&policy) && !self.gives_up(&policy) {
            return;
        }
        if action == Action::CordonAndDrain && !self.drain(&policy) {
            return;
        }
        if action == Action::Observe && !self.foresee(&policy) {
            return;
        }
        self.conclude(action);
        if self.release(&policy) {
            self.wait_for_the_end();
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
        let signals = self.signals;
        let generation = self.view.object.metadata.generation;
        let status = self.status();
        status.observed_generation = generation;
        status.reason = Some(action::most_urgent(signals));
        for signal in signals {
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
    fn take_up(&mut self, policy: &EffectivePolicy, action: Action) {
        let now = self.now();
        let (signals, hooks) = (self.signals, self.view.hooks);
        let gone = self.view.machine.node().is_none();
        let status = self.status();
        status.policy.get_or_insert_with(|| policy.clone());
        if action >= Action::Cordon {
            if status.started_at.is_none() {
                foresee::forget(status);
            }
            status.started_at.get_or_insert_with(|| now.clone());
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
        // A hook that this process has not read, or can not: what the record says of it, else a guess.
        let said = status.deadline.as_ref().map(|d| d.0);
        let deadline = |s: &Signal| {
            let (found, guessed) = found::deadline(self.view, &status.lifecycle_actions, s, policy);
            said.filter(|_| guessed).unwrap_or(found)
        };
        // The end of an action that is left alone is a guess: nobody reads its hook.
        let told =
            |s: &&Signal| s.deadline.is_some() || action::of_signal(policy, s) >= Action::Cordon;
        let earliest = signals.iter().filter(told).map(deadline).min();
        let deadline = earliest.or_else(|| signals.iter().map(deadline).min());
        self.status().deadline = deadline.map(Time);
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
        self.status().phase = Some(Phase::Waiting);
    }

    /// Closes the node. `true`: it is closed, or there is none to close.
    fn cordon(&mut self, policy: &EffectivePolicy) -> bool {
        let Some(node) = self.view.machine.node() else {
            return true;
        };
        let name = self.view.object.name_any();
        let add_finalizer = !self.has_finalizer();
        if !cordon::is_closed(node, &name, &policy.cordon) {
            let kind = action::most_urgent(self.signals);
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

    /// Our work is done. The object stays open for what follows, until the Node is gone.
    fn wait_for_the_end(&mut self) {
        let now = self.now();
        let status = self.status();
        status.phase = Some(Phase::Released);
        let released = status.released_at.get_or_insert(now).0;
        let closes = later(released, LINGER);
        let failed = status.outcome == Some(Outcome::DrainIncomplete);
        if self.view.machine.node().is_none() || self.view.now >= closes {
            let outcome = self.status().outcome.unwrap_or(Outcome::Drained);
            return self.finish(
                if failed {
                    Phase::Failed
                } else {
                    Phase::Completed
                },
                outcome,
            );
        }
        self.wake_at(closes);
    }

    /// Stops, and takes off the node what was put on for this incident; then the incident is over.
    fn undo(&mut self, phase: Phase, outcome: Outcome) {
        self.decision
            .effects
            .extend([Effect::Withdraw, Effect::CloseView]);
        let name = self.view.object.name_any();
        if let Some(patch) = self
            .view
            .machine
            .node()
            .filter(|n| cordon::is_marked(n, &name))
            .and_then(|n| cordon::open(n, &name, self.view.neighbours))
        {
            self.decision.effects.push(Effect::Open { patch });
            return;
        }
        self.status().blocked.clear();
        self.finish(phase, outcome);
    }

    fn finish(&mut self, phase: Phase, outcome: Outcome) {
        self.leave_actions();
        if !matches!(outcome, Outcome::DrainIncomplete | Outcome::Observed) {
            self.forget_blocked();
        }
        let now = self.now();
        let status = self.status();
        status.phase = Some(phase);
        status.outcome = Some(outcome);
        status.completed_at = Some(now);
        self.decision.finishing = true;
        self.decision.wake = None;
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
