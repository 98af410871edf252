//! What a drain would do, were it begun now: who would leave, be held by whom, and be cut short. Nothing is told to end.

use jiff::{SignedDuration, Timestamp};

use super::plan::{Candidate, Plan};
use super::queue::Work;

/// What a drain would do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preview {
    /// Pods that would leave, terminating ones included.
    pub leave: u32,
    /// Those of them that terminate already.
    pub leaving: u32,
    /// Pods that would be left alone.
    pub stay: u32,
    /// Pods that still run long after their grace period.
    pub stuck: u32,
    /// Pods whose grace period would be cut to the deadline.
    pub cut: u32,
    /// Pods that something would hold at first, the one that is forced soonest first.
    pub blocked: Vec<Work>,
}

/// Sums up a plan, given what would hold its pods.
#[must_use]
pub fn preview(plan: &Plan, mut blocked: Vec<Work>, now: Timestamp) -> Preview {
    blocked.retain(|work| work.block.is_some());
    blocked.sort_by(|a, b| {
        (a.force_at.is_none(), a.force_at, &a.pod).cmp(&(b.force_at.is_none(), b.force_at, &b.pod))
    });
    let is_cut = |candidate: &&Candidate| {
        let held = blocked.iter().find(|w| w.uid == candidate.pod.uid);
        cut(candidate, held, now)
    };
    Preview {
        leave: number(plan.remaining.len()),
        leaving: plan.leaving,
        stay: plan.skipped,
        stuck: number(plan.stuck.len()),
        cut: number(plan.candidates.iter().filter(is_cut).count()),
        blocked,
    }
}

/// Whether the pod would get less than its grace period, at the moment when it would be told to end. One that is held
/// for good is not told.
fn cut(candidate: &Candidate, held: Option<&Work>, now: Timestamp) -> bool {
    let told_at = match held {
        Some(held) => held.force_at.map(|at| at.max(now)),
        None => Some(now),
    };
    // A grace period of less than a second is lengthened, not cut.
    let own = candidate.grace.max(SignedDuration::from_secs(1));
    told_at.is_some_and(|at| candidate.window.grace(candidate.grace, at) < own)
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
