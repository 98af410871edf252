//! The conditions that kstatus reads.

use jiff::Timestamp;

use super::waiting;
use crate::api::condition::{self, READY, RECONCILING, STALLED, Statement};
use crate::api::termination::{NodeTerminationStatus, Outcome, Phase, SignalKind};

/// The three conditions that kstatus reads, from the phase alone.
pub(super) fn state(status: &mut NodeTerminationStatus, generation: Option<i64>, now: Timestamp) {
    let phase = status.phase.unwrap_or(Phase::Pending);
    let (ready, reconciling, stalled) = match phase {
        Phase::Pending | Phase::Draining | Phase::Releasing => (false, true, false),
        Phase::Waiting | Phase::Released | Phase::Completed | Phase::Canceled => {
            (true, false, false)
        }
        Phase::Failed => (false, false, true),
    };
    let message = message(phase, status);
    let reason = status
        .waiting
        .as_ref()
        .map_or(phase.as_str(), |w| w.reason.as_str());
    let mut state = |kind, holds: bool| {
        if holds || kind == READY {
            condition::set(
                &mut status.conditions,
                Statement::new(kind, holds, reason, message.clone()),
                generation,
                now,
            );
        } else {
            condition::remove(&mut status.conditions, kind);
        }
    };
    state(READY, ready);
    state(RECONCILING, reconciling);
    state(STALLED, stalled);
}

fn message(phase: Phase, status: &NodeTerminationStatus) -> String {
    let outcome = status.outcome.map_or("", Outcome::as_str);
    match phase {
        Phase::Pending => "recorded; work has not started".to_owned(),
        Phase::Waiting => status.waiting.as_ref().map_or_else(String::new, waiting),
        Phase::Draining if status.drained_at.is_some() => {
            "the volumes of the pods that have gone are being detached".to_owned()
        }
        Phase::Draining => "the node's pods are leaving".to_owned(),
        Phase::Releasing => "lifecycle actions are being completed".to_owned(),
        Phase::Released if status.reason == Some(SignalKind::Manual) => {
            format!("our work is done ({outcome}); deleting or canceling this object undoes it")
        }
        Phase::Released => {
            format!("our work is done ({outcome}); open until the Node is gone or back")
        }
        Phase::Completed | Phase::Canceled | Phase::Failed => format!("over ({outcome})"),
    }
}
