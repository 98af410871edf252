//! What the record says of the node's pods: counts, and the ten that matter most.

use jiff::{SignedDuration, Timestamp};

use crate::api::termination::{BlockReason, BlockedPod, NodeTerminationStatus, PodsStatus};
use crate::api::{Time, bounded};
use crate::drain::Plan;
use crate::drain::plan::Stuck;
use crate::drain::queue::{Block, Work};

use super::view::{Pods, View};

/// How many blocked pods the record names.
pub(super) const BLOCKED_MAX: usize = 10;
/// The longest message of a blocked pod, in bytes: the field's maximum is 1024.
const MESSAGE_MAX: usize = 1024;
/// The longest name of who blocks, in bytes: the field's maximum is 512.
const BY_MAX: usize = 512;

/// Waiting for the pods before it in the same budget is no news until it lasts this long.
const BUDGET_WAIT: SignedDuration = SignedDuration::from_secs(3);

/// Why a pod on a node that is not Ready stays.
const NOT_READY: &str =
    "its node is not Ready, so its kubelet does not answer: what becomes of the instance decides";

/// What the record says of who is blocked.
fn recorded<'v>(view: &View<'v>) -> &'v [BlockedPod] {
    view.object.status.as_ref().map_or(&[], |s| &s.blocked)
}

/// Since when the pod is held by whoever holds it. A new leader has not seen the beginning: the record tells.
fn since(view: &View<'_>, work: &Work, block: &Block) -> Timestamp {
    let same = |r: &&BlockedPod| {
        let by = block.by.is_some() || r.reason == block.reason;
        r.uid == work.uid && r.by == block.by && by
    };
    let told = recorded(view).iter().find(same).map(|r| r.since.0);
    told.map_or(block.since, |told| told.min(block.since))
}

/// Why the pod is blocked, if the record names it as blocked now.
pub(super) fn told<'w>(view: &View<'_>, work: &'w Work) -> Option<&'w Block> {
    let lasts = |b: &&Block| view.now.duration_since(since(view, work, b)) >= BUDGET_WAIT;
    let block = work.block.as_ref();
    block.filter(|b| b.reason != BlockReason::Budget || lasts(b))
}

/// When the next pod will be named as blocked by time alone.
pub(super) fn told_at(view: &View<'_>, pods: Pods<'_>) -> Option<Timestamp> {
    let untold = pods.work.iter().filter(|w| told(view, w).is_none());
    let since = untold.filter_map(|w| w.block.as_ref().map(|b| b.since));
    since.min()?.checked_add(BUDGET_WAIT).ok()
}

/// Pods that are recorded as blocked and that the queue has not heard of yet, as under a new leader.
fn unheard<'v>(
    view: &View<'v>,
    pods: Pods<'_>,
    plan: &Plan,
) -> impl Iterator<Item = &'v BlockedPod> {
    recorded(view).iter().filter(move |r| {
        let waits = plan
            .candidates
            .iter()
            .any(|c| c.pod.uid == r.uid && !c.shorten);
        waits && pods.work.iter().all(|w| w.uid != r.uid)
    })
}

/// The counts, given the plan for the pods that are there.
pub(super) fn count(view: &View<'_>, pods: Pods<'_>, plan: &Plan) -> PodsStatus {
    let new = plan
        .remaining
        .iter()
        .filter(|uid| !view.seen.contains(*uid))
        .count();
    let recorded = view.object.status.as_ref().and_then(|s| s.pods.clone());
    let recorded = recorded.unwrap_or_default();
    // A new leader has not seen those that went during the failover: the record has counted them.
    let total = (view.gone_before + number(view.seen.len() + new)).max(recorded.total);
    let gone = total.saturating_sub(number(plan.remaining.len()));
    PodsStatus {
        summary: format!("{gone}/{total}"),
        total,
        evicted: plan.leaving,
        forced: pods.forced.max(recorded.forced),
        gone,
        blocked: number(
            pods.work.iter().filter(|w| told(view, w).is_some()).count()
                + unheard(view, pods, plan).count(),
        ),
        stuck: number(plan.stuck.len()),
        skipped: plan.skipped,
        late: number(plan.came.count()).max(recorded.late),
    }
}

/// How many pods had gone before this process first saw the node, given its first plan: those that the record counts
/// and the plan does not show.
#[must_use]
pub fn gone_before(view: &View<'_>, plan: &Plan) -> u32 {
    let recorded = view.object.status.as_ref().and_then(|s| s.pods.as_ref());
    let counted = recorded.map_or(0, |p| p.total);
    let missing = counted.saturating_sub(number(plan.remaining.len()));
    view.gone_before.max(missing)
}

/// The pods that can not leave yet: stuck ones and those that are forced soonest first.
pub(super) fn blocked(view: &View<'_>, pods: Pods<'_>, plan: &Plan) -> Vec<BlockedPod> {
    let answers = view.machine.node().is_some_and(|n| n.ready);
    let mut named: Vec<BlockedPod> = plan
        .stuck
        .iter()
        .map(|pod| stuck(pod, answers))
        .chain(pods.work.iter().filter_map(|w| refused(view, w)))
        .chain(unheard(view, pods, plan).cloned())
        .collect();
    named.sort_by(|a, b| {
        (a.force_time.is_none(), &a.force_time, &a.pod).cmp(&(
            b.force_time.is_none(),
            &b.force_time,
            &b.pod,
        ))
    });
    named.truncate(BLOCKED_MAX);
    named
}

/// Names the pods that are left and those that nothing brings back. The latter stay named when they have gone.
pub(super) fn name_left(status: &mut NodeTerminationStatus, plan: &Plan) {
    status.left.clone_from(&plan.left);
    for pod in &plan.unmanaged {
        if status.unmanaged.len() < BLOCKED_MAX && !status.unmanaged.contains(pod) {
            status.unmanaged.push(pod.clone());
        }
    }
}

/// A pod that does not end. It is never removed by force: while its containers may run, a second one must not.
fn stuck(stuck: &Stuck, answers: bool) -> BlockedPod {
    let finalizers = stuck.pod.finalizers.join(", ");
    let (reason, kept_by) = match (answers, finalizers.is_empty()) {
        (true, true) => (
            BlockReason::Stuck,
            "its kubelet has not reported its end".to_owned(),
        ),
        (true, false) => (BlockReason::Stuck, format!("finalizers: {finalizers}")),
        (false, true) => (BlockReason::KubeletUnresponsive, NOT_READY.to_owned()),
        (false, false) => (
            BlockReason::KubeletUnresponsive,
            format!("{NOT_READY}; finalizers: {finalizers}"),
        ),
    };
    BlockedPod {
        pod: stuck.pod.full_name(),
        uid: stuck.pod.uid.clone(),
        reason,
        by: None,
        since: Time(stuck.since),
        force_time: None,
        message: bounded(
            format!("still there a minute after its grace period; {kept_by}"),
            MESSAGE_MAX,
        ),
    }
}

fn refused(view: &View<'_>, work: &Work) -> Option<BlockedPod> {
    let block = told(view, work)?;
    let mut named = name(work, block);
    named.since = Time(since(view, work, block));
    Some(named)
}

/// The pod and what holds it, as the record names them.
pub(super) fn name(work: &Work, block: &Block) -> BlockedPod {
    BlockedPod {
        pod: work.pod.clone(),
        uid: work.uid.clone(),
        reason: block.reason,
        by: block.by.clone().map(|by| bounded(by, BY_MAX)),
        since: Time(block.since),
        force_time: work.force_at.map(Time),
        message: bounded(block.message.clone(), MESSAGE_MAX),
    }
}

pub(super) fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
