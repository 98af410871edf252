//! One notice at a time on an idle cluster, beside one record and one cordon by the raw client.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use testbed::aws::events;
use testbed::cluster::TestNode;

use crate::bed::Bed;
use crate::raw;
use crate::report::{Row, percentile, time};
use crate::seen;
use crate::sizes::Sizes;
use crate::stage::Stage;

/// Between two notices, and a bit more each time up to twice as much, so that they keep no step with anything.
const PAUSE: Duration = Duration::from_millis(400);

pub async fn rows(sizes: &Sizes) -> anyhow::Result<Vec<Row>> {
    let bed = Bed::new().await?;
    let count = sizes.notices;
    let stage = Stage::set(&bed, "notice", 2 * count, 0).await?;
    let (by_raw, by_ours) = stage.nodes.split_at(count);
    let (first, last) = by_raw.split_at(count / 2);
    let seen = seen::watch(&bed, &stage).await?;
    let mut sent = raw_series(&bed, first).await?;
    let operator = bed.lead("notice").await?;
    let queue = bed.policy("notice", &stage.selector()).await?;
    for (n, node) in by_ours.iter().enumerate() {
        pause(n).await;
        sent.insert(&node.name, Instant::now());
        queue.send(events::spot_interruption(
            &node.instance_id,
            Timestamp::now(),
        ))?;
    }
    pause(0).await;
    bed.end(operator, "notice").await?;
    sent.extend(raw_series(&bed, last).await?);
    let seen = seen.all().await?;
    let took = |nodes: &[TestNode]| {
        let took = |n: &TestNode| {
            let (sent, cordoned) = (sent.get(n.name.as_str())?, seen.cordoned.get(&n.name)?);
            Some(cordoned.duration_since(*sent))
        };
        nodes.iter().filter_map(took).collect::<Vec<_>>()
    };
    let told = |times: &[Duration]| {
        let [half, most] = [0.5, 0.99].map(|share| time(percentile(times, share)));
        format!("{half}, {most}")
    };
    let (raw, ours) = (took(by_raw), took(by_ours));
    let holds = percentile(&ours, 0.5) <= Duration::from_millis(20)
        && percentile(&ours, 0.99) <= Duration::from_millis(100);
    let what = format!("one notice on an idle cluster → cordoned, p50, p99 of {count}");
    let row = Row::promised(&what, "≤ 20 ms, ≤ 100 ms", &told(&ours), holds);
    Ok(vec![row.beside(&told(&raw))])
}

async fn pause(n: usize) {
    let more = u32::try_from(n * 37 % 100).unwrap_or_default();
    tokio::time::sleep(PAUSE + PAUSE * more / 100).await;
}

async fn raw_series<'a>(
    bed: &Bed,
    nodes: &'a [TestNode],
) -> anyhow::Result<HashMap<&'a str, Instant>> {
    let mut sent = HashMap::new();
    for (n, node) in nodes.iter().enumerate() {
        pause(n).await;
        sent.insert(node.name.as_str(), Instant::now());
        raw::record_and_cordon(&bed.client, node).await?;
    }
    Ok(sent)
}
