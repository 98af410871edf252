//! The last step of a pass: writing the record, seldom enough to cost little and soon enough to be of use.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::ResourceExt;
use serde_json::Value;
use tokio::time::Instant;

use super::Context;
use super::memory::Memory;
use super::notices;
use super::observe::Seen;
use crate::api::condition::{self, RECONCILING};
use crate::api::termination::{
    NodeTermination, NodeTerminationStatus, Outcome, Phase, SignalKind, VolumesStatus,
};
use crate::clock;
use crate::cluster::events::Happening;
use crate::cluster::{self, status};
use crate::lifecycle::{self, News, Notified};

/// Mere progress is written this long after the last report, then ever more seldom: a drain of half a minute costs
/// one such write.
const PROGRESS_FIRST: Duration = Duration::from_secs(15);
/// The longest that mere progress waits.
const PROGRESS_LAST: Duration = Duration::from_mins(1);
/// For each node that drains mere progress waits this much longer: a report costs the API server more than two
/// evictions (9 ms of its CPU), and in a burst it has no time for either.
const PROGRESS_EACH: Duration = Duration::from_millis(200);
/// A node's pods are listed within this, unless the API server is busy or too many nodes drain at once.
const COUNTED_WITHIN: Duration = Duration::from_secs(2);
/// An incident whose lifecycle call failed is looked at again after this.
pub(super) const CALL_AGAIN: Duration = Duration::from_secs(5);

/// Writes the record if there is something new to say and its turn has come. Returns when to look again.
pub(super) async fn report(
    seen: &Seen,
    status: NodeTerminationStatus,
    finishing: bool,
    context: &Context,
) -> Result<Option<Timestamp>, cluster::Error> {
    let object = &seen.object;
    let again = retry_time(&status);
    let draining = context.views.open_count();
    let (before, due) = context.memories.with(object, |memory| {
        memory.status = Some(status.clone());
        let due = when(memory, &status, finishing, draining);
        (memory.written.clone().unwrap_or_default(), due)
    });
    context.turns.note(object, &status);
    let room = notices::offer(object, &before, context);
    let again = [again, room].into_iter().flatten().min();
    match due {
        Due::Never => return Ok(again),
        Due::At(time) => return Ok([again, Some(time)].into_iter().flatten().min()),
        Due::Now => {}
    }
    // What was not written is decided anew: above all, an incident is not finished before the record says so.
    let decide_anew = || {
        let as_before = |memory: &mut Memory| memory.status.clone_from(&object.status);
        context.memories.with(object, as_before);
    };
    let name = object.name_any();
    let Some(turn) = context.writes.turn(&name, &context.gate).await else {
        if finishing {
            decide_anew();
        }
        return Ok(again);
    };
    if context.term.is_over() {
        // The next leader's report is not to be undone by one that was kept back.
        decide_anew();
        return Ok(Some(clock::now() + CALL_AGAIN));
    }
    // Boxed: a thousand passes may wait for the turn of their cordon, without room for this request.
    let write = Box::pin(status::report(
        &context.clients.control,
        object,
        &status,
        finishing,
    ));
    let written = write.await;
    drop(turn);
    if let Err(error) = written {
        if finishing {
            decide_anew();
        }
        return if error.is_not_found() {
            Ok(None)
        } else {
            Err(error)
        };
    }
    context.memories.with(object, |memory| {
        let progress = is_progress(&before, &status);
        let wait = memory.progress_wait.unwrap_or(PROGRESS_FIRST);
        memory.progress_wait = Some(if progress {
            (wait * 2).min(PROGRESS_LAST)
        } else {
            wait
        });
        memory.written = Some(Arc::new(status.clone()));
        memory.written_at = Some(Instant::now());
    });
    tell(object, &before, &status, context);
    let room = notices::offer(object, &status, context);
    Ok([again, room].into_iter().flatten().min())
}

/// The incident is finished, and so is its record, but for who has been told of it.
pub(super) async fn let_go(
    object: &NodeTermination,
    status: &NodeTerminationStatus,
    notified: &[Notified],
    context: &Context,
) -> Result<Option<Timestamp>, cluster::Error> {
    context.turns.note(object, status);
    let room = notices::close(object, notified, context).await?;
    forget(object, context);
    Ok(room)
}

enum Due {
    Now,
    At(Timestamp),
    Never,
}

/// Whether the record must be written now: what is news at once, mere progress after a while, the same never.
fn when(memory: &Memory, status: &NodeTerminationStatus, finishing: bool, draining: usize) -> Due {
    let nothing = Arc::default();
    let stored = memory.written.as_ref().unwrap_or(&nothing);
    if finishing {
        return Due::Now;
    }
    if **stored == *status || is_untouched(status) {
        return Due::Never;
    }
    let progress = is_progress(stored, status);
    if progress && !is_told_anew(stored, status) {
        return Due::Never;
    }
    if let Some(time) = counts_at(memory, status) {
        return Due::At(time);
    }
    if !progress {
        return Due::Now;
    }
    let crowd = PROGRESS_EACH * u32::try_from(draining).unwrap_or(u32::MAX);
    let wait = memory.progress_wait.unwrap_or(PROGRESS_FIRST).max(crowd);
    let written_at = memory.written_at;
    let left = written_at.map_or(Duration::ZERO, |at| wait.saturating_sub(at.elapsed()));
    if left.is_zero() {
        Due::Now
    } else {
        Due::At(clock::now() + left)
    }
}

/// An incident whose cordon is under way says nothing yet: the next pass, a moment later, says more.
fn is_untouched(status: &NodeTerminationStatus) -> bool {
    let reconciling = condition::find(&status.conditions, RECONCILING);
    status.phase == Some(Phase::Pending)
        && status.cordoned_at.is_none()
        && reconciling.is_some_and(|c| c.reason == "Pending")
}

/// A drain that has just begun is told of once its pods are counted, or a little later without.
fn counts_at(memory: &Memory, status: &NodeTerminationStatus) -> Option<Timestamp> {
    let begins = status.phase == Some(Phase::Draining) && status.pods.is_none();
    let left = COUNTED_WITHIN.checked_sub(memory.since?.elapsed())?;
    begins.then(|| clock::now() + left)
}

/// Whether nothing but counts and words differs. Every event of a pod asks, so the records are spelt out only where
/// they are not the same to the last digit: as they are stored, times in whole seconds.
fn is_progress(before: &NodeTerminationStatus, status: &NodeTerminationStatus) -> bool {
    let (before, status) = (substance(before), substance(status));
    before == status || said(&before) == said(&status)
}

/// Whether the counts or the words of two records differ that are the same otherwise.
fn is_told_anew(before: &NodeTerminationStatus, status: &NodeTerminationStatus) -> bool {
    let words = |s: &NodeTerminationStatus| {
        let conditions = s.conditions.iter().map(|c| c.message.clone());
        let blocked = s.blocked.iter().map(|b| b.message.clone());
        conditions.chain(blocked).collect::<Vec<_>>()
    };
    before.pods != status.pods || words(before) != words(status)
}

fn said(status: &NodeTerminationStatus) -> Value {
    serde_json::to_value(status).unwrap_or_default()
}

/// The record without counts and words.
fn substance(status: &NodeTerminationStatus) -> NodeTerminationStatus {
    let mut status = status.clone();
    status.pods = None;
    status.volumes.iter_mut().for_each(VolumesStatus::uncount);
    status.conditions.iter_mut().for_each(|c| c.message.clear());
    status.blocked.iter_mut().for_each(|b| b.message.clear());
    status
}

/// A lifecycle call that failed comes again by time: nothing watches Auto Scaling.
fn retry_time(status: &NodeTerminationStatus) -> Option<Timestamp> {
    let failing = status
        .lifecycle_actions
        .iter()
        .any(|a| !a.state.is_over() && a.message.is_some());
    let releasing = status.phase == Some(Phase::Releasing);
    (failing || releasing).then(|| clock::now() + CALL_AGAIN)
}

/// Logs, counts and publishes what is new.
fn tell(
    object: &NodeTermination,
    before: &NodeTerminationStatus,
    status: &NodeTerminationStatus,
    context: &Context,
) {
    let name = object.name_any();
    if before.drained_at.is_none() && status.drained_at.is_some() {
        context.timeline.reached(&name, "drained");
    }
    if before.released_at.is_none() && status.released_at.is_some() {
        context.timeline.reached(&name, "released");
    }
    context.metrics.progressed(object, before, status);
    let news = lifecycle::happenings(object, before, status);
    log(object, before, status, &news);
    for news in news {
        publish(object, news, context);
    }
    if let (Some(phase), Some(outcome)) = (status.phase, status.outcome)
        && phase.is_finished()
    {
        context
            .metrics
            .finished(status.reason.unwrap_or_default(), outcome);
    }
}

/// One line for each change of the phase, the last with the whole record, and one for whatever else needs attention.
fn log(
    object: &NodeTermination,
    before: &NodeTerminationStatus,
    status: &NodeTerminationStatus,
    news: &[News],
) {
    let node = &object.spec.node_name;
    let phase = status.phase.map_or("", Phase::as_str);
    let outcome = status.outcome.map(Outcome::as_str);
    let attention = |n: &&News| n.warning;
    for news in news.iter().filter(attention) {
        tracing::warn!(
            node,
            reason = news.reason,
            note = news.note,
            "needs attention"
        );
    }
    if status.phase.is_some_and(Phase::is_finished) {
        let record = serde_json::json!({"spec": object.spec, "status": status}).to_string();
        tracing::info!(node, phase, outcome, record, "incident over");
    } else if before.phase != status.phase {
        let reason = status.reason.map(SignalKind::as_str);
        let waiting = status.waiting.as_ref().map(|w| w.reason.as_str());
        let deadline = status.deadline.as_ref().map(|d| format!("{:.0}", d.0));
        tracing::info!(node, phase, reason, outcome, waiting, deadline, "phase");
    }
}

/// Publishes it on the record, or on the node, where people look first; each names the other.
pub(super) fn publish(object: &NodeTermination, news: News, context: &Context) {
    let record = object.object_ref(&());
    let node = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(object.spec.node_name.clone()),
        uid: object.node_uid().map(str::to_owned),
        ..ObjectReference::default()
    };
    let (regarding, related) = if news.is_about_the_node() {
        (node, record)
    } else {
        (record, node)
    };
    context.events.emit(Happening {
        regarding,
        related: Some(related),
        warning: news.warning,
        reason: news.reason,
        action: "Terminate",
        note: news.note,
    });
}

fn forget(object: &NodeTermination, context: &Context) {
    let name = object.name_any();
    if object.finalizers().is_empty() {
        context.memories.forget(&name);
    }
    context.timeline.forget(&name);
}
