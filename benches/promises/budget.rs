//! Nodes whose pods share one disruption budget. The floor is a client that knows at every moment how much room there
//! is: it waits for nothing but replacements.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use testbed::aws::events;
use testbed::cluster::{Budget, PodOptions, TestNode, make_deployment, make_nodes, make_pdb, map};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::bed::Bed;
use crate::ours;
use crate::raw::{at_once, evict};
use crate::report::Row;
use crate::seen::{self, Round};
use crate::sizes::Sizes;
use crate::stage::{ROUND, Stage};

/// The Deployment and its budget.
const APP: &str = "db";

pub async fn rows(sizes: &Sizes) -> anyhow::Result<Vec<Row>> {
    let bed = Bed::new().await?;
    let (nodes, room) = sizes.budget;
    let (mut raw, mut ours) = (Vec::new(), Vec::new());
    let (mut refused, mut asked, mut down) = (Vec::new(), Vec::new(), 0);
    for name in ["raw-1", "ours-1", "ours-2", "raw-2"] {
        let stage = set(&bed, name, nodes, room).await?;
        let alive = Alive::watch(&bed, &stage).await?;
        if name.starts_with("raw") {
            raw.push(floor(&bed, &stage).await?.last_gone());
        } else {
            let notice = |n: &TestNode, now| events::spot_interruption(&n.instance_id, now);
            let (round, cost) = ours::run(&bed, &stage, notice, true).await?;
            eprintln!("  {}", cost.by_request());
            ours.push(round.last_gone());
            refused.push(cost.evictions(429).to_string());
            asked.push(cost.requests.len().to_string());
            down = down.max(alive.most_down());
        }
    }
    let what = |what: &str| format!("{nodes} nodes behind one budget with room for {room}: {what}");
    Ok(vec![
        Row::at_most(
            &what("last pod gone (raw: knows the room)"),
            1.15,
            &raw,
            &ours,
        ),
        Row::promised(
            &what("most pods down at once"),
            &format!("≤ {room}"),
            &down.to_string(),
            down <= room,
        ),
        Row::told(&what("evictions refused"), &refused.join(", ")),
        Row::told(&what("requests"), &asked.join(", ")),
    ])
}

/// One pod on each node, more or less, of one Deployment with a budget; then as many nodes for their replacements.
async fn set(bed: &Bed, name: &str, nodes: usize, room: usize) -> anyhow::Result<Stage> {
    let mut stage = Stage::set(bed, name, nodes, 0).await?;
    stage.pods = nodes;
    let options = PodOptions {
        node_selector: map(&[(ROUND, name)]),
        ..PodOptions::default()
    };
    let (client, namespace) = (&bed.client, &stage.namespace);
    let replicas = nodes.try_into()?;
    make_deployment(client, namespace, APP, replicas, &options).await?;
    let spare = format!("{name}-spare");
    make_nodes(client, &spare, nodes, &map(&[(ROUND, name)])).await?;
    let budget = Budget::MaxUnavailable(IntOrString::Int(room.try_into()?));
    make_pdb(client, namespace, APP, &map(&[("app", APP)]), budget).await?;
    Ok(stage)
}

/// Evicts as many pods as the budget has room for, as soon as it has.
async fn floor(bed: &Bed, stage: &Stage) -> anyhow::Result<Round> {
    let client = bed.control_plane.client().await?;
    let pods = Api::<Pod>::namespaced(client.clone(), &stage.namespace);
    let pods = pods.list(&ListParams::default()).await?.items;
    let mut left: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
    let mut room = room(&client, &stage.namespace);
    let seen = seen::watch(bed, stage).await?;
    let start = Instant::now();
    let closed = stage.nodes.iter().map(|n| close(&client, n));
    at_once(closed.collect::<Vec<_>>()).await?;
    while !left.is_empty() {
        let free = *room.wait_for(|free| *free > 0).await?;
        room.mark_unchanged();
        let next = left.split_off(left.len().saturating_sub(free));
        let evictions = next
            .iter()
            .map(|pod| evict(&client, &stage.namespace, pod.clone()));
        let answers = futures::future::join_all(evictions).await;
        let refused = next
            .iter()
            .zip(answers)
            .filter(|(_, answer)| answer.is_err());
        left.extend(refused.map(|(pod, _)| pod.clone()));
    }
    Ok(Round::new(seen.all().await?, start))
}

async fn close(client: &Client, node: &TestNode) -> anyhow::Result<()> {
    let nodes = Api::<k8s_openapi::api::core::v1::Node>::all(client.clone());
    let cordon = Patch::Merge(json!({"spec": {"unschedulable": true}}));
    nodes
        .patch(&node.name, &PatchParams::default(), &cordon)
        .await?;
    Ok(())
}

/// How many evictions the budget allows, as its status says.
fn room(client: &Client, namespace: &str) -> watch::Receiver<usize> {
    let api = Api::<PodDisruptionBudget>::namespaced(client.clone(), namespace);
    let (tell, told) = watch::channel(0);
    tokio::spawn(async move {
        let mut budgets = watcher(api, Config::default())
            .default_backoff()
            .applied_objects()
            .boxed();
        while let Some(budget) = budgets.next().await {
            let Ok(budget) = budget else { continue };
            let allowed = budget.status.map_or(0, |s| s.disruptions_allowed);
            if tell
                .send(usize::try_from(allowed).unwrap_or_default())
                .is_err()
            {
                return;
            }
        }
    });
    told
}

/// How many of the Deployment's pods are well, as a watch shows it.
struct Alive {
    fewest: watch::Receiver<usize>,
    of: usize,
    task: JoinHandle<()>,
}

impl Alive {
    async fn watch(bed: &Bed, stage: &Stage) -> anyhow::Result<Self> {
        let client = bed.control_plane.client().await?;
        let api = Api::<Pod>::namespaced(client, &stage.namespace);
        let (tell, mut fewest) = watch::channel(usize::MAX);
        let task = tokio::spawn(async move {
            let mut events = watcher(api, Config::default()).default_backoff().boxed();
            let (mut well, mut listed) = (HashSet::new(), false);
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::InitDone) => listed = true,
                    Ok(Event::Apply(pod) | Event::InitApply(pod)) if is_well(&pod) => {
                        well.insert(pod.name_any());
                    }
                    Ok(Event::Apply(pod) | Event::Delete(pod)) => {
                        well.remove(&pod.name_any());
                    }
                    _ => {}
                }
                if listed {
                    tell.send_modify(|fewest| *fewest = well.len().min(*fewest));
                }
            }
        });
        fewest.wait_for(|fewest| *fewest < usize::MAX).await?;
        let of = stage.pods;
        Ok(Self { fewest, of, task })
    }

    fn most_down(&self) -> usize {
        self.of.saturating_sub(*self.fewest.borrow())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn is_well(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    let ready = conditions.map(|c| (c.type_.as_str(), c.status.as_str()));
    let ready: HashMap<_, _> = ready.collect();
    pod.metadata.deletion_timestamp.is_none() && ready.get("Ready") == Some(&"True")
}
