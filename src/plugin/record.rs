//! What every command asks of a record.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::table::NONE;
use crate::api::condition;
use crate::api::termination::{NodeTermination, NodeTerminationStatus, Phase, SignalKind};

/// Why a person asked for a drain, on the NodeTermination that `drain --reason` made.
pub const REASON: &str = "nodetermination.dev/reason";

/// The record's status, or an empty one.
#[must_use]
pub fn status(object: &NodeTermination) -> NodeTerminationStatus {
    object.status.clone().unwrap_or_default()
}

/// The phase. One that nobody has looked at is Pending.
#[must_use]
pub fn phase(object: &NodeTermination) -> Phase {
    let phase = object.status.as_ref().and_then(|s| s.phase);
    phase.unwrap_or(Phase::Pending)
}

/// It is not over.
#[must_use]
pub fn is_open(object: &NodeTermination) -> bool {
    !phase(object).is_finished()
}

/// It was made by hand: nothing was heard.
#[must_use]
pub fn is_by_hand(object: &NodeTermination) -> bool {
    object.spec.signals.is_empty()
}

/// The kind of its most urgent signal.
#[must_use]
pub fn kind(object: &NodeTermination) -> &'static str {
    let told = object.status.as_ref().and_then(|s| s.reason);
    let heard = || object.spec.signals.iter().map(|s| s.kind).min();
    let kind = told.or_else(heard).unwrap_or(SignalKind::Manual);
    kind.as_str()
}

/// When it was made.
#[must_use]
pub fn created(object: &NodeTermination) -> Option<Timestamp> {
    object.metadata.creation_timestamp.as_ref().map(|t| t.0)
}

/// How old it is.
#[must_use]
pub fn age(object: &NodeTermination, now: Timestamp) -> SignedDuration {
    let created = created(object).unwrap_or(now);
    now.duration_since(created).max(SignedDuration::ZERO)
}

/// The pods that have gone of those that were to leave.
#[must_use]
pub fn pods(object: &NodeTermination) -> String {
    let pods = object.status.as_ref().and_then(|s| s.pods.as_ref());
    pods.map_or_else(|| NONE.to_owned(), |p| p.summary.clone())
}

/// What the condition of that type says, if it was ever stated.
#[must_use]
pub fn says<'a>(object: &'a NodeTermination, kind: &str) -> Option<&'a str> {
    let conditions = object.status.as_ref().map(|s| s.conditions.as_slice());
    let stated = condition::find(conditions.unwrap_or_default(), kind)?;
    Some(stated.message.as_str()).filter(|message| !message.is_empty())
}

/// The records from the oldest to the youngest, those of one moment by name.
pub fn sort(objects: &mut [NodeTermination]) {
    objects.sort_by_cached_key(|o| (created(o), o.name_any()));
}
