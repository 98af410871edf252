//! How far the drain is, or how it ended.

use jiff::Timestamp;

use super::DRAINED;
use crate::api::condition::Statement;
use crate::api::termination::{BlockedPod, NodeTerminationStatus, Outcome, PodsStatus};

/// Nothing is said before the work begins.
pub(super) fn statement(status: &NodeTerminationStatus, now: Timestamp) -> Option<Statement> {
    if let Some(pods) = &status.pods {
        return status.started_at.is_some().then(|| of(status, pods, now));
    }
    let message = "no pod was asked to leave: the time was over before the node was closed and its pods were listed";
    (status.outcome == Some(Outcome::DrainIncomplete))
        .then(|| Statement::new(DRAINED, false, "DeadlinePassed", message))
}

fn of(status: &NodeTerminationStatus, pods: &PodsStatus, now: Timestamp) -> Statement {
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
                let message = format!(
                    "{summary} pods have gone{held}: {}; deadline {deadline}",
                    kept(first, now)
                );
                Statement::new(DRAINED, false, "Blocked", message)
            }
        },
    }
}

/// Who holds the pod, why, and until when.
fn kept(pod: &BlockedPod, now: Timestamp) -> String {
    let by = pod
        .by
        .as_deref()
        .map(|b| format!(" by {b}"))
        .unwrap_or_default();
    let then = match pod.force_time.as_ref().map(|t| t.0) {
        None => "it is never forced".to_owned(),
        Some(at) if at <= now => format!("its deletion has been tried since {at:.0}"),
        Some(at) => format!("it is forced at {at:.0}"),
    };
    format!(
        "{} is held{by} since {:.0} ({}: {}); {then}",
        pod.pod,
        pod.since.0,
        pod.reason.as_str(),
        pod.message
    )
}

/// How many are blocked and how many are stuck, as far as there are any.
fn held(pods: &PodsStatus) -> String {
    let held = [(pods.blocked, "blocked"), (pods.stuck, "stuck")].into_iter();
    let held = held.filter(|(count, _)| *count > 0);
    let held = held.map(|(count, how)| format!(", {count} {how}"));
    held.collect::<Vec<_>>().concat()
}
