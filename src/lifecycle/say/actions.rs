//! What is owed to Auto Scaling, and what could not be read of its hooks.

use crate::api::condition::{self, HEARTBEAT_SHORTENED, Statement};
use crate::api::termination::{LifecycleActionState, NodeTerminationStatus, Phase};
use crate::lifecycle::found;
use crate::lifecycle::hooks::Grid;
use crate::lifecycle::view::{HookTimeout, View};

/// Nothing is owed to Auto Scaling.
const LIFECYCLE_COMPLETED: &str = "LifecycleCompleted";
/// A hook's time-out could not be read; the deadline is the policy's.
const HOOK_TIMEOUT_UNKNOWN: &str = "HookTimeoutUnknown";

pub(super) fn statements(view: &View<'_>, status: &NodeTerminationStatus) -> Vec<Statement> {
    let mut say = Vec::new();
    if !status.lifecycle_actions.is_empty() {
        say.push(lifecycle(status));
    } else if !status.phase.is_some_and(Phase::is_finished) {
        say.extend(found::statement(LIFECYCLE_COMPLETED, view, status));
        say.extend(found::guess(HOOK_TIMEOUT_UNKNOWN, view, status));
    }
    say.extend(unread(view, status));
    say.extend(shortened(view, status));
    say
}

fn lifecycle(status: &NodeTerminationStatus) -> Statement {
    let total = status.lifecycle_actions.len();
    let left = status
        .lifecycle_actions
        .iter()
        .filter(|a| a.state == LifecycleActionState::Left)
        .count();
    let pending = status
        .lifecycle_actions
        .iter()
        .filter(|a| !a.state.is_over())
        .count();
    let failing = status
        .lifecycle_actions
        .iter()
        .find_map(|a| a.message.as_deref().filter(|_| !a.state.is_over()));
    match (pending, left, failing) {
        (0, 0, _) => Statement::new(
            LIFECYCLE_COMPLETED,
            true,
            "Completed",
            format!("{total} lifecycle actions are over"),
        ),
        (0, left, _) => Statement::new(
            LIFECYCLE_COMPLETED,
            false,
            "Left",
            format!("{left} of {total} lifecycle actions are left alone"),
        ),
        (pending, _, Some(message)) => Statement::new(
            LIFECYCLE_COMPLETED,
            false,
            "CallFailed",
            format!("{pending} of {total} lifecycle actions wait; the last call failed: {message}"),
        ),
        (pending, _, None) => Statement::new(
            LIFECYCLE_COMPLETED,
            false,
            "Pending",
            format!("{pending} of {total} lifecycle actions wait for the drain"),
        ),
    }
}

/// A time-out can not be read, or was read at last.
fn unread(view: &View<'_>, status: &NodeTerminationStatus) -> Option<Statement> {
    let unknown = view.hooks.iter().find_map(|(action, h)| {
        if let HookTimeout::Unknown(why) = h {
            Some((&action.signal_id, why))
        } else {
            None
        }
    });
    if let Some((id, why)) = unknown {
        let message = format!(
            "the time-out of the lifecycle hook of {id} can not be read ({why}); drain.timeoutSeconds is taken instead"
        );
        let kind = HOOK_TIMEOUT_UNKNOWN;
        return Some(Statement::new(kind, true, "CallFailed", message));
    }
    let said = condition::holds(&status.conditions, HOOK_TIMEOUT_UNKNOWN);
    let message = "the time-out of the lifecycle hook was read";
    (said && !view.hooks.is_empty())
        .then(|| Statement::new(HOOK_TIMEOUT_UNKNOWN, false, "Read", message))
}

/// Heartbeats come more often than the policy wants.
fn shortened(view: &View<'_>, status: &NodeTerminationStatus) -> Option<Statement> {
    let heartbeat = status.policy.as_ref()?.lifecycle.heartbeat.as_ref()?;
    let timeout = view.hooks.values().find_map(|h| match h {
        HookTimeout::Known {
            heartbeat: timeout, ..
        } if Grid::new(heartbeat, Some(*timeout)).shortened => Some(timeout),
        _ => None,
    })?;
    let message = format!(
        "heartbeats come every {} s, half of the hook's time-out, for the policy's interval of {} s is not below it",
        timeout.as_secs() / 2,
        heartbeat.interval_seconds
    );
    Some(Statement::new(
        HEARTBEAT_SHORTENED,
        true,
        "IntervalNotBelowTimeout",
        message,
    ))
}
