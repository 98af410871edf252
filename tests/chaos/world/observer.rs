//! The observer: watches of everything that matters, past the proxies, which note when what was seen.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use node_termination_operator::api::termination::NodeTermination;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::history::{BudgetLife, Gone, IncidentLife, MARK, NodeState, PodLife};

/// A watch that broke is tried again after this.
const AGAIN: Duration = Duration::from_millis(100);
/// After a watch has broken, what it tells for so long may be old.
const BACKLOG: SignedDuration = SignedDuration::from_secs(2);

/// Everything seen so far, by UID.
#[derive(Default)]
pub struct Seen {
    pub pods: BTreeMap<String, PodLife>,
    pub nodes: BTreeMap<String, SeenNode>,
    pub incidents: BTreeMap<String, IncidentLife>,
    pub budgets: BTreeMap<String, BudgetLife>,
}

/// A node's states; who it is stands in the plan.
#[derive(Default)]
pub struct SeenNode {
    pub states: Vec<(Timestamp, NodeState)>,
    pub gone: Option<Gone>,
}

/// The observer; its watches end when it is dropped.
pub struct Observer {
    seen: Arc<Mutex<Seen>>,
    changed: watch::Sender<()>,
    _watches: JoinSet<()>,
}

/// What a watch tells.
enum Told<K> {
    There(K),
    Gone(String, Gone),
}

impl Observer {
    /// Starts to look; everything has been seen once when it returns.
    pub async fn start(client: &Client) -> Self {
        let mut observer = Self {
            seen: Arc::default(),
            changed: watch::Sender::new(()),
            _watches: JoinSet::new(),
        };
        let listed = [
            observer.follow(Api::<Pod>::all(client.clone()), Seen::pod),
            observer.follow(Api::<Node>::all(client.clone()), Seen::node),
            observer.follow(Api::<NodeTermination>::all(client.clone()), Seen::incident),
            observer.follow(
                Api::<PodDisruptionBudget>::all(client.clone()),
                Seen::budget,
            ),
        ];
        for mut listed in listed {
            listed.wait_for(|listed| *listed).await.unwrap();
        }
        observer
    }

    /// What has been seen.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Told of every change.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The name of a pod on the node that is not terminating.
    pub fn any_pod_on(&self, node: &str) -> Option<String> {
        let seen = self.seen();
        let alive = |p: &&PodLife| {
            p.is_on(node) && p.gone.is_none() && p.terminating.is_empty() && !p.stays()
        };
        let pod = seen.pods.values().find(alive)?;
        pod.name.split_once('/').map(|(_, name)| name.to_owned())
    }

    fn follow<K>(
        &mut self,
        api: Api<K>,
        note: impl Fn(&mut Seen, Timestamp, Told<K>) + Send + 'static,
    ) -> watch::Receiver<bool>
    where
        K: Clone + Debug + DeserializeOwned + Resource + Send + 'static,
    {
        let (seen, changed) = (Arc::clone(&self.seen), self.changed.clone());
        let (listed, listing) = watch::channel(false);
        let tell = move |time, told| {
            note(
                &mut seen.lock().unwrap_or_else(PoisonError::into_inner),
                time,
                told,
            );
            changed.send_replace(());
        };
        self._watches.spawn(follow(api, tell, listed));
        listing
    }
}

async fn follow<K>(api: Api<K>, tell: impl Fn(Timestamp, Told<K>), listed: watch::Sender<bool>)
where
    K: Clone + Debug + DeserializeOwned + Resource + Send + 'static,
{
    let mut known: HashSet<String> = HashSet::new();
    let mut listing: HashSet<String> = HashSet::new();
    let mut sight = Sight::default();
    let mut events = pin!(watcher(api, watcher::Config::default()));
    while let Some(event) = events.next().await {
        let now = Timestamp::now();
        sight.look(event.is_ok(), now);
        match event {
            Err(_) => tokio::time::sleep(AGAIN).await,
            Ok(Event::Init) => listing.clear(),
            Ok(Event::InitApply(object)) => {
                listing.insert(object.uid().unwrap_or_default());
                tell(now, Told::There(object));
            }
            Ok(Event::InitDone) => {
                let lost = known.difference(&listing);
                lost.for_each(|uid| tell(now, Told::Gone(uid.clone(), sight.gone(now))));
                known.clone_from(&listing);
                listed.send_replace(true);
            }
            Ok(Event::Apply(object)) => {
                known.insert(object.uid().unwrap_or_default());
                tell(now, Told::There(object));
            }
            Ok(Event::Delete(object)) => {
                let uid = object.uid().unwrap_or_default();
                known.remove(&uid);
                tell(now, Told::There(object));
                tell(now, Told::Gone(uid, sight.gone(now)));
            }
        }
    }
}

/// Since when nothing could be seen, if what is told now may be old.
#[derive(Default)]
struct Sight {
    lost: Option<Timestamp>,
    back: Option<Timestamp>,
}

impl Sight {
    fn look(&mut self, well: bool, now: Timestamp) {
        if !well {
            self.lost.get_or_insert(now);
            self.back = None;
        } else if self.lost.is_some() {
            let back = *self.back.get_or_insert(now);
            if now.duration_since(back) > BACKLOG {
                (self.lost, self.back) = (None, None);
            }
        }
    }

    fn gone(&self, now: Timestamp) -> Gone {
        Gone {
            after: self.lost.unwrap_or(now),
            by: now,
        }
    }
}

impl Seen {
    fn pod(&mut self, time: Timestamp, told: Told<Pod>) {
        match told {
            Told::Gone(uid, gone) => {
                if let Some(pod) = self.pods.get_mut(&uid) {
                    pod.gone = Some(gone);
                }
            }
            Told::There(pod) => self.see_pod(time, &pod),
        }
    }

    fn see_pod(&mut self, time: Timestamp, pod: &Pod) {
        let life = self
            .pods
            .entry(pod.uid().unwrap_or_default())
            .or_insert_with(|| PodLife {
                uid: pod.uid().unwrap_or_default(),
                name: format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any()),
                owner: owner(pod),
                labels: pod.labels().clone(),
                ..PodLife::default()
            });
        let spec = pod.spec.as_ref();
        life.grace = spec
            .and_then(|s| s.termination_grace_period_seconds)
            .unwrap_or(30);
        if let (None, Some(node)) = (&life.node, spec.and_then(|s| s.node_name.clone())) {
            life.node = Some((time, node));
        }
        let grace = pod.metadata.deletion_grace_period_seconds;
        let grace = grace.filter(|_| pod.metadata.deletion_timestamp.is_some());
        // As it is taken away it shows a grace of 0, which nobody has asked for.
        if let Some(grace) = grace.filter(|g| *g > 0 || life.terminating.is_empty())
            && life
                .terminating
                .last()
                .is_none_or(|(_, known)| *known != grace)
        {
            life.terminating.push((time, grace));
        }
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            life.stopped.get_or_insert(time);
        }
    }

    fn node(&mut self, time: Timestamp, told: Told<Node>) {
        match told {
            Told::Gone(uid, gone) => self.nodes.entry(uid).or_default().gone = Some(gone),
            Told::There(node) => {
                let life = self
                    .nodes
                    .entry(node.uid().unwrap_or_default())
                    .or_default();
                let state = state(&node);
                if life.states.last().is_none_or(|(_, last)| *last != state) {
                    life.states.push((time, state));
                }
            }
        }
    }

    fn incident(&mut self, time: Timestamp, told: Told<NodeTermination>) {
        match told {
            Told::Gone(uid, gone) => self.incidents.entry(uid).or_default().gone = Some(gone),
            Told::There(incident) => {
                let uid = incident.uid().unwrap_or_default();
                let life = self.incidents.entry(uid.clone()).or_default();
                life.uid = uid;
                life.name = incident.name_any();
                life.node_uid = incident.node_uid().unwrap_or_default().to_owned();
                life.versions.push((time, incident));
            }
        }
    }

    fn budget(&mut self, time: Timestamp, told: Told<PodDisruptionBudget>) {
        let Told::There(budget) = told else { return };
        let life = self
            .budgets
            .entry(budget.uid().unwrap_or_default())
            .or_default();
        life.name = budget.name_any();
        life.namespace = budget.namespace().unwrap_or_default();
        let selector = budget
            .spec
            .and_then(|s| s.selector)
            .and_then(|s| s.match_labels);
        life.selector = selector.unwrap_or_default().into_iter().collect();
        let room = budget.status.map_or(0, |s| s.disruptions_allowed);
        life.room.push((time, room));
    }
}

fn owner(pod: &Pod) -> Option<String> {
    let owners = pod.metadata.owner_references.iter().flatten();
    let mut controllers = owners.filter(|o| o.controller == Some(true));
    controllers.next().map(|o| o.kind.clone())
}

fn state(node: &Node) -> NodeState {
    let spec = node.spec.clone().unwrap_or_default();
    let taints = spec.taints.unwrap_or_default().into_iter();
    NodeState {
        unschedulable: spec.unschedulable == Some(true),
        taints: taints.map(|t| format!("{}:{}", t.key, t.effect)).collect(),
        labels: node.labels().clone(),
        mark: node.annotations().get(MARK).cloned(),
    }
}
