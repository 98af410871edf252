//! The drain's part of a pass: from the open view to its end, one way or another.

use jiff::SignedDuration;

use super::super::effect::Effect;
use super::super::say::CORDON_LIFTED;
use super::super::view::{HookTimeout, Machine, Pods};
use super::super::{ActionKey, pods, risk};
use super::{Pass, QUIET, later};
use crate::api::condition;
use crate::api::policy::OnDrainFailure;
use crate::api::termination::{EffectivePolicy, Outcome, Phase};
use crate::drain::select::Selection;
use crate::drain::{Plan, Window, plan};

/// No scheduler's cache is that old.
const KNOWN_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// Another replica leads within this, or none does.
const HAND_OVER: SignedDuration = SignedDuration::from_secs(10);

impl Pass<'_> {
    /// Moves the pods away. `true`: that is over, one way or another.
    pub(super) fn drain(&mut self, policy: &EffectivePolicy) -> bool {
        let ended = matches!(
            self.status().outcome,
            Some(Outcome::DrainIncomplete | Outcome::NodeGone)
        );
        if ended || self.status().drained_at.is_some() {
            return true;
        }
        let window = self.window(policy);
        if self.view.machine.node().is_none() && !self.pods_run_on(policy, window) {
            self.count_the_last(policy, window);
            return self.end_drain(Outcome::NodeGone);
        }
        self.status().phase = Some(Phase::Draining);
        self.status().released_at = None;
        self.note_volumes(policy);
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

    /// Somebody deleted the Node, and pods that were leaving are still there: as long as their kubelet lives they run.
    fn pods_run_on(&self, policy: &EffectivePolicy, window: Window) -> bool {
        let left = |pods| !self.plan(policy, window, pods).is_empty();
        self.view.machine == Machine::Gone && self.view.pods.is_some_and(left)
    }

    /// The Node went before its pods: those that went after it count too.
    fn count_the_last(&mut self, policy: &EffectivePolicy, window: Window) {
        let pods = self
            .view
            .pods
            .filter(|_| self.view.machine == Machine::Gone);
        if let (Some(pods), true) = (pods, self.status().pods.is_some()) {
            let plan = self.plan(policy, window, pods);
            self.status().pods = Some(pods::count(self.view, pods, &plan));
        }
    }

    /// What the node's pods are owed now.
    pub(super) fn plan(&self, policy: &EffectivePolicy, window: Window, pods: Pods<'_>) -> Plan {
        let selection = self.selection(policy);
        plan::plan(pods.pods, &selection, window, self.view.now)
    }

    /// Who is to leave.
    pub(super) fn selection<'p>(&'p self, policy: &'p EffectivePolicy) -> Selection<'p> {
        Selection {
            drain: &policy.drain,
            cordon: &policy.cordon,
            skip: policy
                .drain
                .skip_pod_selector
                .clone()
                .and_then(|s| s.try_into().ok()),
            cordoned_at: self.decision.status.cordoned_at.as_ref().map(|t| t.0),
            seen: self.view.seen,
            came: self.view.came,
            own_pod: self.view.own_pod,
        }
    }

    pub(super) fn move_pods(
        &mut self,
        policy: &EffectivePolicy,
        window: Window,
        pods: Pods<'_>,
    ) -> bool {
        let mut plan = self.plan(policy, window, pods);
        self.status().pods = Some(pods::count(self.view, pods, &plan));
        self.status().blocked = pods::blocked(self.view, pods, &plan);
        pods::name_left(self.status(), &plan);
        if let Some(at) = pods::told_at(self.view, pods) {
            self.wake_at(at);
        }
        if plan.is_empty() {
            let left = window.end().duration_since(self.view.now);
            if pods.quiet_for >= QUIET || left < QUIET || self.everybody_knows() {
                let now = self.now();
                self.status().drained_at = Some(now);
                self.note_kept(policy, pods);
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
        if let Some(at) = risk::tell(self.view, self.status(), &plan, pods) {
            self.wake_at(at);
        }
        if self.view.may_hand_over && plan.hold_own(HAND_OVER, self.view.now) {
            self.decision.effects.push(Effect::HandOver);
        }
        if !self.view.follows {
            self.decision.effects.push(Effect::Offer(plan));
        }
        false
    }

    /// The cordon is so old that every scheduler has seen it: whoever comes now does not heed it, and none is waited for.
    fn everybody_knows(&self) -> bool {
        let status = &self.decision.status;
        let lifted = condition::find(&status.conditions, CORDON_LIFTED);
        let closed = status.cordoned_at.iter().map(|t| t.0);
        let closed = closed.chain(lifted.map(|c| c.last_transition_time.0)).max();
        closed.is_some_and(|at| self.view.now >= later(at, KNOWN_AFTER))
    }

    pub(super) fn end_drain(&mut self, outcome: Outcome) -> bool {
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
        risk::end(self.view, self.status(), outcome);
        true
    }

    /// The drain's time is up. Under Wait it is not before the last lifecycle action has timed out by itself.
    pub(super) fn is_over(&mut self, policy: &EffectivePolicy, window: Window) -> bool {
        if self.view.now < window.over() {
            return false;
        }
        if policy.lifecycle.on_drain_failure != OnDrainFailure::Wait {
            return true;
        }
        let pending = self
            .decision
            .status
            .lifecycle_actions
            .iter()
            .filter(|a| !a.state.is_over());
        let last = pending
            .filter_map(|a| self.deadline_of_action(a, policy))
            .max();
        match last {
            Some(last) if self.view.now < last => {
                self.wake_at(last);
                false
            }
            _ => true,
        }
    }

    pub(super) fn window(&mut self, policy: &EffectivePolicy) -> Window {
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

    /// Whether the time-out of a hook that waits could not be read when it was asked for.
    fn fails_to_read(&self) -> bool {
        let mut pending = self.decision.status.lifecycle_actions.iter();
        pending.any(|a| {
            let told = self.view.hooks.get(&ActionKey::from(a));
            !a.state.is_over() && matches!(told, Some(HookTimeout::Unknown(_)))
        })
    }

    /// Asks for the time-outs of hooks that nobody has asked for: a drain must not cut graces by a guess.
    pub(super) fn read_hooks(&mut self) -> bool {
        let pending = &self.decision.status.lifecycle_actions;
        let unread: Vec<Effect> = pending
            .iter()
            .filter(|a| !a.state.is_over())
            .map(ActionKey::from)
            .filter(|action| !self.view.hooks.contains_key(action))
            .map(|action| Effect::ReadHook { action })
            .collect();
        let any = self.find_hooks() || !unread.is_empty();
        self.decision.effects.extend(unread);
        if any {
            // Nothing else tells that they have been read.
            self.wake_at(self.view.now);
        } else if self.fails_to_read() {
            self.wake_at(later(self.view.now, HookTimeout::UNKNOWN_FOR));
        }
        // Another signal that tells its deadline is not kept waiting.
        any && self.signals.iter().all(|s| s.deadline.is_none())
    }
}
