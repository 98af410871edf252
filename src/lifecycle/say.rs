//! What people are told: conditions, the record after the effects, and what is worth an Event.

use jiff::Timestamp;
use kube::ResourceExt;

use super::effect::Outcome as Did;
use super::hooks::Grid;
use super::view::{HookTimeout, Machine, View};
use super::{foresee, found, gone, risk};
use crate::api::condition::{
    self, FORBIDDEN, HEARTBEAT_SHORTENED, READY, RECONCILING, STALLED, Statement,
};
use crate::api::termination::{
    LifecycleActionState, NodeTerminationStatus, Outcome, Phase, PodsStatus, SignalKind,
    WaitReason, Waiting,
};
use crate::api::{Time, bounded};
use crate::drain::cordon;

/// The node is closed to new pods.
pub(super) const CORDONED: &str = "Cordoned";
/// The reason of [`CORDONED`] once it was taken back.
pub(super) const UNDONE: &str = "Undone";
/// Every pod that was to leave has left.
pub(super) const DRAINED: &str = "Drained";
/// The node carries the out-of-service taint that we put on.
pub(super) const OUT_OF_SERVICE: &str = "OutOfService";
/// Nothing is owed to Auto Scaling.
const LIFECYCLE_COMPLETED: &str = "LifecycleCompleted";
/// Somebody opened a node that we had closed.
pub(super) const CORDON_LIFTED: &str = "CordonLifted";
/// A hook's time-out could not be read; the deadline is the policy's.
const HOOK_TIMEOUT_UNKNOWN: &str = "HookTimeoutUnknown";

/// The API server gave no answer for a while, in which nothing could be done or written.
const API_AVAILABLE: &str = "APIAvailable";

/// The longest message of a lifecycle action, in bytes: the field's maximum is 1024.
const MESSAGE_MAX: usize = 1024;

/// States one condition, as of this pass.
pub(super) fn state(view: &View<'_>, status: &mut NodeTerminationStatus, statement: Statement) {
    let generation = view.object.metadata.generation;
    condition::set(&mut status.conditions, statement, generation, view.now);
}

/// Puts what came of the effects into the record, and states the conditions.
pub fn settle(view: &View<'_>, status: &mut NodeTerminationStatus, outcomes: &[Did]) {
    for outcome in outcomes {
        take_down(view, status, outcome);
    }
    for statement in statements(view, status) {
        state(view, status, statement);
    }
    kstatus(status, view.object.metadata.generation, view.now);
}

/// Says on the record that a call to the API server failed and is tried again.
pub fn admit(view: &View<'_>, status: &mut NodeTerminationStatus, reason: &str, message: &str) {
    for kind in [READY, RECONCILING] {
        if condition::find(&status.conditions, kind).is_some() {
            let holds = condition::holds(&status.conditions, kind);
            state(view, status, Statement::new(kind, holds, reason, message));
        }
    }
    let begun = status.started_at.is_some() && status.outcome.is_none();
    if reason == FORBIDDEN && begun && status.cordoned_at.is_none() {
        risk::stays_open(view, status, message);
    }
}

fn take_down(view: &View<'_>, status: &mut NodeTerminationStatus, outcome: &Did) {
    if let Did::Previewed(preview) = outcome {
        return foresee::tell(view, status, preview);
    }
    let (Did::Beat { action: key }
    | Did::Completed { action: key, .. }
    | Did::NoSuchAction { action: key }
    | Did::CallFailed { action: key, .. }) = outcome
    else {
        return;
    };
    let heartbeat = status
        .policy
        .as_ref()
        .and_then(|p| p.lifecycle.heartbeat.clone());
    let Some(action) = status.lifecycle_actions.iter_mut().find(|a| key.is_of(a)) else {
        return;
    };
    match outcome {
        Did::Beat { .. } => {
            let notice = view
                .object
                .spec
                .signals
                .iter()
                .find(|s| s.id == key.signal_id)
                .map_or(view.now, |s| s.notice_time.0);
            let timeout = view.hooks.get(key).and_then(HookTimeout::heartbeat);
            action.heartbeats += 1;
            action.message = None;
            action.next_heartbeat_time = heartbeat
                .and_then(|h| Grid::new(&h, timeout).after(notice, view.now))
                .map(Time);
        }
        Did::Completed { result, .. } => {
            action.close(LifecycleActionState::Completed, Time(view.now));
            action.result = Some(result.as_str().to_owned());
            action.message = None;
        }
        Did::NoSuchAction { .. } => {
            action.close(LifecycleActionState::AlreadyDone, Time(view.now));
            action.message = None;
        }
        Did::CallFailed { message, .. } => {
            action.message = Some(bounded(message.clone(), MESSAGE_MAX));
        }
        Did::Previewed(_) => {}
    }
}

fn statements(view: &View<'_>, status: &NodeTerminationStatus) -> Vec<Statement> {
    let mut say = Vec::new();
    let works = status.started_at.is_some();
    if works && matches!(view.machine, Machine::Gone | Machine::Replaced) {
        say.extend(gone::statement(view, status));
    } else if works && !status.phase.is_some_and(Phase::is_finished) {
        let lifted = condition::holds(&status.conditions, CORDON_LIFTED);
        let closed = status.cordoned_at.is_some() && !lifted;
        say.push(Statement::new(
            CORDONED,
            closed,
            if closed { "Cordoned" } else { "Pending" },
            cordon_message(view, closed),
        ));
    }
    let name = view.object.name_any();
    let open = |n: &crate::drain::Node| !cordon::is_marked(n, &name);
    let undone = status.phase == Some(Phase::Canceled) || view.machine.node().is_some_and(open);
    if works && status.phase.is_some_and(Phase::is_finished) && undone {
        say.push(Statement::new(
            CORDONED,
            false,
            UNDONE,
            "what was put on the node for this incident was taken off",
        ));
    }
    if let Some(pods) = status.pods.as_ref().filter(|_| works) {
        say.push(drained(status, pods, view.now));
    }
    if status.pods.is_none() && status.outcome == Some(Outcome::DrainIncomplete) {
        let message = "no pod was asked to leave: the time was over before the node was closed and its pods were listed";
        say.push(Statement::new(DRAINED, false, "DeadlinePassed", message));
    }
    if !status.lifecycle_actions.is_empty() {
        say.push(lifecycle(status));
    } else if !status.phase.is_some_and(Phase::is_finished) {
        say.extend(found::statement(LIFECYCLE_COMPLETED, view, status));
        say.extend(found::guess(HOOK_TIMEOUT_UNKNOWN, view, status));
    }
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
        say.push(Statement::new(
            HOOK_TIMEOUT_UNKNOWN,
            true,
            "CallFailed",
            message,
        ));
    } else if condition::holds(&status.conditions, HOOK_TIMEOUT_UNKNOWN) && !view.hooks.is_empty() {
        say.push(Statement::new(
            HOOK_TIMEOUT_UNKNOWN,
            false,
            "Read",
            "the time-out of the lifecycle hook was read",
        ));
    }
    say.extend(shortened(view, status));
    say.extend(outage(view, status));
    say
}

/// Tells of an outage that the incident was open in. It could not be told while it lasted.
fn outage(view: &View<'_>, status: &NodeTerminationStatus) -> Option<Statement> {
    let (since, until) = view.outage?;
    let made = view.object.metadata.creation_timestamp.as_ref();
    let was_open = made.is_some_and(|t| t.0 <= since);
    if !was_open || status.phase.is_some_and(Phase::is_finished) {
        return None;
    }
    let message = format!("the API server gave no answer from {since:.0} until {until:.0}");
    Some(Statement::new(API_AVAILABLE, true, "Returned", message))
}

fn cordon_message(view: &View<'_>, closed: bool) -> String {
    let node = &view.object.spec.node_name;
    if closed {
        match view.conflicts {
            0 => format!("node {node} is closed to new pods"),
            n => format!("node {node} is closed to new pods; {n} writes of others came first"),
        }
    } else {
        format!("node {node} is open, or about to be closed")
    }
}

/// How many are blocked and how many are stuck, as far as there are any.
fn held(pods: &PodsStatus) -> String {
    let held = [(pods.blocked, "blocked"), (pods.stuck, "stuck")].into_iter();
    let held = held.filter(|(count, _)| *count > 0);
    let held = held.map(|(count, how)| format!(", {count} {how}"));
    held.collect::<Vec<_>>().concat()
}

fn drained(status: &NodeTerminationStatus, pods: &PodsStatus, now: Timestamp) -> Statement {
    let (summary, held) = (&pods.summary, held(pods));
    let deadline = status
        .deadline
        .as_ref()
        .map_or_else(|| "none".to_owned(), |d| format!("{:.0}", d.0));
    match status.outcome {
        Some(Outcome::Drained) => Statement::new(
            DRAINED,
            true,
            "Drained",
            format!("{summary} pods have gone"),
        ),
        Some(Outcome::NodeGone) => Statement::new(
            DRAINED,
            false,
            "NodeGone",
            if pods.gone == pods.total {
                format!("the Node is gone, and {summary} pods have gone")
            } else {
                format!("the Node went when {summary} pods had gone")
            },
        ),
        Some(Outcome::DrainIncomplete) => Statement::new(
            DRAINED,
            false,
            "DrainIncomplete",
            format!("at the deadline {summary} pods had gone{held}"),
        ),
        Some(Outcome::Canceled) => Statement::new(
            DRAINED,
            false,
            "Canceled",
            format!("canceled when {summary} pods had gone"),
        ),
        _ => match status.blocked.first() {
            None => Statement::new(
                DRAINED,
                false,
                "Draining",
                format!("{summary} pods have gone; deadline {deadline}"),
            ),
            Some(first) => {
                let by = first
                    .by
                    .as_deref()
                    .map(|b| format!(" by {b}"))
                    .unwrap_or_default();
                let then = match first.force_time.as_ref().map(|t| t.0) {
                    None => "it is never forced".to_owned(),
                    Some(at) if at <= now => format!("its deletion has been tried since {at:.0}"),
                    Some(at) => format!("it is forced at {at:.0}"),
                };
                let message = format!(
                    "{summary} pods have gone{held}: {} is held{by} since {:.0} ({}: {}); {then}; deadline {deadline}",
                    first.pod,
                    first.since.0,
                    first.reason.as_str(),
                    first.message
                );
                Statement::new(DRAINED, false, "Blocked", message)
            }
        },
    }
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

/// What is waited for, in a sentence.
pub(super) fn waiting(waiting: &Waiting) -> String {
    let what = match waiting.reason {
        WaitReason::Held => "held by spec.hold: heartbeats go on, nothing else does",
        WaitReason::MaintenanceWindow => "the maintenance window is far: the node stays open",
        WaitReason::LimitReached => {
            "as many nodes of the policy as limits.maxConcurrent allows are being drained"
        }
        WaitReason::NodeNotFound => "no Node has the name in spec.nodeName",
        WaitReason::Uncordoned => {
            "somebody opened the node twice: cordon it, and the drain goes on"
        }
    };
    match &waiting.until {
        Some(until) => format!("{what}; until {:.0} at the latest", until.0),
        None => what.to_owned(),
    }
}

/// The three conditions that kstatus reads, from the phase alone.
fn kstatus(status: &mut NodeTerminationStatus, generation: Option<i64>, now: Timestamp) {
    let phase = status.phase.unwrap_or(Phase::Pending);
    let outcome = status.outcome.map_or("", Outcome::as_str);
    let (ready, reconciling, stalled) = match phase {
        Phase::Pending | Phase::Draining | Phase::Releasing => (false, true, false),
        Phase::Waiting | Phase::Released | Phase::Completed | Phase::Canceled => {
            (true, false, false)
        }
        Phase::Failed => (false, false, true),
    };
    let message = match phase {
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
    };
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
