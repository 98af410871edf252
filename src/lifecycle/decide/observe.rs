//! The part of a pass that only observes: it looks at the node's pods once, and tells what would have been done.

use jiff::{SignedDuration, Timestamp};

use super::super::effect::Effect;
use super::super::foresee;
use super::{Pass, later};
use crate::api::policy::Action;
use crate::api::termination::{EffectivePolicy, Phase};
use crate::drain::Window;

/// The node's pods are waited for this long. It only costs an observed incident what it tells.
const LISTED_WITHIN: SignedDuration = SignedDuration::from_secs(30);

impl Pass<'_> {
    /// Tells, once in an incident, what would be done. `true`: it is told, or nobody can.
    pub(super) fn foresee(&mut self, policy: &EffectivePolicy) -> bool {
        let would = foresee::would(policy, &self.signals);
        if self.view.machine.node().is_none() || foresee::is_told(self.status(), would) {
            return true;
        }
        if would < Action::CordonAndDrain {
            foresee::tell_of_cordon(self.view, self.status());
            return true;
        }
        if let Some(pods) = self.view.pods {
            let window = self.window_from_now(policy);
            let plan = self.plan(policy, window, pods);
            self.status().phase = Some(Phase::Pending);
            let effects = [Effect::Preview(plan), Effect::CloseView];
            self.decision.effects.extend(effects);
            return false;
        }
        let until = self
            .last_heard()
            .map_or(self.view.now, |at| later(at, LISTED_WITHIN));
        if self.view.now >= until {
            self.decision.effects.push(Effect::CloseView);
            foresee::tell_nothing(self.view, self.status());
            return true;
        }
        self.status().phase = Some(Phase::Pending);
        self.wake_at(until);
        // Every node that is drained goes before.
        let deadline = Timestamp::MAX;
        self.decision.effects.push(Effect::OpenView { deadline });
        false
    }

    /// The time that a drain would have, were it begun now. One that nobody has set an end to has the policy's.
    fn window_from_now(&mut self, policy: &EffectivePolicy) -> Window {
        let timeout = SignedDuration::from_secs(i64::from(policy.drain.timeout_seconds));
        let told = self.status().deadline.as_ref().map(|d| d.0);
        Window {
            deadline: told.unwrap_or(later(self.view.now, timeout)),
            ..self.window(policy)
        }
    }

    /// When the last signal was first seen, or the object was made.
    fn last_heard(&self) -> Option<Timestamp> {
        let made = self.view.object.metadata.creation_timestamp.as_ref();
        let signals = self.decision.status.signals.iter();
        signals
            .map(|s| s.received_time.0)
            .max()
            .or(made.map(|t| t.0))
    }
}
