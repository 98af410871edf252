//! One pass: the steps of an incident in order. The first that is not done ends the pass.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::effect::{Effect, LifecycleResult};
use super::hooks::{self, Grid};
use super::view::{HookTimeout, Machine, Pods, View};
use super::{action, pods};
use crate::api::Time;
use crate::api::policy::{Action, Heartbeat, OnDrainFailure};
use crate::api::termination::{
    EffectivePolicy, FINALIZER, LifecycleActionState, LifecycleActionStatus, NodeTerminationStatus,
    Outcome, Phase, Signal, SignalStatus,
};
use crate::drain::select::Selection;
use crate::drain::{Window, cordon, plan};

/// After our work is done the incident stays open this long for what follows it (`shutting-down` after a spot
/// notice), unless the Node goes before.
const LINGER: SignedDuration = SignedDuration::from_secs(900);
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
        if self.view.object.spec.hold && !released {
            return self.hold(&policy);
        }
        if action >= Action::Cordon && !self.cordon(&policy) {
            return;
        }
        if action == Action::CordonAndDrain && !self.drain(&policy) {
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
        let status = self.status();
        status.policy.get_or_insert_with(|| policy.clone());
        if action >= Action::Cordon {
            status.started_at.get_or_insert(now);
        }
        for signal in signals.iter().filter(|s| s.lifecycle_hook.is_some()) {
            if status
                .lifecycle_actions
                .iter()
                .any(|a| a.signal_id == signal.id)
            {
                continue;
            }
            let ours = action::of_signal(policy, signal) >= Action::Cordon;
            let grid = policy
                .lifecycle
                .heartbeat
                .as_ref()
                .map(|h| Grid::new(h, timeout_of(hooks.get(&signal.id))));
            status.lifecycle_actions.push(LifecycleActionStatus {
                signal_id: signal.id.clone(),
                state: if ours {
                    LifecycleActionState::Pending
                } else {
                    LifecycleActionState::Left
                },
                heartbeats: 0,
                next_heartbeat_time: grid
                    .filter(|_| ours)
                    .and_then(|g| g.first(signal.notice_time.0))
                    .map(Time),
                result: None,
                message: None,
                completed_at: None,
            });
        }
        // A hook that this process has not read yet: what the record says of it, else a guess.
        let said = status.deadline.as_ref().map(|d| d.0);
        let deadline = |s: &Signal| {
            let unread = s.lifecycle_hook.is_some() && !hooks.contains_key(&s.id);
            let found = hooks::deadline(s, hooks.get(&s.id), &policy.drain, &policy.lifecycle);
            said.filter(|_| unread).unwrap_or(found)
        };
        // The end of an action that is left alone is a guess: nobody reads its hook.
        let told =
            |s: &&Signal| s.deadline.is_some() || action::of_signal(policy, s) >= Action::Cordon;
        let earliest = signals.iter().filter(told).map(deadline).min();
        status.deadline = earliest
            .or_else(|| signals.iter().map(deadline).min())
            .map(Time);
    }

    /// Heartbeats that are due, from the record until the release; also on hold.
    fn heartbeats(&mut self, policy: &EffectivePolicy) {
        let Some(heartbeat) = &policy.lifecycle.heartbeat else {
            return;
        };
        for index in 0..self.decision.status.lifecycle_actions.len() {
            let action = self.decision.status.lifecycle_actions[index].clone();
            if action.state != LifecycleActionState::Pending {
                continue;
            }
            let Some(signal) = self.signals.iter().find(|s| s.id == action.signal_id) else {
                continue;
            };
            let next = self.next_heartbeat(&action, signal, heartbeat);
            if next.is_some_and(|at| at <= self.view.now) {
                self.decision.effects.push(Effect::Heartbeat {
                    signal_id: signal.id.clone(),
                });
            } else if let Some(at) = next {
                self.wake_at(at);
            }
            self.decision.status.lifecycle_actions[index].next_heartbeat_time = next.map(Time);
        }
    }

    /// The next heartbeat: as recorded, unless the hook turned out to need them sooner, or their time is over.
    fn next_heartbeat(
        &self,
        action: &LifecycleActionStatus,
        signal: &Signal,
        heartbeat: &Heartbeat,
    ) -> Option<Timestamp> {
        let grid = Grid::new(heartbeat, timeout_of(self.view.hooks.get(&signal.id)));
        let notice = signal.notice_time.0;
        let recorded = action.next_heartbeat_time.as_ref()?.0;
        let sooner = if grid.shortened {
            grid.after(notice, self.view.now)
        } else {
            None
        };
        let next = sooner.map_or(recorded, |s| s.min(recorded));
        (!grid.is_over(notice, self.view.now)).then_some(next)
    }

    /// Frozen by hand: nothing further is evicted or completed.
    fn hold(&mut self, policy: &EffectivePolicy) {
        if policy.lifecycle.heartbeat.is_some() {
            // The hook may not survive the policy's interval.
            self.read_hooks();
        }
        self.decision.effects.push(Effect::Withdraw);
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

    /// Moves the pods away. `true`: that is over, one way or another.
    fn drain(&mut self, policy: &EffectivePolicy) -> bool {
        let ended = matches!(
            self.status().outcome,
            Some(Outcome::DrainIncomplete | Outcome::NodeGone)
        );
        if ended || self.status().drained_at.is_some() {
            return true;
        }
        if self.view.machine.node().is_none() {
            return self.end_drain(Outcome::NodeGone);
        }
        self.status().phase = Some(Phase::Draining);
        self.status().released_at = None;
        let window = self.window(policy);
        self.decision.effects.push(Effect::OpenView {
            deadline: window.deadline,
        });
        let unread = self.read_hooks();
        if window.over() > self.view.now {
            self.wake_at(window.over());
        }
        match self.view.pods {
            _ if unread => false,
            None => self.is_over(policy, window) && self.end_drain(Outcome::DrainIncomplete),
            Some(pods) => self.move_pods(policy, window, pods),
        }
    }

    fn move_pods(&mut self, policy: &EffectivePolicy, window: Window, pods: Pods<'_>) -> bool {
        let selection = Selection {
            drain: &policy.drain,
            cordon: &policy.cordon,
            skip: policy
                .drain
                .skip_pod_selector
                .clone()
                .and_then(|s| s.try_into().ok()),
            cordoned_at: self.status().cordoned_at.as_ref().map(|t| t.0),
            own_pod: self.view.own_pod,
        };
        let plan = plan::plan(pods.pods, &selection, window, self.view.now);
        self.status().pods = Some(pods::count(self.view, pods, &plan));
        self.status().blocked = pods::blocked(pods, &plan, self.view.now);
        if let Some(at) = pods::told_at(pods, self.view.now) {
            self.wake_at(at);
        }
        if plan.is_empty() {
            let left = window.end().duration_since(self.view.now);
            if pods.quiet_for >= QUIET || left < QUIET {
                let now = self.now();
                self.status().drained_at = Some(now);
                return self.end_drain(Outcome::Drained);
            }
            self.wake_at(later(
                self.view.now,
                QUIET.checked_sub(pods.quiet_for).unwrap_or(QUIET),
            ));
        }
        if self.is_over(policy, window) {
            return self.end_drain(Outcome::DrainIncomplete);
        }
        if let Some(at) = plan.wake {
            self.wake_at(at);
        }
        self.decision.effects.push(Effect::Offer(plan));
        false
    }

    fn end_drain(&mut self, outcome: Outcome) -> bool {
        self.decision
            .effects
            .retain(|e| !matches!(e, Effect::OpenView { .. }));
        self.decision
            .effects
            .extend([Effect::Withdraw, Effect::CloseView]);
        self.status().outcome = Some(outcome);
        if outcome != Outcome::DrainIncomplete {
            self.status().blocked.clear();
        }
        true
    }

    /// The drain's time is up. Under Wait it is not before the last lifecycle action has timed out by itself.
    fn is_over(&mut self, policy: &EffectivePolicy, window: Window) -> bool {
        if self.view.now < window.over() {
            return false;
        }
        if policy.lifecycle.on_drain_failure != OnDrainFailure::Wait {
            return true;
        }
        let pending = |s: &&Signal, status: &NodeTerminationStatus| {
            status
                .lifecycle_actions
                .iter()
                .any(|a| a.signal_id == s.id && !a.state.is_over())
        };
        let status = self.decision.status.clone();
        let last = self
            .signals
            .iter()
            .filter(|s| pending(s, &status))
            .map(|s| {
                hooks::deadline(
                    s,
                    self.view.hooks.get(&s.id),
                    &policy.drain,
                    &policy.lifecycle,
                )
            })
            .max();
        match last {
            Some(last) if self.view.now < last => {
                self.wake_at(last);
                false
            }
            _ => true,
        }
    }

    fn window(&mut self, policy: &EffectivePolicy) -> Window {
        let now = self.now();
        let status = self.status();
        let start = status.started_at.clone().unwrap_or_else(|| now.clone()).0;
        let deadline = status.deadline.clone().unwrap_or(now).0;
        Window {
            start,
            deadline,
            margin: SignedDuration::from_secs(i64::from(policy.drain.deadline_margin_seconds)),
        }
    }

    /// Asks for the time-outs of hooks that nobody has asked for: a drain must not cut graces by a guess.
    fn read_hooks(&mut self) -> bool {
        let pending = &self.decision.status.lifecycle_actions;
        let unread: Vec<Effect> = pending
            .iter()
            .filter(|a| !a.state.is_over() && !self.view.hooks.contains_key(&a.signal_id))
            .map(|a| Effect::ReadHook {
                signal_id: a.signal_id.clone(),
            })
            .collect();
        let any = !unread.is_empty();
        self.decision.effects.extend(unread);
        if any {
            // Nothing else tells that they have been read.
            self.wake_at(self.view.now);
        }
        any
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
                self.status().outcome.get_or_insert(outcome);
            }
            Action::CordonAndDrain => {}
        }
    }

    /// Completes every lifecycle action. `true`: nothing is owed to Auto Scaling any more.
    fn release(&mut self, policy: &EffectivePolicy) -> bool {
        let failed = self.status().outcome == Some(Outcome::DrainIncomplete);
        let pending: Vec<String> = self
            .status()
            .lifecycle_actions
            .iter()
            .filter(|a| !a.state.is_over())
            .map(|a| a.signal_id.clone())
            .collect();
        if pending.is_empty() {
            return true;
        }
        let result = match (failed, policy.lifecycle.on_drain_failure) {
            (true, OnDrainFailure::Wait) => {
                self.leave_actions();
                return true;
            }
            (true, OnDrainFailure::Abandon) => LifecycleResult::Abandon,
            _ => LifecycleResult::Continue,
        };
        self.status().phase = Some(Phase::Releasing);
        self.status().released_at = None;
        if policy.lifecycle.completion_delay_seconds > 0 && self.read_hooks() {
            return false;
        }
        let due = self.completion_due(policy);
        if due > self.view.now {
            self.wake_at(due);
            return false;
        }
        self.decision.effects.extend(
            pending
                .into_iter()
                .map(|signal_id| Effect::Complete { signal_id, result }),
        );
        false
    }

    fn completion_due(&mut self, policy: &EffectivePolicy) -> Timestamp {
        let now = self.view.now;
        let drained = self
            .status()
            .drained_at
            .clone()
            .or_else(|| self.status().cordoned_at.clone());
        let delay = SignedDuration::from_secs(i64::from(policy.lifecycle.completion_delay_seconds));
        let wanted = drained.map_or(now, |t| later(t.0, delay));
        // A delay must not cost the action itself.
        let window = self.window(policy);
        wanted.min(window.over())
    }

    fn leave_actions(&mut self) {
        let now = self.now();
        for action in self
            .status()
            .lifecycle_actions
            .iter_mut()
            .filter(|a| !a.state.is_over())
        {
            action.state = LifecycleActionState::Left;
            action.next_heartbeat_time = None;
            action.completed_at = Some(now.clone());
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
            .and_then(|n| cordon::open(n, &name))
        {
            self.decision.effects.push(Effect::Open { patch });
            return;
        }
        self.status().blocked.clear();
        self.finish(phase, outcome);
    }

    fn finish(&mut self, phase: Phase, outcome: Outcome) {
        self.leave_actions();
        let now = self.now();
        let status = self.status();
        status.phase = Some(phase);
        status.outcome = Some(outcome);
        status.completed_at = Some(now);
        self.decision.finishing = true;
        self.decision.wake = None;
    }

    /// Finished: only the finalizer is left to go.
    fn let_go(&mut self) {
        self.decision
            .effects
            .extend([Effect::Withdraw, Effect::CloseView]);
        if self.has_finalizer() {
            self.decision.effects.push(Effect::RemoveFinalizer);
        }
    }

    fn has_finalizer(&self) -> bool {
        self.view.object.finalizers().iter().any(|f| f == FINALIZER)
    }
}

fn timeout_of(hook: Option<&HookTimeout>) -> Option<SignedDuration> {
    match hook {
        Some(HookTimeout::Known { heartbeat, .. }) => Some(*heartbeat),
        _ => None,
    }
}

fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}
