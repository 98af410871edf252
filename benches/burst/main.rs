//! A burst of spot notices over N nodes with P pods each, beside the raw limit, on one control plane, in one run.
//!
//! The raw limit is a client that does nothing else, over 32 connections: one record and one cordon for each node, then
//! one eviction for each pod. Both are timed by the same watch, from the first request or message to what it shows.
//!
//! `cargo bench --bench burst -- --nodes 200 --pods 30`
// A measurement that can not go on must stop; and what it counts is far below the bounds of its types.
#![allow(
    clippy::unwrap_used,
    clippy::large_futures,
    clippy::cast_precision_loss
)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod ours;
mod raw;
mod seen;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use clap::Parser;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use testbed::cluster::{self, PodOptions, TestNode, make_nodes, make_pods, map};
use testbed::{ControlPlane, aws::Aws, operator};

/// The label of the nodes of one round.
const ROUND: &str = "bench/round";

/// A burst of spot notices, beside the raw limit.
#[derive(Parser)]
struct Options {
    /// Nodes in each round.
    #[arg(long, default_value_t = 50)]
    nodes: usize,
    /// Pods on each node.
    #[arg(long, default_value_t = 20)]
    pods: usize,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What a round has shown.
struct Round {
    name: &'static str,
    /// From the start to each node's cordon.
    cordoned: Vec<Duration>,
    /// From the start to the last pod's end.
    gone: Duration,
    /// What it cost, where it is ours.
    cost: Option<Cost>,
}

/// What the operator spent on a round.
struct Cost {
    /// Requests to the API server, by verb and resource.
    requests: BTreeMap<String, usize>,
    peak_rss: u64,
    cpu: Duration,
}

/// The nodes of one round, and their pods' namespace.
struct Stage {
    name: String,
    namespace: String,
    nodes: Vec<TestNode>,
    pods: usize,
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let control_plane = operator::control_plane(true).await.unwrap();
    operator::install(&control_plane, Path::new(env!("CARGO_MANIFEST_DIR")))
        .await
        .unwrap();
    let aws = Aws::start().unwrap();
    let mut rounds = Vec::new();
    for name in ["raw", "ours", "ours again", "raw again"] {
        eprintln!("{name}: {} nodes with {} pods", options.nodes, options.pods);
        let stage = set(&control_plane, &options, rounds.len()).await;
        let round = if name.starts_with("raw") {
            raw::run(name, &control_plane, &stage).await
        } else {
            ours::run(name, &control_plane, &aws, &stage).await
        };
        stage.clear(&control_plane).await;
        rounds.push(round);
    }
    print(&options, &rounds);
}

async fn set(control_plane: &ControlPlane, options: &Options, number: usize) -> Stage {
    let client = control_plane.client().await.unwrap();
    let name = format!("round-{number}");
    let namespace = cluster::namespace(&client, &name).await.unwrap();
    let nodes = make_nodes(&client, &name, options.nodes, &map(&[(ROUND, &name)]))
        .await
        .unwrap();
    for node in &nodes {
        make_pods(
            &client,
            &namespace,
            &node.name,
            options.pods,
            &PodOptions::default(),
        )
        .await
        .unwrap();
    }
    Stage {
        name,
        namespace,
        nodes,
        pods: options.nodes * options.pods,
    }
}

impl Stage {
    /// Takes the nodes away: what a round has left on them must not cost the next one.
    async fn clear(&self, control_plane: &ControlPlane) {
        let nodes: Api<Node> = Api::all(control_plane.client().await.unwrap());
        let ours = ListParams::default().labels(&format!("{ROUND}={}", self.name));
        nodes
            .delete_collection(&DeleteParams::default(), &ours)
            .await
            .unwrap();
    }
}

fn print(options: &Options, rounds: &[Round]) {
    let seconds = |d: Duration| format!("{:.2} s", d.as_secs_f64());
    println!(
        "\n{} nodes with {} pods, Kubernetes {}\n",
        options.nodes,
        options.pods,
        testbed::binaries::KUBERNETES_VERSION
    );
    println!(
        "| round | cordoned p50 | p99 | last | last pod gone | requests per node | peak RSS | CPU |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for round in rounds {
        let mut cordoned = round.cordoned.clone();
        cordoned.sort();
        let at =
            |share: f64| seconds(cordoned[((cordoned.len() - 1) as f64 * share).round() as usize]);
        let cost = round.cost.as_ref().map_or_else(
            || "| | ".to_owned(),
            |c| {
                format!(
                    "{:.1} | {:.1} MB | {}",
                    c.requests.values().sum::<usize>() as f64 / options.nodes as f64,
                    c.peak_rss as f64 / 1e6,
                    seconds(c.cpu)
                )
            },
        );
        println!(
            "| {} | {} | {} | {} | {} | {cost} |",
            round.name,
            at(0.5),
            at(0.99),
            at(1.0),
            seconds(round.gone)
        );
    }
    for round in rounds {
        let Some(cost) = &round.cost else { continue };
        let each = cost
            .requests
            .iter()
            .map(|(what, count)| format!("{what} {count}"));
        println!("\n{}: {}", round.name, each.collect::<Vec<_>>().join(", "));
    }
    let mean = |prefix: &str, what: fn(&Round) -> Duration| {
        let of: Vec<f64> = rounds
            .iter()
            .filter(|r| r.name.starts_with(prefix))
            .map(|r| what(r).as_secs_f64())
            .collect();
        of.iter().sum::<f64>() / of.len() as f64
    };
    let last = |r: &Round| r.cordoned.iter().max().copied().unwrap_or_default();
    println!(
        "\nours / raw: last cordon {:.2}, last pod gone {:.2}",
        mean("ours", last) / mean("raw", last),
        mean("ours", |r| r.gone) / mean("raw", |r| r.gone)
    );
}
