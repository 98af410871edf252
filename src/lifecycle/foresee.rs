//! What is told of an incident that is only observed: what a drain would have done.

use super::pods::{self, BLOCKED_MAX};
use super::say::state;
use super::view::View;
use crate::api::condition::{self, Statement};
use crate::api::policy::Action;
use crate::api::termination::{
    EffectivePolicy, NodeTerminationStatus, Outcome, PodsStatus, Signal,
};
use crate::drain::Preview;

/// What a drain would have done, had the policy asked for it.
pub(super) const WOULD_DRAIN: &str = "WouldDrain";
/// Its reason, if the policy would only close the node.
const CORDON_ONLY: &str = "CordonOnly";

/// Whether it has been told what would be done, or that nobody can tell.
pub(super) fn is_told(status: &NodeTerminationStatus, would: Action) -> bool {
    condition::find(&status.conditions, WOULD_DRAIN)
        .is_some_and(|c| c.reason != CORDON_ONLY || would == Action::Cordon)
}

/// What would be done, were the policy to act: Observe is asked for in place of the whole.
pub(super) fn would(policy: &EffectivePolicy, signals: &[&Signal]) -> Action {
    let kinds = signals.iter().map(|s| policy.actions.of(s.kind));
    let would = kinds.map(|action| match action {
        Action::Observe => Action::CordonAndDrain,
        action => action,
    });
    would.max().unwrap_or(Action::CordonAndDrain)
}

/// Tells what a drain would do.
pub(super) fn tell(view: &View<'_>, status: &mut NodeTerminationStatus, preview: &Preview) {
    let named = preview.blocked.iter();
    status.blocked = named
        .filter_map(|work| Some(pods::name(work, work.block.as_ref()?)))
        .take(BLOCKED_MAX)
        .collect();
    status.pods = Some(PodsStatus {
        summary: format!("0/{}", preview.leave),
        total: preview.leave,
        evicted: preview.leaving,
        blocked: pods::number(preview.blocked.len()),
        stuck: preview.stuck,
        skipped: preview.stay,
        ..PodsStatus::default()
    });
    let message = message(preview, status);
    state(
        view,
        status,
        Statement::new(WOULD_DRAIN, true, "Observed", message),
    );
}

/// Tells that the policy would close the node and leave its pods.
pub(super) fn tell_of_cordon(view: &View<'_>, status: &mut NodeTerminationStatus) {
    let message = "nothing is changed; the policy's action is Cordon: the node would be closed, and no pod would leave";
    state(
        view,
        status,
        Statement::new(WOULD_DRAIN, false, CORDON_ONLY, message),
    );
}

/// Tells that nobody can tell.
pub(super) fn tell_nothing(view: &View<'_>, status: &mut NodeTerminationStatus) {
    let message = "nothing is changed; what a drain would do is not known, for the node's pods could not be listed in time";
    state(
        view,
        status,
        Statement::new(WOULD_DRAIN, false, "NotListed", message),
    );
}

/// Forgets what a drain would do: it begins.
pub(super) fn forget(status: &mut NodeTerminationStatus) {
    status.pods = None;
    status.blocked.clear();
    status.left.clear();
    status.unmanaged.clear();
    status.outcome.take_if(|o| *o == Outcome::Observed);
    condition::remove(&mut status.conditions, WOULD_DRAIN);
}

fn message(preview: &Preview, status: &NodeTerminationStatus) -> String {
    let deadline = status.deadline.as_ref();
    let deadline = deadline.map_or_else(
        || "the policy's own time".to_owned(),
        |d| format!("the deadline of {:.0}", d.0),
    );
    let first = status.blocked.first().map_or_else(String::new, |pod| {
        let by = pod.by.as_deref().map(|by| format!(" by {by}"));
        let (by, reason) = (by.unwrap_or_default(), pod.reason.as_str());
        format!("; {} is held{by} ({reason}: {})", pod.pod, pod.message)
    });
    let blocked = preview.blocked.len();
    let Preview {
        leave, stay, cut, ..
    } = preview;
    format!(
        "nothing is changed; a drain would move {leave} pods, of which {blocked} are blocked at first and {cut} have their grace period cut by {deadline}, and leave {stay} alone{first}"
    )
}
