//! `drain --wait`: a line for each change, and when there is no more to wait for.

use jiff::Timestamp;

use super::{CALL, End, ages, record};
use crate::api::condition::READY;
use crate::api::termination::{NodeTermination, Outcome, Phase};

/// The condition that sums up what became of the pods.
const DRAINED: &str = "Drained";
/// The condition that says what an incident that is only observed would have done.
const WOULD_DRAIN: &str = "WouldDrain";

/// What the record says now, in a sentence.
#[must_use]
pub fn sentence(object: &NodeTermination) -> String {
    let drained = record::says(object, DRAINED).or_else(|| record::says(object, WOULD_DRAIN));
    let ready = record::says(object, READY);
    let detaching = record::status(object).drained_at.is_some();
    match (record::phase(object), drained, ready) {
        (Phase::Pending, _, None) => "nobody has looked at it yet".to_owned(),
        (Phase::Draining, Some(drained), _) if !detaching => drained.to_owned(),
        (phase, Some(drained), Some(ready)) if phase.is_finished() || phase == Phase::Released => {
            format!("{drained}; {ready}")
        }
        (_, drained, ready) => ready.or(drained).unwrap_or_default().to_owned(),
    }
}

/// A line of the wait: how old the record is, its phase and what it says.
#[must_use]
pub fn line(object: &NodeTermination, now: Timestamp) -> String {
    let age = ages::age(record::age(object, now));
    let phase = record::phase(object).as_str();
    format!("{age:<7}{phase:<12}{}", sentence(object))
}

/// How the drain has ended, if it has. It has emptied the node if every pod that was to leave has left.
#[must_use]
pub fn end(object: &NodeTermination) -> Option<End> {
    let status = record::status(object);
    let phase = record::phase(object);
    if phase != Phase::Released && !phase.is_finished() {
        return None;
    }
    let pods = status.pods.unwrap_or_default();
    let emptied = match status.outcome {
        Some(Outcome::Drained) => true,
        Some(Outcome::NodeGone) => pods.gone == pods.total,
        _ => false,
    };
    let stands = !matches!(phase, Phase::Canceled | Phase::Failed);
    Some(if emptied && stands {
        End::Done
    } else {
        End::NotDrained
    })
}

/// That the record was deleted while it was followed.
#[must_use]
pub fn deleted(node: &str) -> String {
    format!("its NodeTermination was deleted: what was put on {node} for it is taken off")
}

/// That the drain goes on though nobody follows it any more.
#[must_use]
pub fn goes_on(node: &str, why: &str) -> String {
    format!(
        "{why}; the drain of {node} goes on: `{CALL} why {node}` tells how it stands, `{CALL} cancel {node}` undoes it"
    )
}

/// That nothing has happened for a while.
#[must_use]
pub fn unheard(node: &str) -> String {
    format!(
        "nobody has taken the drain of {node} up: does the operator run? (kubectl get pods -A -l app.kubernetes.io/name=node-termination-operator)"
    )
}
