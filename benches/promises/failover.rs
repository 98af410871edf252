//! The leader is killed in the middle of a drain, and notices come right then; in a second round it is asked to end.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use testbed::Operator;
use testbed::aws::{Queue, events};
use testbed::control_plane::AuditEntry;

use crate::bed::{Bed, LEASE};
use crate::ours::is_released;
use crate::report::{Row, percentile, time};
use crate::seen::{self, Round, Seen};
use crate::sizes::Sizes;
use crate::stage::{ROUND, Stage};

/// Notices that come right after the kill.
const LATE: usize = 20;
/// A process that is asked to end may take this long.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

pub async fn rows(sizes: &Sizes) -> anyhow::Result<Vec<Row>> {
    let bed = Bed::new().await?;
    let settings = serde_json::json!({
        "nodeSelector": {"matchExpressions": [{"key": ROUND, "operator": "Exists"}]},
    });
    let first = bed.lead("first").await?;
    let second = bed.start("second")?;
    second.await_ready().await?;
    let queue = bed.policy("failover", &settings).await?;
    let (killed, late) = kill(&bed, sizes, &queue, first).await?;
    let third = bed.start("third")?;
    third.await_ready().await?;
    let handed_over = hand_over(&bed, sizes, &queue, second).await?;

    let bound = LEASE + Duration::from_secs(2);
    let evictions_go_on = Row::promised(
        "leader killed mid-drain: pause of the evictions",
        &format!("≤ lease ({}) + 2 s", time(LEASE)),
        &time(killed),
        killed <= bound,
    );
    let last = percentile(&late, 1.0);
    let what = format!("the same: {LATE} notices right after the kill → cordoned, p50, last");
    let cordoned = Row::promised(
        &what,
        "≤ 20 s",
        &format!("{}, {}", time(percentile(&late, 0.5)), time(last)),
        last <= Duration::from_secs(20),
    );
    let clean = Row::promised(
        "leader asked to end mid-drain: pause of the evictions",
        "≤ 2 s",
        &time(handed_over),
        handed_over <= Duration::from_secs(2),
    );
    Ok(vec![evictions_go_on, cordoned, clean])
}

/// A drain of the stage, of whose pods a third has gone.
struct Drain {
    stage: Stage,
    seen: seen::Watching,
}

impl Drain {
    async fn begin(bed: &Bed, sizes: &Sizes, name: &str, queue: &Queue) -> anyhow::Result<Self> {
        let (nodes, pods) = sizes.failover;
        let stage = Stage::set(bed, name, nodes, pods).await?;
        let mut seen = seen::watch(bed, &stage).await?;
        notify(queue, &stage)?;
        seen.gone(stage.pods / 3).await?;
        Ok(Self { stage, seen })
    }

    async fn end(self) -> anyhow::Result<Seen> {
        self.seen.all().await
    }
}

/// SIGKILL. How long the evictions paused, and when the notices that came right then were acted on.
async fn kill(
    bed: &Bed,
    sizes: &Sizes,
    queue: &Queue,
    leader: Operator,
) -> anyhow::Result<(Duration, Vec<Duration>)> {
    let late = Stage::set(bed, "late", LATE, 2).await?;
    let late_seen = seen::watch(bed, &late).await?;
    let drain = Drain::begin(bed, sizes, "killed", queue).await?;
    let (start, at) = (Instant::now(), Timestamp::now());
    leader.kill();
    notify(queue, &late)?;
    let cordoned = Round::new(late_seen.all().await?, start).cordons();
    let released = drain.stage.nodes.len() + LATE;
    drain.end().await?;
    bed.await_incidents(released, is_released).await?;
    Ok((pause(&bed.requests()?, at), cordoned))
}

/// SIGTERM. How long the evictions paused.
async fn hand_over(
    bed: &Bed,
    sizes: &Sizes,
    queue: &Queue,
    leader: Operator,
) -> anyhow::Result<Duration> {
    leader.await_leader().await?;
    let drain = Drain::begin(bed, sizes, "asked", queue).await?;
    let at = Timestamp::now();
    leader.terminate(ENDS_WITHIN).await?;
    drain.end().await?;
    Ok(pause(&bed.requests()?, at))
}

fn notify(queue: &Queue, stage: &Stage) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let notice = |id: &str| events::spot_interruption(id, now);
    queue.send_batch(stage.nodes.iter().map(|n| notice(&n.instance_id)))
}

/// The longest time without an eviction, from the last one before that moment on.
fn pause(requests: &[AuditEntry], at: Timestamp) -> Duration {
    let evictions = requests.iter().filter(|e| e.subresource == "eviction");
    let mut times: Vec<_> = evictions.map(|e| e.time).collect();
    times.sort();
    let before = times.partition_point(|t| *t < at).saturating_sub(1);
    let gaps = times[before..].windows(2);
    let gaps = gaps.filter_map(|pair| Duration::try_from(pair[1].duration_since(pair[0])).ok());
    gaps.max().unwrap_or_default()
}
