//! What is told once the Node that an incident is about has gone: of its pods, and of its instance, which may have
//! registered anew.

use super::say::CORDONED;
use super::view::{Machine, View};
use crate::api::condition::Statement;
use crate::api::termination::{NodeTerminationStatus, Phase};

/// The reason of [`CORDONED`] once there is no such Node any more.
const NODE_GONE: &str = "NodeGone";
/// The reason of [`CORDONED`] once the instance has another Node.
pub(super) const REGISTERED_ANEW: &str = "RegisteredAnew";

/// Tells that there is no such Node any more, and what becomes of its pods and its instance. An undo needs no word.
pub(super) fn statement(view: &View<'_>, status: &NodeTerminationStatus) -> Option<Statement> {
    let node = &view.object.spec.node_name;
    let gone = if view.machine == Machine::Replaced {
        format!("another Node has the name {node} now")
    } else {
        format!("node {node} is gone")
    };
    let drained_on = if status.phase == Some(Phase::Draining) {
        "; its pods are drained on"
    } else {
        ""
    };
    let anew = registered_anew(view, status);
    let reason = anew.as_ref().map_or(NODE_GONE, |_| REGISTERED_ANEW);
    let message = format!("{gone}{drained_on}{}", anew.unwrap_or_default());
    let closed = status.cordoned_at.is_some();
    let canceled = status.phase == Some(Phase::Canceled);
    (!canceled).then(|| Statement::new(CORDONED, closed, reason, message))
}

fn registered_anew(view: &View<'_>, status: &NodeTerminationStatus) -> Option<String> {
    let anew = view.anew?;
    let instance = view.object.instance_id()?;
    let deadline = status.deadline.as_ref().filter(|d| d.0 > view.now);
    let goes = deadline.map(|d| format!(" and is still to go, at {:.0}", d.0));
    Some(format!(
        "; instance {instance} has registered anew as {} (UID {}){}: the next notice opens another incident",
        anew.name,
        anew.uid,
        goes.unwrap_or_default()
    ))
}
