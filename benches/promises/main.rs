//! The promises, measured: each row of one table beside the raw limit of the same run, where there is one.
//!
//! `cargo bench --bench promises` measures every row; `-- burst notice` those scenarios; `-- --quick` tries the harness
//! with small sizes and proves nothing. Progress goes to stderr, the table to stdout.
// What is counted is far below the bounds of its types.
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
#![allow(clippy::cast_sign_loss, clippy::large_futures)]

mod agent;
mod bed;
mod budget;
mod burst;
mod cost;
mod failover;
mod fleet;
mod heartbeats;
mod history;
mod idle;
mod notice;
mod ours;
mod raw;
mod report;
mod seen;
mod sizes;
mod stage;
mod thousand;

use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};

use report::Row;
use sizes::Sizes;

/// A scenario that takes longer has failed: the others are still measured.
const LIMIT: Duration = Duration::from_mins(25);

/// Measures what the operator promises, and prints one Markdown table.
#[derive(Parser)]
struct Options {
    /// Only these scenarios.
    scenarios: Vec<Scenario>,
    /// Small sizes, to try the harness itself: the numbers mean nothing.
    #[arg(long)]
    quick: bool,
    /// So many nodes, instead of each scenario's own number.
    #[arg(long)]
    nodes: Option<usize>,
    /// So many pods on each node, where the scenario fills them.
    #[arg(long)]
    pods: Option<usize>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is measured on a control plane of its own.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Scenario {
    /// Spot notices for 200 nodes at once.
    Burst,
    /// 1,000 nodes: first nothing happens, then spot notices come for all at once.
    Thousand,
    /// 100 nodes whose pods share one disruption budget.
    Budget,
    /// One notice at a time, on an idle cluster.
    Notice,
    /// The first half of `thousand`, alone.
    Idle,
    /// An agent to which nothing happens.
    Agent,
    /// 5,000 nodes: first nothing happens, then a message comes for each.
    Fleet,
    /// Thousands of incidents that are over.
    History,
    /// The leader is killed while it drains; then it is asked to end.
    Failover,
    /// Hundreds of held lifecycle hooks while leaders are killed.
    Heartbeats,
}

impl Scenario {
    async fn rows(self, sizes: &Sizes) -> anyhow::Result<Vec<Row>> {
        match self {
            Self::Burst => Box::pin(burst::rows(sizes)).await,
            Self::Thousand => Box::pin(thousand::rows(sizes)).await,
            Self::Budget => Box::pin(budget::rows(sizes)).await,
            Self::Notice => Box::pin(notice::rows(sizes)).await,
            Self::Idle => Box::pin(idle::rows(sizes)).await,
            Self::Agent => Box::pin(agent::rows(sizes)).await,
            Self::Fleet => Box::pin(fleet::rows(sizes)).await,
            Self::History => Box::pin(history::rows(sizes)).await,
            Self::Failover => Box::pin(failover::rows(sizes)).await,
            Self::Heartbeats => Box::pin(heartbeats::rows(sizes)).await,
        }
    }

    async fn measure(self, sizes: &Sizes) -> Vec<Row> {
        let start = Instant::now();
        eprintln!("{self:?}");
        let measured = tokio::time::timeout(LIMIT, self.rows(sizes)).await;
        eprintln!("{self:?} took {:.0?}", start.elapsed());
        let failure = match measured {
            Ok(Ok(rows)) => return rows,
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => format!("not over after {LIMIT:?}"),
        };
        eprintln!("{self:?}: {failure}");
        vec![Row::failed(&format!("{self:?}"), &failure)]
    }
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let sizes = Sizes::new(options.quick, options.nodes, options.pods);
    let mut scenarios = options.scenarios;
    if scenarios.is_empty() {
        let all = Scenario::value_variants().iter().copied();
        scenarios.extend(all.filter(|s| !matches!(s, Scenario::Idle)));
    }
    let start = Instant::now();
    let mut rows = Vec::new();
    for scenario in scenarios {
        rows.extend(scenario.measure(&sizes).await);
    }
    report::print(&rows, start.elapsed(), options.quick);
}
