//! What people are told: the conditions, and the record after the effects.

mod actions;
mod drained;
mod kstatus;

use kube::ResourceExt;

use super::effect::Outcome as Did;
use super::hooks::Grid;
use super::view::{HookTimeout, Machine, View};
use super::{foresee, gone, risk};
use crate::api::condition::{self, FORBIDDEN, READY, RECONCILING, Statement};
use crate::api::termination::{
    LifecycleActionState, NodeTerminationStatus, Phase, WaitReason, Waiting,
};
use crate::api::{Time, bounded};
use crate::drain::{Node, cordon};

/// The node is closed to new pods.
pub(super) const CORDONED: &str = "Cordoned";
/// The reason of [`CORDONED`] once it was taken back.
pub(super) const UNDONE: &str = "Undone";
/// Every pod that was to leave has left.
pub(super) const DRAINED: &str = "Drained";
/// The node carries the out-of-service taint that we put on.
pub(super) const OUT_OF_SERVICE: &str = "OutOfService";
/// Somebody opened a node that we had closed.
pub(super) const CORDON_LIFTED: &str = "CordonLifted";
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
    kstatus::state(status, view.object.metadata.generation, view.now);
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
    if status.started_at.is_some() {
        say.extend(cordoned(view, status));
        say.extend(undone(view, status));
    }
    say.extend(drained::statement(status, view.now));
    say.extend(actions::statements(view, status));
    say.extend(outage(view, status));
    say
}

/// Whether the node is closed, as long as work goes on; or that the machine or its Node is gone.
fn cordoned(view: &View<'_>, status: &NodeTerminationStatus) -> Option<Statement> {
    if matches!(view.machine, Machine::Gone | Machine::Replaced) {
        return gone::statement(view, status);
    }
    if status.phase.is_some_and(Phase::is_finished) {
        return None;
    }
    let lifted = condition::holds(&status.conditions, CORDON_LIFTED);
    let closed = status.cordoned_at.is_some() && !lifted;
    let reason = if closed { "Cordoned" } else { "Pending" };
    let message = cordon_message(view, closed);
    Some(Statement::new(CORDONED, closed, reason, message))
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

/// The incident is over, and nothing of it is left on the node.
fn undone(view: &View<'_>, status: &NodeTerminationStatus) -> Option<Statement> {
    let name = view.object.name_any();
    let open = |n: &Node| !cordon::is_marked(n, &name);
    let undone = status.phase == Some(Phase::Canceled) || view.machine.node().is_some_and(open);
    let message = "what was put on the node for this incident was taken off";
    (undone && status.phase.is_some_and(Phase::is_finished))
        .then(|| Statement::new(CORDONED, false, UNDONE, message))
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
