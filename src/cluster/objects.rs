//! Our own two kinds, always at hand: a reflector each, tolerant of an object that does not parse.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt, TryStreamExt};
use kube::core::{ClusterResourceScope, DeserializeGuard, Resource};
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt, reflector};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::watch::{Patience, always_on};
use crate::api::policy::{Action, Ranking, TerminationPolicy};
use crate::api::termination::{EffectivePolicy, SignalKind};
use crate::drain::Node;

/// A subscriber that falls further behind than this looks at everything again.
const CHANGES: usize = 4096;

/// An object as the store holds it: one that does not parse must not stall the watch of all others.
pub type Guarded<K> = DeserializeGuard<K>;

/// The stored objects of one kind, and what changes among them.
pub struct Objects<K>
where
    K: Resource<DynamicType = ()> + 'static,
{
    store: Store<Guarded<K>>,
    filled: watch::Receiver<bool>,
    changes: broadcast::Sender<ObjectRef<Guarded<K>>>,
    /// Another one after each change of the store.
    version: Arc<AtomicU64>,
    /// The order of policies at some version; unused for other kinds.
    ranked: Ranked,
}

/// The order of policies, and the version of the store that it is of.
type Ranked = Arc<Mutex<Option<(u64, Arc<Ranking>)>>>;

impl<K: Resource<DynamicType = ()>> Clone for Objects<K> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            filled: self.filled.clone(),
            changes: self.changes.clone(),
            version: self.version.clone(),
            ranked: self.ranked.clone(),
        }
    }
}

impl<K> Objects<K>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    /// Starts watching all objects of the kind until `stop`.
    #[must_use]
    pub fn start(client: Client, stop: CancellationToken) -> Self {
        let (store, writer) = reflector::store();
        let changes = broadcast::Sender::new(CHANGES);
        let version = Arc::<AtomicU64>::default();
        let told = (changes.clone(), version.clone());
        tokio::spawn(reflect(Api::all(client), writer, told, stop));
        let filled = filled(store.clone());
        Self {
            store,
            filled,
            changes,
            version,
            ranked: Arc::default(),
        }
    }

    /// Waits until the store has been filled once. `false`: its watch has ended, and it never will be.
    pub async fn synced(&self) -> bool {
        self.filled.clone().wait_for(|filled| *filled).await.is_ok()
    }

    /// The store, for a controller.
    #[must_use]
    pub fn store(&self) -> Store<Guarded<K>> {
        self.store.clone()
    }

    /// All objects that parse.
    pub fn all(&self) -> impl Iterator<Item = Arc<Guarded<K>>> {
        self.store.state().into_iter().filter(|o| o.0.is_ok())
    }

    /// The object of that name, if it is there and parses.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Guarded<K>>> {
        let object = self.store.get(&ObjectRef::new(name));
        object.filter(|o| o.0.is_ok())
    }

    /// References to all objects that parse.
    #[must_use]
    pub fn references(&self) -> Vec<ObjectRef<Guarded<K>>> {
        self.all().map(|o| ObjectRef::from_obj(&*o)).collect()
    }

    /// Objects that change from now on. One that falls behind gets `Lagged`: look at everything.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<ObjectRef<Guarded<K>>> {
        self.changes.subscribe()
    }
}

/// Tells when the store has been filled once. kube's own `Store::wait_until_ready` wakes only the last of several that
/// wait: a leader that was not the last would hold the lease and never begin.
fn filled<K>(store: Store<Guarded<K>>) -> watch::Receiver<bool>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let (sender, filled) = watch::channel(false);
    tokio::spawn(async move {
        if store.wait_until_ready().await.is_ok() {
            sender.send_replace(true);
        }
    });
    filled
}

async fn reflect<K>(
    api: Api<Guarded<K>>,
    writer: Writer<Guarded<K>>,
    (changes, version): (broadcast::Sender<ObjectRef<Guarded<K>>>, Arc<AtomicU64>),
    stop: CancellationToken,
) where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    let kind = K::kind(&()).into_owned();
    let mut relisted = Relisted {
        store: writer.as_reader(),
        before: Vec::new(),
    };
    let vanished = changes.clone();
    let mut touched = watcher(api, always_on())
        .backoff(Patience::default())
        .modify(|object| object.meta_mut().managed_fields = None)
        .reflect(writer)
        // A list shows in the store as a whole, with its last event.
        .inspect_ok(move |event| {
            version.fetch_add(1, Ordering::Release);
            for object in relisted.missing(event) {
                // Nobody listens on a standby.
                let _ = vanished.send(object);
            }
        })
        .touched_objects()
        .take_until(stop.cancelled_owned())
        .boxed();
    while let Some(object) = touched.next().await {
        match object {
            // Nobody listens on a standby.
            Ok(object) => drop(changes.send(ObjectRef::from_obj(&object))),
            Err(error) if is_unserved(&error) => tracing::warn!(
                kind,
                "the API server does not serve this kind, trying again: are the custom resource definitions installed?"
            ),
            Err(error) => tracing::warn!(kind, %error, "watch failed, trying again"),
        }
    }
}

/// Our definitions are not installed, or somebody has deleted them.
fn is_unserved(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 404,
        _ => false,
    }
}

/// What is missing from a new list: kube drops it from the store, and tells nobody.
struct Relisted<K>
where
    K: Resource<DynamicType = ()> + 'static,
{
    store: Store<Guarded<K>>,
    /// All that were there when the list began.
    before: Vec<ObjectRef<Guarded<K>>>,
}

impl<K> Relisted<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    /// Of the list that has just ended, after the store has taken it.
    fn missing(&mut self, event: &Event<Guarded<K>>) -> Vec<ObjectRef<Guarded<K>>> {
        match event {
            Event::Init => {
                let all = self.store.state();
                self.before = all.iter().map(|o| ObjectRef::from_obj(&**o)).collect();
            }
            Event::InitDone => {
                let mut missing = std::mem::take(&mut self.before);
                missing.retain(|object| self.store.get(object).is_none());
                return missing;
            }
            _ => {}
        }
        Vec::new()
    }
}

impl Objects<TerminationPolicy> {
    /// The one policy that speaks for the node: the highest priority, then the first by name.
    #[must_use]
    pub fn for_node(&self, node: &Node) -> Option<Arc<EffectivePolicy>> {
        self.ranking().speaks_for(&node.labels).cloned()
    }

    /// The policies in their order, as the store has them now.
    #[must_use]
    pub fn ranking(&self) -> Arc<Ranking> {
        let version = self.version.load(Ordering::Acquire);
        let mut ranked = self.ranked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, ranking)) = &*ranked
            && *of == version
        {
            return ranking.clone();
        }
        let policies: Vec<_> = self.all().collect();
        let ranking = Ranking::of(policies.iter().filter_map(|p| p.0.as_ref().ok()));
        let ranking = Arc::new(ranking);
        *ranked = Some((version, ranking.clone()));
        ranking
    }

    /// What that policy wants to be done about a kind of signal.
    #[must_use]
    pub fn action_for(&self, node: &Node, kind: SignalKind) -> Option<Action> {
        self.for_node(node).map(|policy| policy.actions.of(kind))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(name: &str) -> Guarded<TerminationPolicy> {
        let policy = json!({
            "apiVersion": "nodetermination.dev/v1alpha1",
            "kind": "TerminationPolicy",
            "metadata": {"name": name},
            "spec": {"sources": [{"name": "metadata", "imds": {}}]},
        });
        DeserializeGuard(Ok(serde_json::from_value(policy).unwrap()))
    }

    #[test]
    fn what_is_missing_from_a_new_list_is_told_when_that_has_ended() {
        let (store, mut writer) = reflector::store();
        let before = Vec::new();
        let mut relisted = Relisted { store, before };
        let mut list = |names: &[&str]| {
            let listed = names.iter().map(|name| Event::InitApply(policy(name)));
            let events = std::iter::once(Event::Init).chain(listed);
            let mut missing = Vec::new();
            for event in events.chain([Event::InitDone]) {
                writer.apply_watcher_event(&event);
                missing.extend(relisted.missing(&event).into_iter().map(|o| o.name));
            }
            missing.sort_unstable();
            missing
        };
        assert!(list(&["a", "b", "c"]).is_empty());
        assert_eq!(list(&["b", "d"]), ["a", "c"]);
        assert!(list(&["b", "d", "e"]).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_who_waits_for_a_store_is_woken_when_it_is_filled() {
        let (store, mut writer) = reflector::store::<Guarded<TerminationPolicy>>();
        let filled = filled(store);
        let wait = |mut filled: watch::Receiver<bool>| async move {
            filled.wait_for(|filled| *filled).await.is_ok()
        };
        let waiting = [filled.clone(), filled].map(|filled| tokio::spawn(wait(filled)));
        tokio::task::yield_now().await;
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
        for waiting in waiting {
            let woken = tokio::time::timeout(std::time::Duration::from_secs(1), waiting).await;
            assert!(woken.unwrap().unwrap());
        }
    }
}
