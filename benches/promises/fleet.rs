//! A fleet whose nodes report that they are well, and nothing else; then a message comes about each of them.
//!
//! The messages announce maintenance of tomorrow: they are recorded and wait, so that nothing else is measured.

use std::time::{Duration, Instant};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use node_termination_operator::api::termination::{NodeTermination, Phase};
use testbed::aws::events::ScheduledChange;
use testbed::cluster::TestNode;

use crate::bed::{Bed, patiently};
use crate::idle::quiet;
use crate::ours::phase;
use crate::raw::{self, at_once};
use crate::report::{Row, megabytes, time};
use crate::sizes::Sizes;
use crate::stage::Stage;

/// Maintenance of tomorrow.
const AHEAD: Duration = Duration::from_hours(24);

pub async fn rows(sizes: &Sizes) -> anyhow::Result<Vec<Row>> {
    let bed = Bed::new().await?;
    let count = sizes.fleet;
    let stage = Stage::set(&bed, "fleet", count, 0).await?;
    let mut rows = well(&bed, &stage, sizes.quiet * 2).await?;
    let (mut raw, mut ours, mut rss) = (Vec::new(), Vec::new(), Vec::new());
    for name in ["raw-1", "ours-1", "ours-2", "raw-2"] {
        eprintln!("  {name}: {count} messages");
        if name.starts_with("raw") {
            raw.push(raw_applies(&bed, &stage.nodes).await?);
        } else {
            let (took, peak) = intake(&bed, &stage, name).await?;
            ours.push(took);
            rss.push(megabytes(peak));
        }
    }
    let rate = |took: &[Duration]| {
        let rates: Vec<_> = took
            .iter()
            .map(|t| count as f64 / t.as_secs_f64())
            .collect();
        let told: Vec<_> = rates.iter().map(|r| format!("{r:.0}/s")).collect();
        (
            rates.iter().sum::<f64>() / rates.len() as f64,
            told.join(", "),
        )
    };
    let ((raw, raw_told), (ours, ours_told)) = (rate(&raw), rate(&ours));
    let what = |what: &str| format!("{count} messages for {count} instances: {what}");
    let share = 100.0 * ours / raw;
    let told = format!("{ours_told} ({share:.0} %)");
    let recorded = Row::promised(&what("recorded"), "≥ 70 % of raw", &told, share >= 70.0);
    rows.push(recorded.beside(&raw_told));
    rows.push(Row::told(&what("peak RSS"), &rss.join(", ")));
    Ok(rows)
}

/// Nothing happens but that the nodes report.
async fn well(bed: &Bed, stage: &Stage, how_long: Duration) -> anyhow::Result<Vec<Row>> {
    let operator = bed.lead("fleet").await?;
    bed.policy("fleet", &stage.selector()).await?;
    let nodes = Api::<PartialObjectMeta<Node>>::all(bed.client.clone());
    let (cost, reports) = tokio::join!(quiet(bed, &operator, how_long), reports(nodes, how_long));
    let cost = cost?;
    bed.end(operator, "fleet").await?;
    let (count, seconds) = (stage.nodes.len(), how_long.as_secs());
    let what = |what: &str| format!("{count} nodes and nothing happens, {seconds} s: {what}");
    let share = 100.0 * cost.cpu.as_secs_f64() / how_long.as_secs_f64();
    let cpu = format!(
        "{} ({share:.2} % of a core), {reports} node updates",
        time(cost.cpu)
    );
    let rss = format!(
        "{}, at most {}",
        megabytes(cost.rss),
        megabytes(cost.peak_rss)
    );
    Ok(vec![
        Row::told(&what("CPU of the leader"), &cpu),
        Row::told(&what("RSS"), &rss),
    ])
}

/// How many updates of nodes a watch shows in that time.
async fn reports(nodes: Api<PartialObjectMeta<Node>>, how_long: Duration) -> usize {
    let mut updates = 0;
    let count = async {
        let mut events = watcher(nodes, watcher::Config::default()).boxed();
        while let Some(event) = events.next().await {
            updates += usize::from(matches!(event, Ok(Event::Apply(_))));
        }
    };
    let _ = tokio::time::timeout(how_long, count).await;
    updates
}

/// How long the raw client takes to record the messages.
async fn raw_applies(bed: &Bed, nodes: &[TestNode]) -> anyhow::Result<Duration> {
    let client = bed.control_plane.client().await?;
    let (count, messages) = (nodes.len(), messages(nodes));
    let recorded = tokio::spawn(recorded(bed.records(), count));
    let start = Instant::now();
    let each = nodes.iter().zip(&messages);
    let each = each.map(|(node, message)| raw::record(&client, node, message));
    at_once(each.collect()).await?;
    let took = recorded.await??.duration_since(start);
    bed.forget_incidents().await?;
    Ok(took)
}

/// How long the operator takes to record them, and its peak memory until each incident waits.
async fn intake(bed: &Bed, stage: &Stage, name: &str) -> anyhow::Result<(Duration, u64)> {
    let operator = bed.lead(name).await?;
    let queue = bed.policy(name, &stage.selector()).await?;
    let count = stage.nodes.len();
    let recorded = tokio::spawn(recorded(bed.records(), count));
    let messages = messages(&stage.nodes);
    let start = Instant::now();
    queue.send_batch(messages)?;
    let took = recorded.await??.duration_since(start);
    bed.await_incidents(count, |i| phase(i) == Some(Phase::Waiting))
        .await?;
    let (all, cpu) = (start.elapsed(), operator.process().cpu_time()?);
    let peak = operator.process().peak_rss_bytes()?;
    eprintln!("  recorded in {took:.1?}, said that it waits in {all:.1?}, {cpu:.1?} of CPU");
    bed.end(operator, name).await?;
    Ok((took, peak))
}

/// When a watch shows so many records.
async fn recorded(
    records: Api<PartialObjectMeta<NodeTermination>>,
    count: usize,
) -> anyhow::Result<Instant> {
    patiently(&records, count, |_| true).await?;
    Ok(Instant::now())
}

fn messages(nodes: &[TestNode]) -> Vec<String> {
    let now = Timestamp::now();
    let announced = |node: &TestNode| {
        let change = ScheduledChange::reboot(&[&node.instance_id], now + AHEAD);
        change.event("upcoming", now)
    };
    nodes.iter().map(announced).collect()
}
