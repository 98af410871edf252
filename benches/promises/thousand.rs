//! A thousand nodes at once: more than the API server of two cores can drain in time, so that the order counts.
//! The same nodes are measured before, while nothing happens to them.

use std::time::Duration;

use jiff::Timestamp;
use testbed::aws::events;
use testbed::cluster::TestNode;

use crate::bed::Bed;
use crate::cost::Cost;
use crate::idle;
use crate::ours;
use crate::raw;
use crate::report::{Row, megabytes, percentile, time};
use crate::seen::Round;
use crate::sizes::Sizes;
use crate::stage::Stage;

/// What a spot notice gives.
const NOTICE: Duration = Duration::from_mins(2);
/// So much earlier than its deadline a pod should have gone.
const MARGIN: Duration = Duration::from_secs(3);
/// So many times the raw client's time may the last pod take.
const SLOWER: f64 = 1.15;
/// So old is the notice of every fourth node when it comes: its deadline is the earlier one.
const AGE: Duration = Duration::from_secs(20);

pub async fn rows(sizes: &Sizes) -> anyhow::Result<Vec<Row>> {
    let bed = Bed::new().await?;
    let (nodes, pods) = sizes.thousand;
    let stage = Stage::set(&bed, "raw-1", nodes, pods).await?;
    let raw = raw::run(&bed, &stage).await?;
    stage.clear(&bed).await?;

    let stage = Stage::set(&bed, "ours", nodes, pods).await?;
    let mut rows = idle::measure(&bed, &stage, sizes).await?;
    let urgent: Vec<&str> = stage
        .nodes
        .iter()
        .step_by(4)
        .map(|n| n.name.as_str())
        .collect();
    let notice = |node: &TestNode, now: Timestamp| {
        let age = if urgent.contains(&node.name.as_str()) {
            AGE
        } else {
            Duration::ZERO
        };
        events::spot_interruption(&node.instance_id, now - age)
    };
    let (ours, cost) = ours::run(&bed, &stage, notice, false).await?;
    eprintln!("  {}", cost.by_request());
    let urgent: Vec<String> = urgent.into_iter().map(|name| format!("{name}-")).collect();
    rows.extend(table(sizes.thousand, &raw, &ours, &cost, &urgent));
    Ok(rows)
}

fn table(
    (nodes, pods): (usize, usize),
    raw: &Round,
    ours: &Round,
    cost: &Cost,
    urgent: &[String],
) -> Vec<Row> {
    let what = |what: &str| format!("{nodes} × {pods} at once: {what}");
    let at = |r: &Round| {
        let cordons = r.cordons();
        let [half, most] = [0.5, 0.99].map(|share| time(percentile(&cordons, share)));
        format!("{half}, {most}, {}", time(r.last_cordon()))
    };
    let end = NOTICE.saturating_sub(MARGIN);
    let share = |r: &Round| r.gone_by(end) as f64 / (nodes * pods) as f64;
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    // By the measure of the last pod: nearly what the raw client gets done.
    let served = share(ours) * SLOWER >= share(raw);
    let (early, overtaken) = overtaken(ours, urgent);
    let left = |r: &Round| {
        format!(
            "{}, {}",
            nodes * pods - r.gone_by(NOTICE),
            time(r.last_gone())
        )
    };
    vec![
        Row::promised(
            &what("cordoned, p50, p99, last"),
            "≤ 8 s",
            &at(ours),
            ours.last_cordon() <= Duration::from_secs(8),
        )
        .beside(&at(raw)),
        Row::promised(
            &what(&format!("pods gone after {}", time(end))),
            "what the API server can serve",
            &percent(share(ours)),
            served,
        )
        .beside(&percent(share(raw))),
        Row::promised(
            &what("pods of the later deadline that went before the last of the earlier"),
            "in deadline order: ≤ 5 %",
            &format!("{} (at {})", percent(overtaken), time(early)),
            overtaken <= 0.05,
        ),
        Row::told(
            &what("pods left when the notices are over, last one gone"),
            &left(ours),
        )
        .beside(&left(raw)),
        Row::promised(
            &what("peak RSS"),
            "≤ 80 MB",
            &megabytes(cost.peak_rss),
            cost.peak_rss <= 80_000_000,
        ),
        Row::told(&what("most connections"), &cost.sockets.to_string()),
        Row::told(&what("CPU"), &time(cost.cpu)),
    ]
}

/// When the last pod of an urgent node had gone, and the share of the other pods that had gone before it.
fn overtaken(round: &Round, urgent: &[String]) -> (Duration, f64) {
    let is_urgent = |pod: &str| urgent.iter().any(|node| pod.starts_with(node));
    let (early, late): (Vec<_>, Vec<_>) = round.gone.iter().partition(|(pod, _)| is_urgent(pod));
    let last = early.iter().map(|(_, at)| **at).max().unwrap_or_default();
    let before = late.iter().filter(|(_, at)| **at < last).count();
    (last, before as f64 / late.len().max(1) as f64)
}
