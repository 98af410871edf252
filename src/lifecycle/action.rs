//! What the policy asks for, given all signals of an incident.

use crate::api::policy::{Action, Mode};
use crate::api::termination::{EffectivePolicy, Signal, SignalKind};

/// What is to be done about one signal.
#[must_use]
pub fn of_signal(policy: &EffectivePolicy, signal: &Signal) -> Action {
    of_kind(policy, signal.kind)
}

/// What is to be done about signals of that kind.
#[must_use]
pub fn of_kind(policy: &EffectivePolicy, kind: SignalKind) -> Action {
    let action = policy.actions.of(kind);
    if policy.mode == Mode::Observe {
        action.min(Action::Observe)
    } else {
        action
    }
}

/// What is to be done about all of them: the most that any asks for. An incident without a signal was made by hand.
#[must_use]
pub fn of_all(policy: &EffectivePolicy, signals: &[&Signal]) -> Action {
    let asked = signals.iter().map(|s| of_signal(policy, s)).max();
    asked.unwrap_or_else(|| of_kind(policy, SignalKind::Manual))
}

/// The kind that leaves the least time: it names the incident.
#[must_use]
pub fn most_urgent(signals: &[&Signal]) -> SignalKind {
    // They are declared in this order.
    let first = signals.iter().map(|s| s.kind).min();
    first.unwrap_or(SignalKind::Manual)
}
