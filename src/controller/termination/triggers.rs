//! What wakes a pass: the incident itself, its turn to write, its node, the node's pods, and the eviction engine.

use std::convert::Infallible;
use std::sync::Arc;

use futures::stream::{self, BoxStream, Stream, StreamExt};
use kube::runtime::reflector::ObjectRef;

use super::pace::paced;
use super::{Context, reference};
use crate::api::termination::NodeTermination;
use crate::cluster::Guarded;
use crate::controller::received::received;

type Reference = ObjectRef<Guarded<NodeTermination>>;

/// All incidents once, then each that something happened to.
pub(super) fn stream(
    context: &Arc<Context>,
) -> impl Stream<Item = Result<Reference, Infallible>> + Send + use<> {
    let incidents = received(context.terminations.changes()).map({
        let context = context.clone();
        move |changed: Option<Reference>| changed.map(|incident| context.affected(incident))
    });
    // Only those that have not begun go by the policy as it stands now.
    let policies = received(context.policies.changes()).map({
        let context = context.clone();
        move |changed: Option<_>| changed.map(|_| context.not_begun())
    });
    let turns = received(context.turns.changes()).map({
        let context = context.clone();
        move |changed: Option<Arc<str>>| {
            Some(changed.map_or_else(|| context.not_begun(), |name| vec![reference(&name)]))
        }
    });
    let states = received(context.states.changes())
        .map(|answered: Option<Arc<str>>| answered.map(|name| vec![reference(&name)]));
    let writes = received(context.writes.changes())
        .map(|called: Option<Arc<str>>| called.map(|name| vec![reference(&name)]));
    let notified = received(context.notifier.changes())
        .map(|told: Option<Arc<str>>| told.map(|name| vec![reference(&name)]));
    let nodes = received(context.nodes.changes());
    let listed = received(context.views.listed());
    let pods = received(context.views.changes());
    let engine = received(context.evictor.changes());
    let pods = paced(stream::select(pods.boxed(), engine.boxed()));
    let volumes = received(context.attachments.changes());
    let of_nodes = [nodes.boxed(), listed.boxed(), pods.boxed(), volumes.boxed()];
    let by_node = stream::select_all(of_nodes).map({
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
        .chain(stream::select_all([
            incidents.boxed(),
            policies.boxed(),
            turns.boxed(),
            states.boxed(),
            writes.boxed(),
            notified.boxed(),
            by_node.boxed(),
        ]))
        .boxed();
    let context = context.clone();
    all.flat_map(move |some| {
        stream::iter(some.unwrap_or_else(|| {
            context.forget_gone();
            context.terminations.references()
        }))
    })
    .map(Ok)
}

impl Context {
    fn not_begun(&self) -> Vec<Reference> {
        self.memories
            .not_begun()
            .iter()
            .map(|n| reference(n))
            .collect()
    }

    /// The incident, and the others of the same node.
    fn affected(&self, incident: Reference) -> Vec<Reference> {
        let name = incident.name.clone();
        let beside = self.memories.beside(&name);
        let mut affected = self.unless_gone(incident);
        affected.extend(beside.iter().map(|n| reference(n)));
        affected
    }

    /// Forgets the incidents whose objects are gone, though nobody may have told of it.
    pub(in crate::controller) fn forget_gone(&self) {
        for name in self.memories.names() {
            self.unless_gone(reference(&name));
        }
    }

    /// The incident, for a pass; one whose object is gone is forgotten, for no pass runs for it.
    pub(super) fn unless_gone(&self, incident: Reference) -> Vec<Reference> {
        if self.terminations.store().get(&incident).is_some() {
            return vec![incident];
        }
        self.turns.forget(&incident.name);
        self.states.forget(&incident.name);
        self.writes.forget(&incident.name);
        self.attachments.leave(&incident.name);
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
