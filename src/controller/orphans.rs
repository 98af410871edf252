//! Undoes a cordon whose record is gone, for it was deleted before its finalizer was on, or by somebody who took that
//! off; and one whose record was canceled before the cordon had been seen.

use std::future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use kube::runtime::reflector::ObjectRef;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::received::received;
use super::termination::Context;
use crate::api::termination::{NodeTermination, Phase};
use crate::cluster::{Error, Guarded, nodes, status};
use crate::drain::{Node, cordon};

/// All nodes are looked at so often, though nothing tells of an orphan.
const EVERY: Duration = Duration::from_mins(1);
/// What looks like an orphan is looked at after this: a cordon that is being undone is no longer one then.
const SETTLED: Duration = Duration::from_secs(2);
/// After a failure; doubled up to [`EVERY`].
const AGAIN: Duration = Duration::from_secs(5);

/// Undoes them until `stop`.
pub(super) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let mut signs = pin!(signs(&context));
    let mut next = Instant::now();
    let mut failed: Option<(Duration, Instant)> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(()) = signs.next() => {
                let soon = Instant::now() + SETTLED;
                // A failure is not asked for again any sooner.
                next = next.min(failed.map_or(soon, |(_, again)| soon.max(again)));
                continue;
            }
            () = tokio::time::sleep_until(next) => {}
        }
        let swept = stop.run_until_cancelled(undo_all(&context)).await;
        let now = Instant::now();
        match swept {
            None => return,
            Some(Ok(())) => {
                failed = None;
                next = now + EVERY;
            }
            Some(Err(error)) if error.is_conflict() => {
                failed = None;
                next = now + SETTLED;
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "a cordon without a record could not be undone yet");
                let pause = failed.map_or(AGAIN, |(pause, _)| EVERY.min(pause * 2));
                next = now + pause;
                failed = Some((pause, next));
            }
        }
    }
}

/// Whenever there may be one: its record has gone, or its node has been seen closed only now.
fn signs(context: &Arc<Context>) -> impl Stream<Item = ()> + Send + use<> {
    let records = received(context.terminations.changes()).map({
        let context = context.clone();
        move |changed: Option<ObjectRef<Guarded<NodeTermination>>>| {
            changed.is_none_or(|record| context.is_orphan(&record.name))
        }
    });
    let nodes = received(context.nodes.changes()).map({
        let context = context.clone();
        move |changed: Option<Arc<str>>| {
            changed.is_none_or(|name| {
                let node = context.nodes.get(&name);
                node.is_some_and(|node| incidents(&node).any(|i| context.is_orphan(i)))
            })
        }
    });
    let maybe = stream::select(records, nodes);
    maybe.filter_map(|is_one| future::ready(is_one.then_some(())))
}

/// The incidents for which the node is closed.
fn incidents(node: &Node) -> impl Iterator<Item = &str> {
    let record = node.cordon.iter();
    record.flat_map(|record| record.incidents.iter().map(String::as_str))
}

/// Returns the first failure, one that is no mere conflict if there is any. One node does not keep the others waiting,
/// but an API server that is away would only be asked in vain.
async fn undo_all(context: &Context) -> Result<(), Error> {
    let mut all = Ok(());
    for node in context.nodes.all() {
        if !incidents(&node).any(|i| context.is_orphan(i)) {
            continue;
        }
        let Err(error) = undo(&node.name, context).await else {
            continue;
        };
        // A node that is gone needs nothing.
        if error.is_not_found() {
            continue;
        }
        tracing::debug!(node = node.name, %error, "what was put on for a record that is gone is still there");
        let in_vain = in_vain(&error);
        if all.as_ref().err().is_none_or(Error::is_conflict) {
            all = Err(error);
        }
        if in_vain {
            break;
        }
    }
    all
}

/// Whether the next call would fail as well.
fn in_vain(error: &Error) -> bool {
    let unheard = matches!(error.reason(), "Unreachable" | "TimedOut" | "Overloaded");
    unheard || matches!(error, Error::Denied { .. })
}

/// Takes what is orphaned off the node, in one patch.
async fn undo(node: &str, context: &Context) -> Result<(), Error> {
    // The others were first, and took their time.
    let Some(node) = context.nodes.get(node) else {
        return Ok(());
    };
    let client = &context.clients.control;
    let mut orphans = Vec::new();
    for incident in incidents(&node).filter(|i| context.is_orphan(i)) {
        // The store may lag behind; the API server does not.
        let canceled = context.terminations.get(incident).is_some();
        if canceled || !status::exists(client, incident).await? {
            orphans.push(incident);
        }
    }
    // One may have been recorded anew meanwhile.
    orphans.retain(|i| context.is_orphan(i));
    let Some(first) = orphans.first() else {
        return Ok(());
    };
    let others = incidents(&node).filter(|i| !orphans.contains(i) && !context.is_over(i));
    let others: Vec<String> = others.map(str::to_owned).collect();
    let Some(patch) = cordon::open(&node, first, &others) else {
        return Ok(());
    };
    nodes::patch(client, &node.name, &patch).await?;
    tracing::info!(
        node = node.name,
        nodeterminations = orphans.join(","),
        "what was put on for a record that is gone was taken off"
    );
    Ok(())
}

impl Context {
    /// The incident's object is gone, or was canceled while its cordon had not been seen yet.
    fn is_orphan(&self, incident: &str) -> bool {
        let object = self.terminations.get(incident);
        object.is_none_or(|object| {
            object.0.as_ref().ok().and_then(NodeTermination::phase) == Some(Phase::Canceled)
        })
    }

    /// The incident is known, and nothing is to be done about it any more.
    fn is_over(&self, incident: &str) -> bool {
        let object = self.terminations.get(incident);
        let phase = object.and_then(|object| object.0.as_ref().ok()?.phase());
        phase.is_some_and(Phase::is_finished)
    }
}
