//! The operator as its users run it: a process of its own, fed by a queue.

use std::time::Instant;

use jiff::Timestamp;
use node_termination_operator::api::termination::{NodeTermination, Phase};
use testbed::cluster::TestNode;

use crate::bed::Bed;
use crate::cost::{Cost, Meter};
use crate::seen::{self, Round};
use crate::stage::Stage;

/// Sends all notices at once, as of now, and waits until every pod has gone and every incident is released; or until
/// the latter alone, where there is no time for all pods.
pub async fn run(
    bed: &Bed,
    stage: &Stage,
    notice: impl Fn(&TestNode, Timestamp) -> String,
    time_for_all: bool,
) -> anyhow::Result<(Round, Cost)> {
    let operator = bed.lead(&stage.name).await?;
    let queue = bed.policy(&stage.name, &stage.selector()).await?;
    let seen = seen::watch(bed, stage).await?;
    let meter = Meter::start(bed, &operator)?;
    let now = Timestamp::now();
    let notices: Vec<_> = stage.nodes.iter().map(|n| notice(n, now)).collect();
    let start = Instant::now();
    queue.send_batch(notices)?;
    let released = bed.await_incidents(stage.nodes.len(), is_released);
    let seen = if time_for_all {
        let seen = seen.all().await?;
        released.await?;
        seen
    } else {
        seen.all_or(released).await?
    };
    let round = Round::new(seen, start);
    let cost = meter.stop().await?;
    bed.end(operator, &stage.name).await?;
    Ok((round, cost))
}

/// The operator's work on it is done.
pub fn is_released(incident: &NodeTermination) -> bool {
    phase(incident) == Some(Phase::Released)
}

/// The phase that the record tells.
pub fn phase(incident: &NodeTermination) -> Option<Phase> {
    incident.status.as_ref()?.phase
}
