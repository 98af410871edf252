//! The lane of notices.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use testbed::aws::LifecycleResult;
use testbed::aws::events::{self, ScheduledChange};
use tokio::time::Instant;

use super::{World, until};
use crate::history::Sent;
use crate::plan::story::{BEATING_TIMEOUT, DRAIN_TIMEOUT, HOOK_TIMEOUT};
use crate::plan::{Notice, NoticeKind, Pool};

/// From a spot notice to the end.
const SPOT_NOTICE: Duration = Duration::from_mins(2);
/// The planned heartbeats: `untilSeconds` of the pool with heartbeats.
const BEATS_UNTIL: Duration = Duration::from_mins(2);
/// A lifecycle action lasts, at least, for so long after the operator must believe that it is over.
const LIFE_LEFT: Duration = Duration::from_secs(25);

/// Sends every notice at its time.
pub async fn send(world: &World, start: Instant) {
    for step in &world.plan.notices {
        until(step, start).await;
        let (bodies, deadline) = write(world, &step.act);
        let (node, kind) = (step.act.node, step.act.kind);
        let sent = Sent {
            time: Timestamp::now(),
            node,
            kind,
            deadline,
        };
        world.log().notices.push(sent);
        for copy in 0..step.act.copies {
            // Of two policies that name different queues either may deliver.
            let queue = &world.queues[(step.act.queue + copy) % world.queues.len()];
            queue.send_batch(bodies.clone()).unwrap();
        }
    }
}

/// The notice in AWS's words, and when the machine goes by it.
fn write(world: &World, notice: &Notice) -> (Vec<String>, Option<Timestamp>) {
    let id = &world.nodes[notice.node].instance_id;
    let now = Timestamp::now();
    match notice.kind {
        NoticeKind::Spot { left } => {
            let noticed = second(now - (SPOT_NOTICE - left));
            (
                vec![events::spot_interruption(id, noticed)],
                Some(noticed + SPOT_NOTICE),
            )
        }
        NoticeKind::Rebalance => (vec![events::rebalance_recommendation(id, now)], None),
        NoticeKind::StateChange { age } => {
            let noticed = second(now - age);
            let body = events::state_change(id, "shutting-down", noticed);
            (vec![body], Some(noticed + DRAIN_TIMEOUT))
        }
        NoticeKind::Hooks { count, age } => start_termination(world, notice.node, count, age),
        NoticeKind::Reboot { left } => {
            let starts = second(now + left);
            let change = reboot(world, notice.node, starts);
            (
                vec![change.event("upcoming", now - SignedDuration::from_secs(5))],
                Some(starts),
            )
        }
        NoticeKind::RebootCanceled => {
            let starts = now + SignedDuration::from_mins(1);
            (
                vec![reboot(world, notice.node, starts).event("closed", now)],
                None,
            )
        }
    }
}

/// The change of that node; the two notices about it may come in any order.
fn reboot(world: &World, node: usize, starts: Timestamp) -> ScheduledChange {
    let mut log = world.log();
    if let Some((_, known)) = log.reboots.iter().find(|(n, _)| *n == node) {
        return known.clone();
    }
    let id = world.nodes[node].instance_id.as_str();
    let change = ScheduledChange::reboot(&[id], starts);
    log.reboots.push((node, change.clone()));
    change
}

/// A group of its own terminates the instance, with so many hooks; the notice is that old.
fn start_termination(
    world: &World,
    node: usize,
    count: usize,
    age: Duration,
) -> (Vec<String>, Option<Timestamp>) {
    let beats = world.plan.nodes[node].pool == Pool::Beat;
    let timeout = if beats { BEATING_TIMEOUT } else { HOOK_TIMEOUT };
    let id = &world.nodes[node].instance_id;
    let group = format!("group-{node}");
    for hook in 0..count {
        let name = format!("hook-{hook}");
        world
            .aws
            .put_hook(&group, &name, timeout, LifecycleResult::Abandon);
    }
    let actions = world.aws.start_termination(&group, id, None).unwrap();
    let noticed = second(Timestamp::now() - age);
    let last_beat = if beats { BEATS_UNTIL } else { Duration::ZERO };
    debug_assert!(age >= LIFE_LEFT);
    let bodies = actions
        .iter()
        .map(|a| events::terminate_lifecycle(a, noticed))
        .collect();
    world.log().actions.extend(actions);
    (bodies, Some(noticed + last_beat + timeout))
}

/// An event's time has whole seconds.
fn second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap()
}
