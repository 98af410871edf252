//! One pass: the steps of an incident in order. The first that is not done ends the pass.

mod drain;
mod end;
mod find;
mod observe;
mod out_of_service;
mod release;
mod take_up;
mod volumes;
mod wait;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::action;
use super::effect::Effect;
use super::standing::standing;
use super::view::{Machine, View};
use super::{risk, say};
use crate::api::Time;
use crate::api::condition::Statement;
use crate::api::policy::Action;
use crate::api::termination::{
    EffectivePolicy, FINALIZER, NodeIdentity, NodeTerminationStatus, Outcome, Phase, Signal,
    SignalStatus, WaitReason,
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
        self.tell_of_service();
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
        if self.returns_to_service() {
            return;
        }
        if self.view.object.spec.hold && !self.rests() && self.view.machine.node().is_some() {
            return self.hold(&policy);
        }
        if self.waits(&policy, action) {
            return;
        }
        self.begin_again(&policy);
        if action < Action::CordonAndDrain && self.status().phase == Some(Phase::Draining) {
            // What asked for the drain was taken back.
            let stop = [Effect::Withdraw, Effect::CloseView];
            self.decision.effects.extend(stop);
        }
        if action >= Action::Cordon && !self.cordon(&policy) {
            // A node that a person has opened is not given up.
            if self.status().waiting.is_some() || !self.gives_up(&policy) {
                return;
            }
        }
        if action == Action::CordonAndDrain {
            self.goes_out_of_service(&policy);
            if !self.drain(&policy) || !self.detach(&policy) {
                return;
            }
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

    /// States one condition.
    fn state(&mut self, kind: &'static str, holds: bool, reason: &str, message: impl Into<String>) {
        let statement = Statement::new(kind, holds, reason, message);
        say::state(self.view, self.status(), statement);
    }

    fn now(&self) -> Time {
        Time(self.view.now)
    }

    fn wake_at(&mut self, at: Timestamp) {
        let wake = self.decision.wake.map_or(at, |w| w.min(at));
        self.decision.wake = Some(wake);
    }

    /// Our work is done, and nothing is owed to Auto Scaling.
    fn rests(&self) -> bool {
        let status = &self.decision.status;
        let owes = status.lifecycle_actions.iter().any(|a| !a.state.is_over());
        status.phase == Some(Phase::Released) && !owes
    }

    /// A drain that ended with pods left is taken up again when something new is heard.
    fn begin_again(&mut self, policy: &EffectivePolicy) {
        let before = self.view.object.status.as_ref();
        let heard = before.map_or(&[][..], |s| &s.signals);
        let new = |s: &&Signal| !heard.iter().any(|h| h.id == s.id);
        let again = self.acting(policy).iter().any(new);
        if again && self.status().outcome == Some(Outcome::DrainIncomplete) {
            let now = self.now();
            let status = self.status();
            status.outcome = None;
            status.started_at = Some(now);
            self.tell_deadline(policy);
        }
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
        if self.is_taken_over(node, &name) {
            let patch = cordon::disown(node);
            self.decision.effects.insert(0, Effect::Cordon { patch });
            return false;
        }
        if cordon::is_closed(node, &name, &policy.cordon) {
            self.closed_again(policy);
            risk::is_closed(self.view, self.status());
        } else {
            if self.respects_uncordon(node, policy) {
                return false;
            }
            if self.is_told_to_be_left_open(node) {
                // Nothing but the report is waited for. When it is written, the object has changed, if that was seen.
                self.wake_at(later(self.view.now, QUIET));
                return false;
            }
            let kind = action::most_urgent(&self.signals);
            let patch = cordon::close(node, &name, &policy.cordon, kind.as_str());
            self.decision.effects.insert(0, Effect::Cordon { patch });
            return false;
        }
        if !self.has_finalizer() {
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
        risk::forget(status);
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
