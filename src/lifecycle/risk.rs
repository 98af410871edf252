//! The forecast: whether the drain will fit its deadline as things stand, and if not, on whose account.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::pods::told;
use super::say::state;
use super::view::{Pods, View};
use crate::api::condition::{self, Statement};
use crate::api::termination::{BlockReason, NodeTerminationStatus, Outcome};
use crate::drain::Plan;
use crate::drain::plan::{Candidate, Cut};
use crate::drain::queue::{Block, Work};
use crate::drain::window::later;

/// The drain does not fit its deadline as things stand.
pub(super) const DEADLINE_AT_RISK: &str = "DeadlineAtRisk";
/// Its reason once the time was over with pods left.
const MISSED: &str = "Missed";

/// Its reason while the node can not even be closed.
const NOT_CORDONED: &str = "NotCordoned";

/// How many pods the message names.
const NAMED_MAX: usize = 3;
/// A pod is told to end within this of its time, if anybody serves it.
const SERVED_WITHIN: SignedDuration = SignedDuration::from_secs(3);

/// Why the plan does not fit, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// A budget holds a pod, and the policy never overrides it.
    NeverForced,
    /// Who refuses the eviction may refuse the deletion too.
    Refused,
    /// A pod does not end.
    Stuck,
    /// A pod should have been told to end and has not been.
    StartsLate,
    /// A pod gets less than its grace period.
    GraceCut,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::NeverForced => "NeverForced",
            Self::Refused => "Refused",
            Self::Stuck => "Stuck",
            Self::StartsLate => "StartsLate",
            Self::GraceCut => "GraceCut",
        }
    }
}

struct Threat {
    reason: Reason,
    pod: String,
    what: String,
}

/// States whether the plan fits. Returns when that may change by time alone.
pub(super) fn tell(
    view: &View<'_>,
    status: &mut NodeTerminationStatus,
    plan: &Plan,
    pods: Pods<'_>,
) -> Option<Timestamp> {
    let Some(deadline) = status.deadline.as_ref().map(|d| d.0) else {
        forget(status);
        return None;
    };
    let (mut threats, wake) = threats(view, plan, pods);
    threats.sort_by(|a, b| (a.reason, &a.pod).cmp(&(b.reason, &b.pod)));
    let stated = condition::find(&status.conditions, DEADLINE_AT_RISK).is_some();
    match threats.first() {
        None if !stated => {}
        None => {
            let message = format!("the pods that are left can go before {deadline:.0}");
            let shortened = listed(&shortened(plan));
            let message = if shortened.is_empty() {
                message
            } else {
                format!("{message}; {shortened}")
            };
            state(
                view,
                status,
                Statement::new(DEADLINE_AT_RISK, false, "Fits", message),
            );
        }
        Some(worst) => {
            let message = format!("deadline {deadline:.0}: {}", listed(&threats));
            state(
                view,
                status,
                Statement::new(DEADLINE_AT_RISK, true, worst.reason.as_str(), message),
            );
        }
    }
    wake
}

/// The node can not be closed: before it is, no pod is told to end.
pub(super) fn stays_open(view: &View<'_>, status: &mut NodeTerminationStatus, why: &str) {
    if let Some(deadline) = status.deadline.as_ref().map(|d| d.0) {
        let node = &view.object.spec.node_name;
        let message = format!(
            "deadline {deadline:.0}: node {node} can not be closed, and no pod is told to end before: {why}"
        );
        state(
            view,
            status,
            Statement::new(DEADLINE_AT_RISK, true, NOT_CORDONED, message),
        );
    }
}

/// The node is closed.
pub(super) fn is_closed(view: &View<'_>, status: &mut NodeTerminationStatus) {
    let said = condition::find(&status.conditions, DEADLINE_AT_RISK);
    if said.is_some_and(|c| c.reason == NOT_CORDONED) {
        let message = "the node is closed now".to_owned();
        state(
            view,
            status,
            Statement::new(DEADLINE_AT_RISK, false, "Cordoned", message),
        );
    }
}

/// The drain is over: what was foreseen has come or has not.
pub(super) fn end(view: &View<'_>, status: &mut NodeTerminationStatus, outcome: Outcome) {
    if outcome == Outcome::DrainIncomplete {
        let message = "the time was over with pods left on the node".to_owned();
        state(
            view,
            status,
            Statement::new(DEADLINE_AT_RISK, true, MISSED, message),
        );
    } else if condition::find(&status.conditions, DEADLINE_AT_RISK).is_some() {
        let message = "nobody is waited for any more".to_owned();
        state(
            view,
            status,
            Statement::new(DEADLINE_AT_RISK, false, outcome.as_str(), message),
        );
    }
}

/// Nobody is drained, so nothing is foreseen. What was missed stays said.
pub(super) fn forget(status: &mut NodeTerminationStatus) {
    if forecast(status).is_some() {
        condition::remove(&mut status.conditions, DEADLINE_AT_RISK);
    }
}

/// What is foreseen, if the deadline is at risk.
pub(super) fn forecast(status: &NodeTerminationStatus) -> Option<&str> {
    let said = condition::find(&status.conditions, DEADLINE_AT_RISK)?;
    (said.status == "True" && said.reason != MISSED).then_some(said.message.as_str())
}

fn listed(threats: &[Threat]) -> String {
    let named = threats.iter().take(NAMED_MAX);
    let named: Vec<String> = named.map(|t| format!("{} {}", t.pod, t.what)).collect();
    let named = named.join("; ");
    match threats.len().saturating_sub(NAMED_MAX) {
        0 => named,
        more => format!("{named}; and {more} more"),
    }
}

fn threats(view: &View<'_>, plan: &Plan, pods: Pods<'_>) -> (Vec<Threat>, Option<Timestamp>) {
    let now = view.now;
    let held = pods.work.iter().filter(|w| told(view, w).is_some());
    let held: HashMap<&str, &Work> = held.map(|w| (w.uid.as_str(), w)).collect();
    let (mut threats, mut wake) = (Vec::new(), None::<Timestamp>);
    for candidate in &plan.candidates {
        let block = held
            .get(candidate.pod.uid.as_str())
            .and_then(|w| w.block.as_ref());
        let threat = threat(candidate, block, now);
        threats.extend(threat.map(|(reason, what)| Threat {
            reason,
            pod: candidate.pod.full_name(),
            what,
        }));
        let late = later(candidate.latest_start, SERVED_WITHIN);
        if late > now && !candidate.shorten {
            wake = Some(wake.map_or(late, |at| at.min(late)));
        }
    }
    let at_risk = |c: &&Cut| c.to_window && c.own - c.given > SERVED_WITHIN;
    threats.extend(plan.cut.iter().filter(at_risk).map(cut_short));
    threats.extend(plan.stuck.iter().map(|stuck| Threat {
        reason: Reason::Stuck,
        pod: stuck.pod.full_name(),
        what: "still runs a minute after its grace period".to_owned(),
    }));
    (threats, wake)
}

/// Pods that have less than their grace period, though nothing is at risk.
fn shortened(plan: &Plan) -> Vec<Threat> {
    plan.cut.iter().map(cut_short).collect()
}

fn cut_short(cut: &Cut) -> Threat {
    Threat {
        reason: Reason::GraceCut,
        pod: cut.pod.clone(),
        what: has_of(cut.given, cut.own),
    }
}

/// Why this pod, which is still to be told to end, will not have gone in time as it should.
fn threat(
    candidate: &Candidate,
    block: Option<&Block>,
    now: Timestamp,
) -> Option<(Reason, String)> {
    let late = now >= later(candidate.latest_start, SERVED_WITHIN);
    if let Some(block) = block.filter(|_| candidate.hesitation.is_none()) {
        let by = block.by.as_deref().unwrap_or(block.reason.as_str());
        if matches!(block.reason, BlockReason::Webhook | BlockReason::Forbidden) {
            let what = if block.reason == BlockReason::Forbidden && block.by.is_none() {
                "can not leave: the operator may not evict it, nor perhaps delete it".to_owned()
            } else {
                format!("is refused by {by}, which may refuse its deletion too")
            };
            return Some((Reason::Refused, what));
        }
        let for_good = block.reason.is_of_budget() && block.reason != BlockReason::Budget;
        if candidate.force_at.is_none() && (for_good || late) {
            return Some((
                Reason::NeverForced,
                format!("is held by {by}, and never forced"),
            ));
        }
    }
    if late && !candidate.shorten {
        return Some((
            Reason::StartsLate,
            "has not been told to end yet".to_owned(),
        ));
    }
    // Served at its last moment it has its whole grace period, but for the second that is rounded off.
    let now = if late {
        now
    } else {
        now.min(candidate.latest_start)
    };
    let told_at = match (block, candidate.hesitation) {
        (_, Some(_)) => candidate.latest_start.max(now),
        (Some(_), None) => candidate.force_at?.max(now),
        (None, None) => now,
    };
    // A grace period of less than a second is lengthened, not cut.
    let own = candidate.grace.max(SignedDuration::from_secs(1));
    let given = candidate.window.grace(candidate.grace, told_at);
    (given < own).then(|| (Reason::GraceCut, has_of(given, own)))
}

fn has_of(given: SignedDuration, own: SignedDuration) -> String {
    format!(
        "has {} s of its grace period of {} s",
        given.as_secs(),
        own.as_secs()
    )
}
