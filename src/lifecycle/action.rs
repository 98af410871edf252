//! What the policy asks for, given all signals of an incident.

use crate::api::policy::{Action, Mode};
use crate::api::termination::{EffectivePolicy, Signal, SignalKind};

/// What is to be done about one signal.
#[must_use]
pub fn of_signal(policy: &EffectivePolicy, signal: &Signal) -> Action {
    let action = policy.actions.of(signal.kind);
    if policy.mode == Mode::Observe {
        action.min(Action::Observe)
    } else {
        action
    }
}

/// What is to be done about all of them: the most that any asks for.
#[must_use]
pub fn of_all(policy: &EffectivePolicy, signals: &[Signal]) -> Action {
    signals
        .iter()
        .map(|s| of_signal(policy, s))
        .max()
        .unwrap_or(Action::Ignore)
}

/// The kind that leaves the least time: it names the incident.
#[must_use]
pub fn most_urgent(signals: &[Signal]) -> SignalKind {
    signals
        .iter()
        .map(|s| s.kind)
        .min_by_key(|kind| urgency(*kind))
        .unwrap_or_default()
}

fn urgency(kind: SignalKind) -> u8 {
    // Declared the most urgent first.
    kind as u8
}
