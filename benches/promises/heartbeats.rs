//! Held lifecycle hooks while leaders are killed. Eight hours of it, under a controlled clock, are a test:
//! `lifecycle::tests::heartbeats`.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;
use testbed::aws::{ActionState, EndedBy, LifecycleAction, LifecycleResult};
use testbed::cluster::{Budget, PodOptions, make_pdb, map};

use crate::bed::Bed;
use crate::report::Row;
use crate::sizes::Sizes;
use crate::stage::Stage;

/// The Auto Scaling group, and its hook.
const GROUP: &str = "workers";
const HOOK: &str = "drain";
/// The shortest interval that a policy takes.
const INTERVAL_SECONDS: u64 = 30;
/// A hook that hears nothing for so long is over.
const TIMEOUT: Duration = Duration::from_secs(90);

pub async fn rows(sizes: &Sizes) -> anyhow::Result<Vec<Row>> {
    let bed = Bed::new().await?;
    let (count, how_long) = sizes.hooks;
    let stage = hold(&bed, count).await?;
    let mut settings = stage.selector();
    settings["drain"] = json!({"disruptionBudgets": "Respect"});
    let heartbeat = json!({"intervalSeconds": INTERVAL_SECONDS});
    settings["lifecycle"] = json!({"heartbeat": heartbeat, "onDrainFailure": "Wait"});
    let first = bed.lead("first").await?;
    let second = bed.start("second")?;
    second.await_ready().await?;
    let queue = bed.policy("hooks", &settings).await?;
    bed.aws
        .put_hook(GROUP, HOOK, TIMEOUT, LifecycleResult::Abandon);
    let start = Timestamp::now();
    let mut actions = Vec::new();
    for node in &stage.nodes {
        let (aws, id) = (&bed.aws, &node.instance_id);
        actions.extend(aws.start_termination(GROUP, id, Some(&queue))?);
    }
    tokio::time::sleep(how_long / 4).await;
    first.kill();
    let third = bed.start("third")?;
    tokio::time::sleep(how_long * 3 / 8).await;
    // The killed leader's successor, which the third succeeds.
    third.await_ready().await?;
    let (leader, _rest) = if second.leads().await {
        (second, third)
    } else {
        (third, second)
    };
    leader.kill();
    tokio::time::sleep(how_long * 3 / 8).await;
    Ok(vec![row(&bed, &actions, start, how_long)])
}

/// Nodes with a pod each that a budget keeps.
async fn hold(bed: &Bed, count: usize) -> anyhow::Result<Stage> {
    let stage = Stage::set(bed, "hooks", count, 0).await?;
    let options = PodOptions::default().label("app", "held");
    stage.fill(bed, 1, &options).await?;
    let all = Budget::MinAvailable(IntOrString::Int(count.try_into()?));
    let labels = map(&[("app", "held")]);
    make_pdb(&bed.client, &stage.namespace, "held", &labels, all).await?;
    Ok(stage)
}

fn row(bed: &Bed, actions: &[LifecycleAction], start: Timestamp, how_long: Duration) -> Row {
    let state = |a: &LifecycleAction| bed.aws.action_state(&a.token);
    let over = |a: &&LifecycleAction| {
        let by = EndedBy::TimeOut;
        matches!(state(a), Some(ActionState::Ended { by: b, .. }) if b == by)
    };
    let missed = actions.iter().filter(over).count();
    let waiting = |a: &&LifecycleAction| matches!(state(a), Some(ActionState::Waiting { .. }));
    let waiting = actions.iter().filter(waiting).count();
    let (beats, silence) = beats(bed, start);
    let ours = format!(
        "{missed} timed out, {waiting} held; {beats} heartbeats, the longest silence {} s",
        silence.as_secs()
    );
    let what = format!(
        "{} held hooks, a heartbeat every {INTERVAL_SECONDS} s, time-out {} s, two leaders killed in {} s",
        actions.len(),
        TIMEOUT.as_secs(),
        how_long.as_secs()
    );
    let holds = missed == 0 && waiting == actions.len();
    Row::promised(&what, "0 missed", &ours, holds)
}

/// How many heartbeats were accepted, and the longest time without one for any action.
fn beats(bed: &Bed, start: Timestamp) -> (usize, Duration) {
    let mut times = HashMap::<String, Vec<Timestamp>>::new();
    for call in bed.aws.calls() {
        if call.operation == "RecordLifecycleActionHeartbeat" && call.outcome.is_ok() {
            let token = call.params["LifecycleActionToken"].to_string();
            times
                .entry(token)
                .or_insert_with(|| vec![start])
                .push(call.time);
        }
    }
    let count = times.values().map(|t| t.len() - 1).sum();
    let end = bed.aws.now();
    let silence = |mut times: Vec<Timestamp>| {
        times.push(end);
        let pauses = times.windows(2).map(|pair| pair[1].duration_since(pair[0]));
        pauses
            .max()
            .and_then(|pause| Duration::try_from(pause).ok())
    };
    let silence = times.into_values().filter_map(silence).max();
    (count, silence.unwrap_or_default())
}
