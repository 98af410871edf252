//! What a watch shows, and when: the clock that both sides are measured by.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, ResourceExt};
use node_termination_operator::drain::node::NodeObject;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::bed::Bed;
use crate::stage::Stage;

/// When a round's nodes were seen cordoned, and its pods gone, by name.
#[derive(Default)]
pub struct Seen {
    pub cordoned: HashMap<String, Instant>,
    pub gone: HashMap<String, Instant>,
    alive: HashSet<String>,
    listed: HashSet<String>,
}

/// A watch under way.
pub struct Watching {
    task: JoinHandle<Seen>,
    gone: watch::Receiver<usize>,
    stop: CancellationToken,
}

impl Watching {
    /// Waits until so many pods have gone.
    pub async fn gone(&mut self, count: usize) -> anyhow::Result<()> {
        self.gone.wait_for(|gone| *gone >= count).await?;
        Ok(())
    }

    /// Waits until every node is cordoned and every pod has gone.
    pub async fn all(self) -> anyhow::Result<Seen> {
        Ok(self.task.await?)
    }

    /// Waits until it is so, or until this is over: what is left then stays.
    pub async fn all_or(
        mut self,
        over: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<Seen> {
        tokio::select! {
            seen = &mut self.task => return Ok(seen?),
            over = over => over?,
        }
        self.stop.cancel();
        self.all().await
    }
}

/// Starts watching; returns once the watches have listed what there is.
pub async fn watch(bed: &Bed, stage: &Stage) -> anyhow::Result<Watching> {
    let client = bed.control_plane.client().await?;
    let nodes = Api::<NodeObject>::all(client.clone());
    let nodes = watcher(nodes, Config::default().labels(&stage.label()));
    let pods = Api::<PartialObjectMeta<Pod>>::namespaced(client, &stage.namespace);
    let pods = watcher(pods, Config::default());
    let (node_count, pod_count) = (stage.nodes.len(), stage.pods);
    let (lists, mut listed) = watch::channel(0);
    let (count, gone) = watch::channel(0);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        let mut nodes = nodes.default_backoff().boxed();
        let mut pods = pods.default_backoff().boxed();
        let mut seen = Seen::default();
        while seen.cordoned.len() < node_count || seen.gone.len() < pod_count {
            let done = tokio::select! {
                Some(Ok(event)) = nodes.next() => seen.node(event),
                Some(Ok(event)) = pods.next() => seen.pod(event),
                () = stopped.cancelled() => break,
            };
            lists.send_modify(|lists| *lists += i32::from(done));
            count.send_replace(seen.gone.len());
        }
        seen
    });
    listed.wait_for(|lists| *lists >= 2).await?;
    Ok(Watching { task, gone, stop })
}

impl Seen {
    /// Takes an event in; says whether it ends a list.
    fn node(&mut self, event: Event<NodeObject>) -> bool {
        match event {
            Event::InitDone => return true,
            Event::Apply(node) | Event::InitApply(node) if node.spec.unschedulable => {
                let name = node.name_any();
                self.cordoned.entry(name).or_insert_with(Instant::now);
            }
            _ => {}
        }
        false
    }

    fn pod(&mut self, event: Event<PartialObjectMeta<Pod>>) -> bool {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(pod) => {
                self.listed.insert(pod.name_any());
            }
            Event::InitDone => {
                // What a broken watch did not show has gone too.
                let listed = std::mem::take(&mut self.listed);
                let before = std::mem::replace(&mut self.alive, listed);
                let gone = before.difference(&self.alive).cloned();
                self.gone.extend(gone.map(|name| (name, Instant::now())));
                return true;
            }
            Event::Apply(pod) => {
                self.alive.insert(pod.name_any());
            }
            Event::Delete(pod) => {
                let name = pod.name_any();
                self.alive.remove(&name);
                self.gone.insert(name, Instant::now());
            }
        }
        false
    }
}

/// What a round has shown: times since its start.
pub struct Round {
    /// Each node's cordon.
    pub cordoned: HashMap<String, Duration>,
    /// Each pod's end.
    pub gone: HashMap<String, Duration>,
}

impl Round {
    pub fn new(seen: Seen, start: Instant) -> Self {
        let since = |all: HashMap<String, Instant>| {
            let since = |at: Instant| at.duration_since(start);
            all.into_iter().map(|(n, at)| (n, since(at))).collect()
        };
        Self {
            cordoned: since(seen.cordoned),
            gone: since(seen.gone),
        }
    }

    /// The times of all cordons.
    pub fn cordons(&self) -> Vec<Duration> {
        self.cordoned.values().copied().collect()
    }

    /// The last cordon.
    pub fn last_cordon(&self) -> Duration {
        self.cordoned.values().max().copied().unwrap_or_default()
    }

    /// The last pod's end.
    pub fn last_gone(&self) -> Duration {
        self.gone.values().max().copied().unwrap_or_default()
    }

    /// How many pods had gone by then.
    pub fn gone_by(&self, then: Duration) -> usize {
        self.gone.values().filter(|at| **at <= then).count()
    }
}
