//! The pods of the nodes that drain: one list and watch per node, only while it drains, at most a few hundred at once.
//!
//! A node-scoped list and its watch events are served from the API server's index; a watch of all pods would cost
//! every event of the cluster for ever.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client};
use tokio::sync::broadcast;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::client::Lanes;
use super::gate::Gate;
use super::watch;
use crate::drain::Pod;
use crate::drain::pod::PodObject;

/// Each open view costs about 0.1 MB here; more nodes than this do not drain at the same time anyway.
const OPEN_MAX: usize = 256;
/// More than a node can hold: a second page would leave the API server's index.
const PAGE: u32 = 500;
/// A subscriber that falls further behind than this looks at everything again.
const CHANGES: usize = 8192;

/// All views, by node UID; cheap to clone.
#[derive(Clone)]
pub struct Views {
    lanes: Lanes,
    gate: Gate,
    inner: Arc<Mutex<Inner>>,
    listed: broadcast::Sender<Arc<str>>,
    changes: broadcast::Sender<Arc<str>>,
}

#[derive(Default)]
struct Inner {
    open: HashMap<String, View>,
    /// Nodes that want a view and have none yet, most urgent first.
    queue: BTreeSet<(Timestamp, String, String)>,
}

struct View {
    node: String,
    deadline: Timestamp,
    state: Arc<Mutex<State>>,
    _stop: DropGuard,
}

#[derive(Default)]
struct State {
    /// By namespace and name. They are few, and most often looked at as a whole.
    pods: Vec<Arc<Pod>>,
    listing: Vec<Arc<Pod>>,
    /// When a pod last appeared, or the list was complete.
    arrival: Option<Instant>,
}

/// What a view shows.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The node's pods, by namespace and name.
    pub pods: Vec<Arc<Pod>>,
    /// How long no pod has appeared on the node.
    pub quiet_for: Duration,
}

impl Views {
    /// No view is open yet. Lists go through the gate.
    #[must_use]
    pub fn new(lanes: Lanes, gate: Gate) -> Self {
        Self {
            lanes,
            gate,
            inner: Arc::default(),
            listed: broadcast::Sender::new(CHANGES),
            changes: broadcast::Sender::new(CHANGES),
        }
    }

    /// Names of nodes whose pods are listed from now on: their views are complete.
    #[must_use]
    pub fn listed(&self) -> broadcast::Receiver<Arc<str>> {
        self.listed.subscribe()
    }

    /// Names of nodes whose pods change from now on.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Arc<str>> {
        self.changes.subscribe()
    }

    /// Opens a view of the node's pods, or notes that it wants one: the earliest deadline goes first.
    pub fn open(&self, node: &str, uid: &str, deadline: Timestamp) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.is_open_until(uid, deadline) {
            return;
        }
        inner.queue.retain(|(_, u, _)| u != uid);
        inner
            .queue
            .insert((deadline, uid.to_owned(), node.to_owned()));
        inner.make_room(deadline);
        self.start_next(&mut inner);
    }

    /// Closes the node's view; the next node in line gets one.
    pub fn close(&self, uid: &str) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.queue.retain(|(_, u, _)| u != uid);
        if inner.open.remove(uid).is_some() {
            self.start_next(&mut inner);
        }
    }

    /// Closes all views: we lead no more.
    pub fn close_all(&self) {
        *self.inner.lock().unwrap_or_else(PoisonError::into_inner) = Inner::default();
    }

    /// What the node's view shows; `None` until its list is complete.
    #[must_use]
    pub fn snapshot(&self, uid: &str) -> Option<Snapshot> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let state = inner
            .open
            .get(uid)?
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let quiet_for = state.arrival?.elapsed();
        let pods = state.pods.clone();
        Some(Snapshot { pods, quiet_for })
    }

    /// How many views are open: a gauge.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .open
            .len()
    }

    fn start_next(&self, inner: &mut Inner) {
        while inner.open.len() < OPEN_MAX
            && let Some((deadline, uid, node)) = inner.queue.pop_first()
        {
            let stop = CancellationToken::new();
            let state = Arc::new(Mutex::new(State::default()));
            tokio::spawn(self.clone().run(node.clone(), state.clone(), stop.clone()));
            inner.open.insert(
                uid,
                View {
                    node,
                    deadline,
                    state,
                    _stop: stop.drop_guard(),
                },
            );
        }
    }

    async fn run(self, node: String, state: Arc<Mutex<State>>, stop: CancellationToken) {
        let mut turn = tokio::select! {
            turn = self.gate.list() => turn,
            () = stop.cancelled() => return,
        };
        let client = self.lanes.least_used();
        let config = Config::default()
            .fields(&format!("spec.nodeName={node}"))
            .page_size(PAGE);
        let name: Arc<str> = node.into();
        watch::follow(
            Api::<PodObject>::all(Client::clone(&client)),
            config,
            stop,
            |event| {
                let tell = if matches!(event, Event::InitDone) {
                    turn = None;
                    &self.listed
                } else {
                    &self.changes
                };
                let news = state
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .apply(event);
                if news {
                    let _ = tell.send(name.clone());
                }
            },
        )
        .await;
        drop(turn);
    }
}

impl Inner {
    /// Whether the node has a view, which from now on is as urgent as this: what was only observed may drain now.
    fn is_open_until(&mut self, uid: &str, deadline: Timestamp) -> bool {
        let view = self.open.get_mut(uid);
        view.map(|view| view.deadline = deadline).is_some()
    }

    /// Closes the least urgent view, if all are taken and this one is more urgent; it waits for its turn again.
    fn make_room(&mut self, deadline: Timestamp) {
        if self.open.len() < OPEN_MAX {
            return;
        }
        let last = self.open.iter().max_by_key(|(_, view)| view.deadline);
        let Some(uid) = last
            .filter(|(_, v)| v.deadline > deadline)
            .map(|(uid, _)| uid.clone())
        else {
            return;
        };
        if let Some(view) = self.open.remove(&uid) {
            self.queue.insert((view.deadline, uid, view.node));
        }
    }
}

impl State {
    /// Takes one event; whether anything that planning reads has changed.
    fn apply(&mut self, event: Event<PodObject>) -> bool {
        match event {
            Event::Init => {
                self.listing.clear();
                false
            }
            Event::InitApply(object) => {
                self.listing.push(Arc::new(object.into()));
                false
            }
            Event::InitDone => {
                self.pods = std::mem::take(&mut self.listing);
                self.pods.sort_by(|a, b| place(a).cmp(&place(b)));
                // Listed twice, on two pages: as it was listed last.
                self.pods.dedup_by(|later, kept| {
                    let same = later.uid == kept.uid;
                    if same {
                        std::mem::swap(later, kept);
                    }
                    same
                });
                self.arrival = Some(Instant::now());
                true
            }
            Event::Apply(object) => self.put(object.into()),
            Event::Delete(object) => {
                let before = self.pods.len();
                self.pods
                    .retain(|pod| Some(&pod.uid) != object.metadata.uid.as_ref());
                self.pods.len() < before
            }
        }
    }

    /// Takes a pod as it is now; whether more than its resource version is new.
    fn put(&mut self, pod: Pod) -> bool {
        if let Some(known) = self.pods.iter_mut().find(|known| known.uid == pod.uid) {
            let before = std::mem::replace(known, Arc::new(pod));
            return !before.is_like(known);
        }
        self.arrival = Some(Instant::now());
        let at = self
            .pods
            .partition_point(|known| place(known) < place(&pod));
        self.pods.insert(at, Arc::new(pod));
        true
    }
}

/// A pod's place among those of its node. Two of one name are told apart by their UID.
fn place(pod: &Pod) -> (&str, &str, &str) {
    (&pod.namespace, &pod.name, &pod.uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn view(deadline: i64) -> View {
        View {
            node: "n".into(),
            deadline: at(deadline),
            state: Arc::default(),
            _stop: CancellationToken::new().drop_guard(),
        }
    }

    #[test]
    fn a_view_is_as_urgent_as_it_was_last_wanted() {
        let mut inner = Inner::default();
        for number in 0..OPEN_MAX {
            inner.open.insert(number.to_string(), view(1000));
        }
        // Only observed at first.
        inner.open.insert("0".into(), view(5000));
        assert!(inner.is_open_until("0", at(100)));
        assert!(!inner.is_open_until("nobody", at(100)));
        inner.make_room(at(500));
        assert!(inner.open.contains_key("0"), "another made room");
        assert_eq!(inner.open.len(), OPEN_MAX - 1);
    }

    #[test]
    fn when_all_views_are_taken_the_least_urgent_makes_room_for_a_more_urgent_one_only() {
        let mut inner = Inner::default();
        for number in 0..OPEN_MAX {
            let deadline = 1000 + i64::try_from(number).unwrap();
            inner.open.insert(number.to_string(), view(deadline));
        }
        inner.make_room(at(1255));
        assert_eq!((inner.open.len(), inner.queue.len()), (OPEN_MAX, 0));
        inner.make_room(at(500));
        assert_eq!((inner.open.len(), inner.queue.len()), (OPEN_MAX - 1, 1));
        assert_eq!(inner.queue.first().unwrap().0, at(1255));
    }

    #[test]
    fn a_pod_that_is_listed_twice_is_there_once_as_it_was_listed_last() {
        let object = |uid: &str, name: &str, version: &str| {
            let metadata = serde_json::json!({
                "uid": uid, "name": name, "namespace": "web", "resourceVersion": version,
            });
            serde_json::from_value(serde_json::json!({"metadata": metadata})).unwrap()
        };
        let mut state = State::default();
        state.apply(Event::Init);
        for (uid, name, version) in [("1", "a", "5"), ("2", "b", "6"), ("1", "a", "7")] {
            state.apply(Event::InitApply(object(uid, name, version)));
        }
        assert!(state.apply(Event::InitDone));
        let listed = state.pods.iter().map(|p| (&*p.uid, &*p.resource_version));
        assert_eq!(listed.collect::<Vec<_>>(), [("1", "7"), ("2", "6")]);
    }
}
