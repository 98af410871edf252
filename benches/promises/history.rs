//! Thousands of incidents that are over. Each is maintenance that is announced and then called off; the nodes stay, and
//! with them the records, until the nodes go and the policy's limit takes what is beyond it.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::api::ListParams;
use node_termination_operator::api::termination::Phase;
use serde_json::json;
use testbed::Operator;
use testbed::aws::Queue;
use testbed::aws::events::ScheduledChange;

use crate::bed::Bed;
use crate::ours::phase;
use crate::report::{Row, megabytes};
use crate::sizes::Sizes;
use crate::stage::Stage;

/// Maintenance of tomorrow.
const AHEAD: Duration = Duration::from_hours(24);
/// Two rounds of the operator's housekeeping.
const PRUNING: Duration = Duration::from_secs(125);

pub async fn rows(sizes: &Sizes) -> anyhow::Result<Vec<Row>> {
    let bed = Bed::new().await?;
    let (nodes, waves) = sizes.history;
    let stage = Stage::set(&bed, "history", nodes, 0).await?;
    let operator = bed.lead("history").await?;
    let mut settings = stage.selector();
    settings["historyLimit"] = json!(nodes);
    let queue = bed.policy("history", &settings).await?;
    let before = operator.process().rss_bytes()?;
    let mut sizes_after = Vec::new();
    for wave in 1..=waves {
        let start = Instant::now();
        come_and_go(&bed, &stage, &queue, wave).await?;
        let rss = operator.process().rss_bytes()?;
        eprintln!(
            "  {} over: {}, {:.0?}",
            wave * nodes,
            megabytes(rss),
            start.elapsed()
        );
        sizes_after.push(rss);
    }
    let total = nodes * waves;
    let what = |what: &str| format!("{total} finished incidents: {what}");
    let half = sizes_after[waves / 2 - 1];
    let last = sizes_after[waves - 1];
    let each = last.saturating_sub(half) / (total / 2) as u64;
    let rss = format!(
        "{} at none, {} at half of them, {} at all",
        megabytes(before),
        megabytes(half),
        megabytes(last)
    );
    let kept = Row::promised(
        &what("RSS"),
        "flat: ≤ 4 kB for each record that is kept",
        &format!("{rss}: {each} bytes for each"),
        each <= 4000,
    );
    Ok(vec![kept, pruned(&bed, &stage, &operator, total).await?])
}

/// One incident on each node, from its first message to its end.
async fn come_and_go(bed: &Bed, stage: &Stage, queue: &Queue, wave: usize) -> anyhow::Result<()> {
    let count = stage.nodes.len();
    let changes = stage.nodes.iter().map(|node| {
        let starts = Timestamp::now() + AHEAD;
        ScheduledChange::reboot(&[&node.instance_id], starts)
    });
    let changes: Vec<_> = changes.collect();
    // An event's time has whole seconds, and what is not after the end of the last incident belongs to it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (status, reached) in [("upcoming", Phase::Waiting), ("closed", Phase::Canceled)] {
        let now = Timestamp::now();
        queue.send_batch(changes.iter().map(|c| c.event(status, now)))?;
        let wanted = if reached == Phase::Waiting {
            count
        } else {
            wave * count
        };
        bed.await_incidents(wanted, |i| phase(i) == Some(reached))
            .await?;
    }
    Ok(())
}

/// The nodes go, and the records beyond the limit after them.
async fn pruned(
    bed: &Bed,
    stage: &Stage,
    operator: &Operator,
    total: usize,
) -> anyhow::Result<Row> {
    stage.clear(bed).await?;
    let count = async || {
        anyhow::Ok(
            bed.records()
                .list(&ListParams::default())
                .await?
                .items
                .len(),
        )
    };
    let start = Instant::now();
    tokio::time::sleep(PRUNING).await;
    let left = count().await?;
    let rss = megabytes(operator.process().rss_bytes()?);
    let limit = stage.nodes.len();
    let rate = (total - left) as f64 / start.elapsed().as_secs_f64() * 60.0;
    let what = format!("{total} finished incidents, a limit of {limit}, after their nodes: pruned");
    let ours = format!(
        "{} in {PRUNING:?} ({rate:.0} a minute), {rss}",
        total - left
    );
    Ok(Row::promised(
        &what,
        "the oldest, in steps",
        &ours,
        left < total && left >= limit,
    ))
}
