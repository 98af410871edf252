//! What is attached to which node: one watch of all volume attachments, open only while a drained node is waited for
//! whose volumes are not detached yet.
//!
//! Attachments have no field selector for their node, so one shared watch serves all drains; a node without volumes
//! costs no request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::runtime::watcher::Event;
use kube::{Api, Client};
use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::gate::Gate;
use super::watch;
use crate::drain::Attachment;
use crate::drain::volumes::AttachmentObject;

/// The watch is kept this long after its last user: drains come in bursts, and a list of all attachments is dear.
const IDLE: Duration = Duration::from_mins(1);
/// A subscriber that falls further behind than this looks at everything again.
const CHANGES: usize = 4096;

/// The watch and who needs it; cheap to clone.
#[derive(Clone)]
pub struct Attachments {
    client: Client,
    gate: Gate,
    inner: Arc<Mutex<Inner>>,
    changes: broadcast::Sender<Arc<str>>,
}

#[derive(Default)]
struct Inner {
    /// Incidents that wait for a node's volumes, each with its node.
    users: HashMap<String, Box<str>>,
    open: Option<Open>,
    /// Grows with each last user that leaves.
    idle: u64,
}

struct Open {
    state: State,
    stop: CancellationToken,
    _stops: DropGuard,
}

#[derive(Default)]
struct State {
    by_node: HashMap<Box<str>, Vec<Attachment>>,
    listing: Option<Vec<Attachment>>,
    listed: bool,
}

impl Attachments {
    /// Nothing is watched yet. The list goes through the gate.
    #[must_use]
    pub fn new(client: Client, gate: Gate) -> Self {
        Self {
            client,
            gate,
            inner: Arc::default(),
            changes: broadcast::Sender::new(CHANGES),
        }
    }

    /// Names of nodes that something was attached to or detached from, while anybody waits.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Arc<str>> {
        self.changes.subscribe()
    }

    /// The incident needs the watch from now on.
    pub fn want(&self, incident: &str, node: &str) {
        let mut inner = self.lock();
        let known = inner.users.insert(incident.to_owned(), node.into());
        if known.is_some() {
            return;
        }
        if let Some(open) = &inner.open {
            // The list may have come since the incident looked, and nothing else may ever be told of its node.
            if open.state.listed {
                let _ = self.changes.send(node.into());
            }
            return;
        }
        let stop = CancellationToken::new();
        inner.open = Some(Open {
            state: State::default(),
            stop: stop.clone(),
            _stops: stop.clone().drop_guard(),
        });
        tokio::spawn(self.clone().run(stop));
    }

    /// The incident needs the watch no more.
    pub fn leave(&self, incident: &str) {
        let mut inner = self.lock();
        if inner.users.remove(incident).is_none() || !inner.users.is_empty() {
            return;
        }
        inner.idle += 1;
        let (shared, idle) = (self.inner.clone(), inner.idle);
        let stop = inner.open.as_ref().map(|open| open.stop.clone());
        tokio::spawn(async move {
            let ends = stop.unwrap_or_default();
            if tokio::time::timeout(IDLE, ends.cancelled()).await.is_ok() {
                return;
            }
            let mut inner = shared.lock().unwrap_or_else(PoisonError::into_inner);
            if inner.users.is_empty() && inner.idle == idle {
                inner.open = None;
            }
        });
    }

    /// Closes the watch: we lead no more.
    pub fn close(&self) {
        *self.lock() = Inner::default();
    }

    /// What is attached to the node of that name; `None` until all attachments are listed.
    #[must_use]
    pub fn of_node(&self, node: &str) -> Option<Vec<Attachment>> {
        let inner = self.lock();
        let state = &inner.open.as_ref()?.state;
        let attached = state.by_node.get(node).cloned();
        state.listed.then(|| attached.unwrap_or_default())
    }

    async fn run(self, stop: CancellationToken) {
        let mut turn = tokio::select! {
            turn = self.gate.list() => turn,
            () = stop.cancelled() => return,
        };
        let api = Api::<AttachmentObject>::all(self.client.clone());
        let stopped = stop.clone();
        watch::follow(api, watch::always_on(), stop, |event| {
            let listed = matches!(event, Event::InitDone);
            if listed {
                turn = None;
            }
            let mut inner = self.lock();
            let mut changed = match &mut inner.open {
                Some(open) if !stopped.is_cancelled() => open.state.apply(event),
                _ => return,
            };
            if listed {
                // Those too that nothing is attached to.
                changed.extend(inner.users.values().cloned());
            }
            drop(inner);
            for node in changed {
                let _ = self.changes.send(node.as_ref().into());
            }
        })
        .await;
        drop(turn);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes one event. Returns the nodes that it is about.
    fn apply(&mut self, event: Event<AttachmentObject>) -> Vec<Box<str>> {
        match event {
            Event::Init => {
                self.listing = Some(Vec::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                self.listing.get_or_insert_default().push(object.into());
                Vec::new()
            }
            Event::InitDone => {
                self.replace();
                Vec::new()
            }
            Event::Apply(object) => {
                let attachment = Attachment::from(object);
                let of_node = self.by_node.entry(attachment.node.clone()).or_default();
                if of_node.contains(&attachment) {
                    return Vec::new();
                }
                of_node.push(attachment.clone());
                vec![attachment.node]
            }
            Event::Delete(object) => {
                let gone = Attachment::from(object);
                if let Some(of_node) = self.by_node.get_mut(&gone.node) {
                    of_node.retain(|a| a.name != gone.name);
                    if of_node.is_empty() {
                        self.by_node.remove(&gone.node);
                    }
                }
                vec![gone.node]
            }
        }
    }

    /// Takes the whole list. Who waits is told by the caller.
    fn replace(&mut self) {
        self.by_node.clear();
        for attachment in self.listing.take().unwrap_or_default() {
            let of_node = self.by_node.entry(attachment.node.clone());
            of_node.or_default().push(attachment);
        }
        self.listed = true;
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::client::Body;

    use super::*;

    /// A server that never answers.
    fn attachments() -> Attachments {
        let service = tower::service_fn(|_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, tower::BoxError>>()
        });
        Attachments::new(Client::new(service, "default"), Gate::default())
    }

    #[tokio::test]
    async fn who_comes_when_all_are_listed_already_is_told_at_once() {
        let attachments = attachments();
        attachments.want("i-1", "a");
        let list = [Event::Init, Event::InitDone];
        let mut changes = attachments.changes();
        for event in list {
            let mut inner = attachments.lock();
            inner.open.as_mut().unwrap().state.apply(event);
        }
        assert!(changes.try_recv().is_err());
        attachments.want("i-2", "b");
        assert_eq!(changes.try_recv().as_deref(), Ok("b"));
        attachments.want("i-2", "b");
        assert!(changes.try_recv().is_err(), "it knows");
        assert_eq!(attachments.of_node("b"), Some(Vec::new()));
    }
}
