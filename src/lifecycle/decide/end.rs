//! How an incident ends: when nothing follows any more, when its cause is gone, when it is undone.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::super::effect::Effect;
use super::super::standing::{Return, comes_back};
use super::{Pass, later};
use crate::api::Time;
use crate::api::termination::{
    EffectivePolicy, MaintenanceEvent, MaintenanceState, Outcome, Phase, Signal, SignalKind,
};
use crate::drain::{Node, cordon};

/// After our work is done the incident stays open this long for what follows it (`shutting-down` after a spot
/// notice), unless the Node goes before.
const LINGER: SignedDuration = SignedDuration::from_secs(900);

impl Pass<'_> {
    /// What ends the incident whatever it does at the moment: its cause was taken back, the machine is back, or nothing
    /// came of it. What was put on the node is taken off.
    pub(super) fn ends_early(&mut self, policy: &EffectivePolicy) -> Option<(Phase, Outcome)> {
        let (outcome, begun) = (self.status().outcome, self.status().has_begun());
        let idle = self.acting(policy).is_empty() && !self.is_by_hand();
        if idle && (begun || self.signals.is_empty()) {
            return Some(self.taken_back());
        }
        if self.is_back(policy) {
            let outcome = outcome.unwrap_or(Outcome::DrainIncomplete);
            return Some((ended(outcome), outcome));
        }
        let expires = self.expires_at(policy)?;
        if self.view.now >= expires {
            return Some((Phase::Canceled, Outcome::Expired));
        }
        self.wake_at(expires);
        None
    }

    /// No signal that is acted on stands any more: maintenance that took place or a stop that is over ends well, anything
    /// else is undone.
    fn taken_back(&mut self) -> (Phase, Outcome) {
        let canceled = self.view.object.spec.signals.iter().any(|s| {
            let state = s.maintenance.as_ref().map(|m| m.state);
            state == Some(MaintenanceState::Canceled)
        });
        match self.status().outcome {
            Some(outcome @ (Outcome::Drained | Outcome::Cordoned)) if !canceled => {
                (Phase::Completed, outcome)
            }
            _ => (Phase::Canceled, Outcome::Withdrawn),
        }
    }

    /// The machine went on account of what was heard, and is back.
    fn is_back(&mut self, policy: &EffectivePolicy) -> bool {
        let Some(node) = self.view.machine.node().filter(|n| n.ready) else {
            return false;
        };
        match comes_back(&self.acting(policy)) {
            _ if self.status().cordoned_at.is_none() => false,
            Some(Return::Booted) => self.has_booted(node),
            Some(Return::After(Some(end))) => {
                if self.view.now < end {
                    self.wake_at(end);
                }
                self.view.now >= end && self.status().outcome.is_some()
            }
            Some(Return::After(None)) | None => false,
        }
    }

    pub(super) fn has_booted(&self, node: &Node) -> bool {
        let before = self
            .decision
            .status
            .node
            .as_ref()
            .and_then(|n| n.boot_id.as_ref());
        before.is_some() && node.boot_id.is_some() && before != node.boot_id.as_ref()
    }

    /// When the cordon is lifted if nothing but recommendations has come.
    fn expires_at(&mut self, policy: &EffectivePolicy) -> Option<Timestamp> {
        let acting = self.acting(policy);
        let only = acting
            .iter()
            .all(|s| s.kind == SignalKind::RebalanceRecommendation);
        let after = policy
            .cordon
            .expire_seconds
            .filter(|_| only && !acting.is_empty())?;
        let cordoned = self.status().cordoned_at.clone()?.0;
        Some(later(cordoned, SignedDuration::from_secs(i64::from(after))))
    }

    /// The standing signals that something is done about.
    pub(super) fn acting(&self, policy: &EffectivePolicy) -> Vec<&Signal> {
        let acts = |s: &&Signal| super::action::of_signal(policy, s) >= super::Action::Cordon;
        self.signals.iter().copied().filter(acts).collect()
    }

    /// Our work is done. The object stays open for what follows, until the Node is gone or back; one made by hand keeps
    /// the node out of service for as long as it exists.
    pub(super) fn wait_for_the_end(&mut self, policy: &EffectivePolicy) {
        let now = self.now();
        let observed = self.status().outcome == Some(Outcome::Observed);
        let stays = (self.is_by_hand() && !observed)
            || comes_back(&self.acting(policy)).is_some()
            || self.is_stopped();
        let expires = self.expires_at(policy);
        let status = self.status();
        status.phase = Some(Phase::Released);
        let released = status.released_at.get_or_insert(now).0;
        let closes = later(released, LINGER);
        let closes = expires.map_or(closes, |at| closes.max(at));
        let closes = self
            .window_ahead(policy)
            .map_or(closes, |at| closes.max(at));
        let over = !stays && self.view.now >= closes;
        if self.view.machine.node().is_none() || over {
            let outcome = self.status().outcome.unwrap_or(Outcome::Drained);
            return self.finish(ended(outcome), outcome);
        }
        if !stays {
            self.wake_at(closes);
        }
        self.ask_state(policy, closes);
    }

    /// When the last maintenance begins, if all is only observed: another policy may yet act on it.
    fn window_ahead(&self, policy: &EffectivePolicy) -> Option<Timestamp> {
        if !self.acting(policy).is_empty() {
            return None;
        }
        let events = self.signals.iter().filter_map(|s| s.maintenance.as_ref());
        let begins = |m: &MaintenanceEvent| m.not_before.as_ref().map(|t| t.0);
        events.filter_map(begins).max()
    }

    /// Stops, and takes off the node what was put on for this incident; then the incident is over.
    pub(super) fn undo(&mut self, phase: Phase, outcome: Outcome) {
        let name = self.view.object.name_any();
        let node = self
            .view
            .machine
            .node()
            .filter(|n| cordon::is_marked(n, &name));
        if let Some(patch) = node.and_then(|n| cordon::open(n, &name, self.view.neighbours)) {
            let stop = [Effect::Withdraw, Effect::CloseView, Effect::Open { patch }];
            self.decision.effects.extend(stop);
            return;
        }
        self.status().blocked.clear();
        self.finish(phase, outcome);
    }

    pub(super) fn finish(&mut self, phase: Phase, outcome: Outcome) {
        self.decision
            .effects
            .extend([Effect::Withdraw, Effect::CloseView]);
        self.leave_actions();
        self.leave_volumes(outcome);
        if !matches!(outcome, Outcome::DrainIncomplete | Outcome::Observed) {
            self.forget_blocked();
        }
        let now = Time(self.view.now);
        let status = self.status();
        status.waiting = None;
        status.phase = Some(phase);
        status.outcome = Some(outcome);
        status.completed_at = Some(now);
        self.decision.finishing = true;
        self.decision.wake = None;
    }
}

fn ended(outcome: Outcome) -> Phase {
    if outcome == Outcome::DrainIncomplete {
        Phase::Failed
    } else {
        Phase::Completed
    }
}
