//! The lifecycle actions' part of a pass: heartbeats from the record until the release, then completion.

use jiff::{SignedDuration, Timestamp};

use super::super::effect::{Effect, LifecycleResult};
use super::super::hooks::Grid;
use super::super::key::ActionKey;
use super::super::view::HookTimeout;
use super::{Pass, later};
use crate::api::Time;
use crate::api::policy::{Heartbeat, OnDrainFailure};
use crate::api::termination::{
    EffectivePolicy, LifecycleActionState, LifecycleActionStatus, Outcome, Phase, Signal,
};

impl Pass<'_> {
    /// Heartbeats that are due, from the record until the release; also on hold.
    pub(super) fn heartbeats(&mut self, policy: &EffectivePolicy) {
        let Some(heartbeat) = &policy.lifecycle.heartbeat else {
            // What was planned under a policy that had them never comes, and would count as overdue.
            for action in &mut self.status().lifecycle_actions {
                action.next_heartbeat_time = None;
            }
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
                    action: ActionKey::from(&action),
                });
            } else if let Some(at) = next {
                self.wake_at(at);
            }
            self.decision.status.lifecycle_actions[index].next_heartbeat_time = next.map(Time);
        }
    }

    /// The next heartbeat: as recorded, unless the hook turned out to need them sooner, or their time is over.
    pub(super) fn next_heartbeat(
        &self,
        action: &LifecycleActionStatus,
        signal: &Signal,
        heartbeat: &Heartbeat,
    ) -> Option<Timestamp> {
        let grid = Grid::new(
            heartbeat,
            self.view
                .hooks
                .get(&ActionKey::from(action))
                .and_then(HookTimeout::heartbeat),
        );
        let notice = signal.notice_time.0;
        // None has been sent: the first one, which is overdue when the notice came late. Else they were taken back
        // meanwhile, and go on from here.
        let planned = || match action.heartbeats {
            0 => grid.first(notice),
            _ => grid.after(notice, self.view.now),
        };
        let recorded = action.next_heartbeat_time.as_ref().map(|t| t.0);
        let recorded = recorded.or_else(planned)?;
        let sooner = if grid.shortened {
            grid.after(notice, self.view.now)
        } else {
            None
        };
        let next = sooner.map_or(recorded, |s| s.min(recorded));
        (!grid.is_over(notice, self.view.now)).then_some(next)
    }

    /// Completes every lifecycle action. `true`: nothing is owed to Auto Scaling any more.
    pub(super) fn release(&mut self, policy: &EffectivePolicy) -> bool {
        let failed = self.status().outcome == Some(Outcome::DrainIncomplete);
        let pending: Vec<ActionKey> = self
            .status()
            .lifecycle_actions
            .iter()
            .filter(|a| !a.state.is_over())
            .map(ActionKey::from)
            .collect();
        if !self.owes_lookup(policy) && pending.is_empty() {
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
        let recorded: Vec<ActionKey> = pending
            .into_iter()
            .filter(|action| self.is_on_record(action))
            .collect();
        let complete = |action| Effect::Complete { action, result };
        self.decision
            .effects
            .extend(recorded.into_iter().map(complete));
        false
    }

    pub(super) fn completion_due(&mut self, policy: &EffectivePolicy) -> Timestamp {
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

    pub(super) fn leave_actions(&mut self) {
        let now = self.now();
        for action in self
            .status()
            .lifecycle_actions
            .iter_mut()
            .filter(|a| !a.state.is_over())
        {
            action.close(LifecycleActionState::Left, now.clone());
        }
    }
}
