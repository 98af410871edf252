//! What wakes a pass: the incident itself, its node, the node's pods, and the eviction engine.

use std::convert::Infallible;
use std::sync::Arc;

use futures::stream::{self, BoxStream, Stream, StreamExt};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::broadcast::{self, error::RecvError};

use super::{Context, reference};
use crate::api::termination::NodeTermination;
use crate::cluster::Guarded;

type Reference = ObjectRef<Guarded<NodeTermination>>;

/// All incidents once, then each that something happened to.
pub(super) fn stream(
    context: &Arc<Context>,
) -> impl Stream<Item = Result<Reference, Infallible>> + Send + use<> {
    let incidents = received(context.terminations.changes()).map({
        let context = context.clone();
        move |changed: Option<Reference>| changed.map(|incident| context.unless_gone(incident))
    });
    let nodes = received(context.nodes.changes());
    let pods = received(context.views.changes());
    let engine = received(context.evictor.changes());
    let by_node = stream::select_all([nodes.boxed(), pods.boxed(), engine.boxed()]).map({
        let context = context.clone();
        move |changed: Option<Arc<str>>| {
            changed.map(|node| {
                context
                    .memories
                    .of_node(&node)
                    .iter()
                    .map(|n| reference(n))
                    .collect::<Vec<_>>()
            })
        }
    });
    let all: BoxStream<'static, Option<Vec<Reference>>> = stream::once(async { None })
        .chain(stream::select(incidents, by_node))
        .boxed();
    let context = context.clone();
    all.flat_map(move |some| stream::iter(some.unwrap_or_else(|| everything(&context))))
        .map(Ok)
}

impl Context {
    /// The incident, for a pass; one whose object is gone is forgotten, for no pass runs for it.
    fn unless_gone(&self, incident: Reference) -> Vec<Reference> {
        if self.terminations.store().get(&incident).is_some() {
            return vec![incident];
        }
        if let Some(node_uid) = self.memories.forget(&incident.name)
            && self.is_free(&node_uid, &incident.name)
        {
            self.evictor.withdraw(&node_uid);
            self.views.close(&node_uid);
        }
        self.timeline.forget(&incident.name);
        Vec::new()
    }
}

fn everything(context: &Context) -> Vec<Reference> {
    context
        .terminations
        .all()
        .map(|o| ObjectRef::new(&o.name_any()))
        .collect()
}

/// What a store tells. `None`: this subscriber fell behind and must look at everything.
fn received<T: Clone + Send + 'static>(
    changes: broadcast::Receiver<T>,
) -> impl Stream<Item = Option<T>> + Send {
    stream::unfold(changes, |mut changes| async move {
        match changes.recv().await {
            Ok(change) => Some((Some(change), changes)),
            Err(RecvError::Lagged(_)) => Some((None, changes)),
            Err(RecvError::Closed) => None,
        }
    })
}
