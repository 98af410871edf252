//! What an incident waits for: a person, a maintenance window, a turn under the policy's limit, its node.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::super::effect::Effect;
use super::super::say::CORDON_LIFTED;
use super::super::standing::Work;
use super::super::{foresee, found, limits};
use super::{Action, Pass, later};
use crate::api::Time;
use crate::api::condition;
use crate::api::termination::{
    EffectivePolicy, Outcome, Phase, Signal, SignalKind, WaitReason, Waiting,
};
use crate::drain::{Node, cordon};

/// A node that is named by hand may register this long after.
const NODE_AWAITED: SignedDuration = SignedDuration::from_mins(5);

/// Somebody opened the node and we closed it again.
const CLOSED_AGAIN: &str = "ClosedAgain";
/// Somebody opened the node and we are about to close it.
const LIFTED: &str = "Lifted";
/// Somebody opened the node again, and it is left so.
const RESPECTED: &str = "Respected";

impl Pass<'_> {
    /// Nothing was heard: a person asks for it.
    pub(super) fn is_by_hand(&self) -> bool {
        self.view.object.spec.signals.is_empty()
    }

    pub(super) fn wait(&mut self, reason: WaitReason, until: Option<Timestamp>) {
        let status = self.status();
        status.phase = Some(Phase::Waiting);
        status.waiting = Some(Waiting {
            reason,
            until: until.map(Time),
        });
        if let Some(until) = until {
            self.wake_at(until);
        }
    }

    /// No Node has the name that a person has given: a typing error, or it has not registered yet.
    pub(super) fn await_node(&mut self) {
        let made = self.view.object.metadata.creation_timestamp.as_ref();
        let until = later(made.map_or(self.view.now, |t| t.0), NODE_AWAITED);
        if self.view.now >= until {
            return self.finish(Phase::Failed, Outcome::NodeNotFound);
        }
        self.wait(WaitReason::NodeNotFound, Some(until));
    }

    /// The settings: as the policy has them until work starts, then as they were copied. What a person asks for needs no
    /// policy.
    pub(super) fn policy(&self) -> Option<EffectivePolicy> {
        let status = &self.decision.status;
        let (copied, now) = (status.policy.as_ref(), self.view.policy);
        let settings = if status.has_begun() {
            copied.or(now)
        } else {
            now.or(copied)
        };
        let by_hand = self.is_by_hand().then(EffectivePolicy::default);
        settings.cloned().or(by_hand)
    }

    /// Whether work is still to begin, and must not yet. When it may, it begins.
    pub(super) fn waits(&mut self, policy: &EffectivePolicy, action: Action) -> bool {
        let status = self.status();
        let waited = status.waiting.take().map(|w| w.reason);
        if status.phase == Some(Phase::Waiting) {
            status.phase = Some(Phase::Pending);
        }
        if waited == Some(WaitReason::Held) {
            self.starts_anew(policy);
        }
        if action < Action::Cordon || self.status().started_at.is_some() {
            return false;
        }
        let there = self.view.machine.node().is_some();
        if let Some(opens) = self.window_opens(policy).filter(|_| there) {
            self.wait(WaitReason::MaintenanceWindow, Some(opens));
            return true;
        }
        if there && self.awaits_turn(policy) {
            return true;
        }
        let now = self.now();
        foresee::forget(self.status());
        self.status().started_at = Some(now);
        self.tell_deadline(policy);
        false
    }

    /// When work may begin, if nothing is announced but maintenance that lies ahead.
    fn window_opens(&self, policy: &EffectivePolicy) -> Option<Timestamp> {
        let lead = SignedDuration::from_secs(i64::from(policy.maintenance.lead_seconds));
        let opens = |s: &Signal| {
            let event = s
                .maintenance
                .as_ref()
                .filter(|m| Work::of(m).is_patient())?;
            event.not_before.as_ref()?.0.checked_sub(lead).ok()
        };
        let acting = self.acting(policy);
        let times: Option<Vec<Timestamp>> = acting.iter().map(|s| opens(s)).collect();
        times?.into_iter().min().filter(|at| *at > self.view.now)
    }

    /// Whether the policy's limit holds the incident back. It may then only wait until something presses.
    fn awaits_turn(&mut self, policy: &EffectivePolicy) -> bool {
        if limits::most(&policy.limits, u32::MAX).is_none() {
            return false;
        }
        let asks = self
            .acting(policy)
            .iter()
            .any(|s| s.kind == SignalKind::AutoScalingTermination);
        if asks && policy.lifecycle.heartbeat.is_some() && self.read_hooks() {
            return true;
        }
        let Some(presses) = self.presses_at(policy).filter(|at| *at > self.view.now) else {
            return false;
        };
        if (self.view.turn)(policy) {
            return false;
        }
        self.wait(
            WaitReason::LimitReached,
            (presses < Timestamp::MAX).then_some(presses),
        );
        true
    }

    /// From when there is just the time for a drain left. Nothing presses for recommendations, and by hand; hooks that are
    /// kept alive have time.
    fn presses_at(&self, policy: &EffectivePolicy) -> Option<Timestamp> {
        let drain = SignedDuration::from_secs(i64::from(policy.drain.timeout_seconds));
        let presses = |s: &Signal| {
            let end = match (s.kind, &s.deadline) {
                (SignalKind::RebalanceRecommendation, None) => return Some(Timestamp::MAX),
                (SignalKind::ScheduledMaintenance, Some(at)) => at.0,
                (SignalKind::AutoScalingTermination, _) if policy.lifecycle.heartbeat.is_some() => {
                    let actions = &self.decision.status.lifecycle_actions;
                    let (end, guessed) = found::deadline(self.view, actions, s, policy);
                    (!guessed).then_some(end)?
                }
                _ => return None,
            };
            end.checked_sub(drain).ok()
        };
        let times: Option<Vec<Timestamp>> =
            self.acting(policy).iter().map(|s| presses(s)).collect();
        Some(times?.into_iter().min().unwrap_or(Timestamp::MAX))
    }

    /// Whether somebody has opened the node and it is left so: it is closed again once, and then only if time presses.
    pub(super) fn respects_uncordon(&mut self, node: &Node, policy: &EffectivePolicy) -> bool {
        if self.status().cordoned_at.is_none() {
            return false;
        }
        if node.unschedulable {
            self.closed_again(policy);
            return false;
        }
        let presses = self.presses_at(policy).is_none_or(|at| at <= self.view.now);
        let again = matches!(self.lifted(), Some(CLOSED_AGAIN | RESPECTED)) && !presses;
        if !again {
            self.state(
                CORDON_LIFTED,
                true,
                LIFTED,
                "somebody opened the node; it is closed again",
            );
            return false;
        }
        let message = "somebody opened the node again: it is left open until it is cordoned, or this object canceled";
        self.state(CORDON_LIFTED, true, RESPECTED, message);
        self.decision
            .effects
            .extend([Effect::Withdraw, Effect::CloseView]);
        self.forget_blocked();
        // Whoever opened it has pods started on it: they are to leave when it is closed again.
        let status = self.status();
        (status.outcome, status.drained_at) = (None, None);
        let name = self.view.object.name_any();
        let marked = Some(node).filter(|n| cordon::is_marked(n, &name));
        if let Some(patch) = marked.and_then(|n| cordon::open(n, &name, self.view.neighbours)) {
            self.decision.effects.push(Effect::Open { patch });
        }
        let presses = self.presses_at(policy).filter(|at| *at < Timestamp::MAX);
        self.wait(WaitReason::Uncordoned, presses);
        true
    }

    /// A node that was left open was closed by somebody else before we had taken our mark off: that cordon is theirs.
    pub(super) fn is_taken_over(&self, node: &Node, incident: &str) -> bool {
        let claimed = node.cordon.as_ref().is_some_and(|r| r.unschedulable);
        self.lifted() == Some(RESPECTED)
            && node.unschedulable
            && claimed
            && cordon::is_marked(node, incident)
            && self.view.neighbours.is_empty()
    }

    /// It is to be closed, and its record still says that it is left open. That is told first: if we died between the
    /// two, the next leader would take our cordon for somebody else's.
    pub(super) fn is_told_to_be_left_open(&self, node: &Node) -> bool {
        let told = self.view.stored.iter().flat_map(|s| &s.conditions);
        let mut told = told.filter(|c| c.type_ == CORDON_LIFTED);
        !node.unschedulable && told.any(|c| c.reason == RESPECTED)
    }

    /// The time of a drain that nobody has set an end to does not run while it stands still.
    fn starts_anew(&mut self, policy: &EffectivePolicy) {
        if self.presses_at(policy) == Some(Timestamp::MAX) && self.status().started_at.is_some() {
            let now = self.now();
            self.status().started_at = Some(now);
            self.tell_deadline(policy);
        }
    }

    /// The node is closed; if somebody had opened it, that is over.
    pub(super) fn closed_again(&mut self, policy: &EffectivePolicy) {
        if self.lifted() == Some(RESPECTED) {
            self.starts_anew(policy);
        }
        if matches!(self.lifted(), Some(LIFTED | RESPECTED)) {
            self.state(
                CORDON_LIFTED,
                false,
                CLOSED_AGAIN,
                "somebody had opened the node; it was closed again",
            );
        }
    }

    fn lifted(&self) -> Option<&str> {
        let said = condition::find(&self.decision.status.conditions, CORDON_LIFTED);
        said.map(|c| c.reason.as_str())
    }
}
