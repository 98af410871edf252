//! Thousands of incidents that are over. Each is maintenance that is announced and then called off; the nodes stay, and
//! with them the records, until the nodes go and the policy's limit takes what is beyond it.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::api::ListParams;
use node_termination_operator::api::termination::Phase;
use serde_json::json;
use testbed::aws::Queue;
use testbed::aws::events::ScheduledChange;

use crate::bed::Bed;
use crate::ours::phase;
use crate::report::{Row, megabytes};
use crate::sizes::Sizes;
use crate::stage::Stage;

/// Maintenance of tomorrow.
const AHEAD: Duration = Duration::from_hours(24);
/// One round of the operator's housekeeping, which it does once a minute.
const PRUNING: Duration = Duration::from_secs(65);
/// What is done once, after the start or the last message, is over by then.
const SETTLED: Duration = Duration::from_secs(10);
/// A process that is asked to end may take this long.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

pub async fn rows(sizes: &Sizes) -> anyhow::Result<Vec<Row>> {
    let bed = Bed::new().await?;
    let (nodes, waves) = sizes.history;
    let (total, limit) = (nodes * waves, nodes / 2);
    let stage = Stage::set(&bed, "history", nodes, 0).await?;
    let operator = bed.lead("history").await?;
    let mut settings = stage.selector();
    settings["historyLimit"] = json!(limit);
    let queue = bed.policy("history", &settings).await?;
    let none = operator.process().rss_bytes()?;
    for wave in 1..=waves {
        let start = Instant::now();
        come_and_go(&bed, &stage, &queue, wave).await?;
        let (over, rss) = (wave * nodes, operator.process().rss_bytes()?);
        eprintln!("  {over} over: {}, {:.0?}", megabytes(rss), start.elapsed());
    }
    tokio::time::sleep(SETTLED).await;
    let all = operator.process().rss_bytes()?;
    operator.terminate(ENDS_WITHIN).await?;
    let fresh = bed.lead("fresh").await?;
    tokio::time::sleep(SETTLED).await;
    let listed = fresh.process().rss_bytes()?;
    let rss = Row::promised(
        &format!("{total} finished incidents: RSS (raw: a process that only lists their records)"),
        "flat: ≤ 1.25 × raw",
        &format!("{}, before the first {}", megabytes(all), megabytes(none)),
        all as f64 <= 1.25 * listed as f64,
    );
    let rss = rss.beside(&megabytes(listed));
    stage.clear(&bed).await?;
    let left = count(&bed).await?;
    let start = Instant::now();
    tokio::time::sleep(PRUNING).await;
    let pruned = left - count(&bed).await?;
    let rate = pruned as f64 / start.elapsed().as_secs_f64() * 60.0;
    let after = megabytes(fresh.process().rss_bytes()?);
    let row = Row::promised(
        &format!(
            "{left} finished incidents whose nodes have gone, `historyLimit: {limit}`: pruned"
        ),
        "the oldest, in steps",
        &format!(
            "{pruned} in {} s ({rate:.0} a minute), RSS {after}",
            PRUNING.as_secs()
        ),
        pruned > 0,
    );
    Ok(vec![rss, row])
}

/// How many records there are.
async fn count(bed: &Bed) -> anyhow::Result<usize> {
    let all = bed.records().list(&ListParams::default()).await?;
    Ok(all.items.len())
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
