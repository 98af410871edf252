//! `history`: what happened to nodes, a line for each NodeTermination.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::table::{NONE, table};
use super::{ages, record};
use crate::api::termination::{NodeTermination, Outcome};

/// Those that were open at some time since then, the oldest first.
#[must_use]
pub fn within(
    mut records: Vec<NodeTermination>,
    since: Option<SignedDuration>,
    now: Timestamp,
) -> Vec<NodeTermination> {
    let begin = since.and_then(|since| now.checked_sub(since).ok());
    let was_open = |record: &NodeTermination| {
        let ended = record::status(record).completed_at.map(|t| t.0);
        let last = ended.or_else(|| record::created(record));
        record::is_open(record) || begin.is_none_or(|begin| last.is_none_or(|last| last >= begin))
    };
    records.retain(was_open);
    record::sort(&mut records);
    records
}

/// The table of them.
#[must_use]
pub fn text(records: &[NodeTermination], now: Timestamp) -> String {
    let rows: Vec<_> = records.iter().map(|r| row(r, now)).collect();
    let header = [
        "NAME", "NODE", "REASON", "PHASE", "OUTCOME", "PODS", "FORCED", "TOOK", "AGE",
    ];
    table(header, &rows)
}

fn row(object: &NodeTermination, now: Timestamp) -> [String; 9] {
    let status = record::status(object);
    let forced = status.pods.as_ref().map_or(0, |p| p.forced);
    let outcome = status.outcome.map_or(NONE, Outcome::as_str);
    let took = took(object, now).map_or_else(|| NONE.to_owned(), ages::age);
    [
        object.name_any(),
        object.spec.node_name.clone(),
        record::kind(object).to_owned(),
        record::phase(object).as_str().to_owned(),
        outcome.to_owned(),
        record::pods(object),
        forced.to_string(),
        took,
        ages::age(record::age(object, now)),
    ]
}

/// How long the work took, or takes: until the last pod had gone, else until the instance was free to go.
fn took(object: &NodeTermination, now: Timestamp) -> Option<SignedDuration> {
    let status = record::status(object);
    let ends = [status.drained_at, status.released_at, status.completed_at];
    let end = ends.into_iter().flatten().map(|t| t.0).next();
    let begun = status.started_at?.0;
    Some(end.unwrap_or(now).duration_since(begun))
}
