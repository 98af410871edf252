//! A pass's part in notifications: it puts what became of them on record, and hands in what is to be sent.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use std::time::Duration;

use super::{Context, report};
use crate::api::termination::{NodeTermination, NodeTerminationStatus};
use crate::clock;
use crate::cluster::{self, status};
use crate::lifecycle::{self, Notified, notices};

/// When too many notifications wait, the others are handed in after this.
const ROOM_AFTER: Duration = Duration::from_secs(30);

/// What became of the incident's notifications and is not on record yet. Asked of those only that have some on record,
/// whatever the policy says by now: a row that nobody settles would keep the record for ever.
pub(super) fn settled(stored: &NodeTermination, context: &Context) -> Vec<Notified> {
    let status = stored.status.as_ref();
    if status.is_some_and(|s| !s.notifications.is_empty()) {
        context.notifier.settled(stored)
    } else {
        Vec::new()
    }
}

/// Hands in what the record, as it is stored, still has to tell. Returns when to try again if there is no room.
pub(super) fn offer(
    object: &NodeTermination,
    stored: &NodeTerminationStatus,
    context: &Context,
) -> Option<Timestamp> {
    (!context.notifier.offer(object, stored)).then(|| clock::now() + ROOM_AFTER)
}

/// Puts what became of the notifications of a finished incident on its record, and that an edit of its spec was seen, for
/// tools that wait for the generation would wait for ever. Nothing else of it changes any more. The version that was seen
/// goes with it, for nobody is to write over another's last word.
pub(super) async fn close(
    object: &NodeTermination,
    notified: &[Notified],
    context: &Context,
) -> Result<Option<Timestamp>, cluster::Error> {
    let Some(before) = &object.status else {
        return Ok(None);
    };
    let mut status = before.clone();
    notices::settle(&mut status, notified);
    status.observed_generation = object.metadata.generation;
    if status == *before {
        return Ok(offer(object, &status, context));
    }
    let name = object.name_any();
    let Some(turn) = context.writes.turn(&name, &context.gate).await else {
        return Ok(None);
    };
    if context.term.is_over() {
        return Ok(Some(clock::now() + report::CALL_AGAIN));
    }
    let write = status::report(&context.clients.control, object, &status, true);
    let written = Box::pin(write).await;
    drop(turn);
    match written {
        Err(error) if error.is_not_found() => return Ok(None),
        other => other?,
    }
    for news in lifecycle::not_notified(before, &status) {
        report::publish(object, news, context);
    }
    context.memories.with(object, |memory| {
        memory.status = Some(status.clone());
        memory.written = Some(Arc::new(status.clone()));
    });
    Ok(offer(object, &status, context))
}

impl Context {
    /// The UIDs of all incidents.
    pub(in crate::controller) fn uids(&self) -> HashSet<String> {
        let objects = self.terminations.all();
        objects.filter_map(|object| object.uid()).collect()
    }
}
