//! A cordon whose record is gone is undone: the record was deleted before its finalizer was on, or somebody took that off.

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
    let (mut next, mut pause) = (Instant::now(), AGAIN);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(()) = signs.next() => {
                next = next.min(Instant::now() + SETTLED);
                continue;
            }
            () = tokio::time::sleep_until(next) => {}
        }
        match stop.run_until_cancelled(undo_all(&context)).await {
            None => return,
            Some(true) => (next, pause) = (Instant::now() + EVERY, AGAIN),
            Some(false) => {
                next = Instant::now() + pause;
                pause = EVERY.min(pause * 2);
            }
        }
    }
}

/// Whenever there may be one: its record has gone, or its node has been seen closed only now.
fn signs(context: &Arc<Context>) -> impl Stream<Item = ()> + Send + use<> {
    let records = received(context.terminations.changes()).map({
        let context = context.clone();
        move |changed: Option<ObjectRef<Guarded<NodeTermination>>>| {
            changed.is_none_or(|record| {
                let names = |node: &Arc<Node>| incidents(node).any(|i| i == record.name);
                context.is_orphan(&record.name) && context.nodes.all().iter().any(names)
            })
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
    stream::select(records.boxed(), nodes.boxed())
        .filter_map(async |maybe| maybe.then_some(()))
        .boxed()
}

/// The incidents for which the node is closed.
fn incidents(node: &Node) -> impl Iterator<Item = &str> {
    let record = node.cordon.iter();
    record.flat_map(|record| record.incidents.iter().map(String::as_str))
}

/// Returns whether none is left.
async fn undo_all(context: &Context) -> bool {
    let mut all = true;
    for node in context.nodes.all() {
        for incident in incidents(&node).filter(|name| context.is_orphan(name)) {
            if let Err(error) = undo(&node, incident, context).await {
                tracing::warn!(node = node.name, nodetermination = incident, %error, "a cordon without a record could not be undone yet");
                all = false;
            }
        }
    }
    all
}

async fn undo(node: &Node, incident: &str, context: &Context) -> Result<(), Error> {
    let client = &context.clients.control;
    // The store may lag behind; the API server does not.
    let gone = context.terminations.get(incident).is_none();
    if gone && status::exists(client, incident).await? {
        return Ok(());
    }
    let open: Vec<String> = context.open_on(&node.uid).collect();
    let Some(patch) = cordon::open(node, incident, &open) else {
        return Ok(());
    };
    nodes::patch(client, &node.name, &patch).await?;
    tracing::info!(
        node = node.name,
        nodetermination = incident,
        "its record is gone: its cordon was undone"
    );
    Ok(())
}

impl Context {
    /// The incident's object is gone, or was canceled while its cordon had not been seen yet.
    fn is_orphan(&self, incident: &str) -> bool {
        let object = self.terminations.get(incident);
        let status = object
            .as_ref()
            .and_then(|o| o.0.as_ref().ok()?.status.as_ref());
        object.is_none() || status.is_some_and(|s| s.phase == Some(Phase::Canceled))
    }
}
