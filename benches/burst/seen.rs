//! What a watch shows, and when: the clock that both sides are measured by.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client, ResourceExt};
use node_termination_operator::drain::node::NodeObject;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::{ROUND, Stage};

/// When a round's nodes were seen cordoned, and its last pod seen gone.
pub struct Seen {
    pub cordoned: HashMap<String, Instant>,
    pub gone: Instant,
}

/// Starts watching; returns once the watches have listed what there is.
pub async fn watch(client: Client, stage: &Stage) -> JoinHandle<Seen> {
    let nodes = Api::<NodeObject>::all(client.clone());
    let nodes = watcher(
        nodes,
        Config::default().labels(&format!("{ROUND}={}", stage.name)),
    );
    let pods = Api::<PartialObjectMeta<Pod>>::namespaced(client, &stage.namespace);
    let pods = watcher(pods, Config::default());
    let (node_count, pod_count) = (stage.nodes.len(), stage.pods);
    let (listed, ready) = oneshot::channel();
    let task = tokio::spawn(async move {
        let mut nodes = nodes.default_backoff().boxed();
        let mut pods = pods.default_backoff().boxed();
        let (mut cordoned, mut gone, mut last) = (HashMap::new(), 0, Instant::now());
        let (mut lists, mut listed) = (2, Some(listed));
        while cordoned.len() < node_count || gone < pod_count {
            tokio::select! {
                Some(Ok(event)) = nodes.next() => match event {
                    Event::InitDone => lists -= 1,
                    Event::Apply(node) if node.spec.unschedulable => { cordoned.entry(node.name_any()).or_insert_with(Instant::now); }
                    _ => {}
                },
                Some(Ok(event)) = pods.next() => match event {
                    Event::InitDone => lists -= 1,
                    Event::Delete(_) => { gone += 1; last = Instant::now(); }
                    _ => {}
                },
            }
            if lists == 0
                && let Some(listed) = listed.take()
            {
                let _ = listed.send(());
            }
        }
        Seen {
            cordoned,
            gone: last,
        }
    });
    ready.await.unwrap();
    task
}

impl Seen {
    /// Each node's time since the start.
    pub fn cordoned_after(&self, start: Instant) -> Vec<Duration> {
        self.cordoned
            .values()
            .map(|at| at.duration_since(start))
            .collect()
    }
}
