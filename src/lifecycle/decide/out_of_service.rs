//! The out-of-service taint: on a node whose machine is down by EC2's word and that holds pods or volumes, off again when
//! the machine returns.

use jiff::Timestamp;
use kube::ResourceExt;

use super::super::down::{self, Told};
use super::super::effect::Effect;
use super::super::say::OUT_OF_SERVICE;
use super::Pass;
use crate::api::condition;
use crate::api::termination::{EffectivePolicy, Outcome};
use crate::drain::Node;
use crate::drain::cordon::out_of_service::{self, Down};

/// The reason of [`OUT_OF_SERVICE`] when EC2 does not answer.
const CALL_FAILED: &str = "CallFailed";

impl Pass<'_> {
    /// Puts the taint on, if EC2 has said that the machine is down. A stopped one may run again by now, and EC2's word may
    /// be late: so only while its node is silent.
    pub(super) fn goes_out_of_service(&mut self, policy: &EffectivePolicy) {
        let Some(node) = self.view.machine.node() else {
            return;
        };
        let down = self.down(node, self.view.told);
        let sure = |d: &Down| *d == Down::Terminated || !node.ready;
        let wanted = policy.drain.out_of_service_taint && !out_of_service::is_on(node);
        let Some(down) = down.filter(|d| wanted && sure(d) && self.holds_anything(node)) else {
            return;
        };
        let patch = out_of_service::put_on(node, &self.view.object.name_any(), down);
        self.decision.effects.push(Effect::OutOfService { patch });
    }

    /// Takes our taint off, if the machine that had stopped is back. `true`: that is to be seen first.
    pub(super) fn returns_to_service(&mut self) -> bool {
        let Some(node) = self.view.machine.node() else {
            return false;
        };
        let signals = &self.view.object.spec.signals;
        let stopped = out_of_service::ours(node) == Some(Down::Stopped)
            && self.down(node, None) != Some(Down::Terminated);
        let back = stopped && (node.ready || down::runs_again(signals));
        if back {
            let patch = out_of_service::take_off(node);
            self.decision.effects.push(Effect::OutOfService { patch });
        }
        back
    }

    /// The node carries our taint and its machine may be started again: the taint must come off then.
    pub(super) fn is_stopped(&self) -> bool {
        let ours = self.view.machine.node().and_then(out_of_service::ours);
        ours == Some(Down::Stopped)
    }

    /// Has EC2 asked how the machine is, if that matters and nothing was heard: while the incident is new, and then for as
    /// long as the node is silent.
    pub(super) fn ask_state(&mut self, policy: &EffectivePolicy, new_until: Timestamp) {
        let Some(node) = self.view.machine.node() else {
            return;
        };
        let matters = policy.drain.out_of_service_taint
            && !self.is_by_hand()
            && !out_of_service::is_on(node)
            && self.down(node, None).is_none()
            && (!node.ready || self.view.now < new_until)
            && self.holds_anything(node);
        if let Some(access) = policy.aws.clone().filter(|_| matters) {
            self.decision.effects.push(Effect::AskState { access });
        }
    }

    /// How the machine is down by what was heard, and by what EC2 said when it was asked. That a stop is over shows on the
    /// node: another boot ID, or our taint that was taken off. A hibernated machine keeps its boot ID.
    fn down(&self, node: &Node, told: Option<&Told>) -> Option<Down> {
        let said = condition::find(&self.decision.status.conditions, OUT_OF_SERVICE);
        let in_service = said.filter(|c| c.status == "False");
        let back = if self.has_booted(node) {
            Some(self.view.now)
        } else {
            in_service.map(|c| c.last_transition_time.0)
        };
        down::down(&self.view.object.spec.signals, told, back)
    }

    /// Pods that were to leave are left, or volumes.
    fn holds_anything(&self, node: &Node) -> bool {
        let status = &self.decision.status;
        let pods = status.pods.as_ref().map(|p| p.gone < p.total);
        let volumes = status.volumes.as_ref();
        pods.unwrap_or(status.outcome == Some(Outcome::DrainIncomplete))
            || volumes.is_some_and(|v| v.left + v.waiting > 0)
            || node.volumes.count() > 0
    }

    /// States whether the node carries our taint, by the node alone.
    pub(super) fn tell_of_service(&mut self) {
        let Some(node) = self.view.machine.node() else {
            return;
        };
        let ours = out_of_service::ours(node);
        let said = condition::find(&self.decision.status.conditions, OUT_OF_SERVICE);
        let (was, failed) = (
            said.is_some_and(|c| c.status == "True"),
            said.is_some_and(|c| c.reason == CALL_FAILED),
        );
        let (holds, reason, message) = match (ours, self.view.told) {
            (Some(down), _) => {
                let state = down.as_str();
                let reason = match down {
                    Down::Stopped => "Stopped",
                    Down::Terminated => "Terminated",
                };
                let message = format!(
                    "EC2 says that the instance is {state}: the node has the out-of-service taint, so that its pods and volumes are released"
                );
                (true, reason, message)
            }
            (None, _) if was => {
                let message = "the out-of-service taint was taken off";
                (false, "Removed", message.to_owned())
            }
            (None, Some(Told::Failed(reason, message))) => {
                let message = format!(
                    "EC2 can not be asked whether the instance is down ({reason}: {message}); asked again"
                );
                (false, CALL_FAILED, message)
            }
            (None, Some(Told::State(state))) if failed => {
                let state = state.as_deref().unwrap_or("unknown to it");
                (
                    false,
                    "Asked",
                    format!("EC2 says that the instance is {state}"),
                )
            }
            _ => return,
        };
        self.state(OUT_OF_SERVICE, holds, reason, message);
    }
}
