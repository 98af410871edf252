//! With room in the budgets, no pod is alive 3 s before its node's deadline that the API server could have served: it has
//! been told to end by then, or the API server asked for it and slow to answer, with a grace period that fits. Pods here take as long as they like to go, which a
//! kubelet would not let them.
//!
//! Excused: a pod whose budget is respected to the end; one that was bound less than 10 s before; a node that somebody
//! took into his own hands or whose Node is gone; a hook that could not be read; a notice that a failing queue delivered in the last 13 s; and an end
//! before which something was out of order: if a trouble or its recovery falls into the 6 s before, there was no time.

use jiff::Timestamp;

use super::Violation;
use crate::history::{Cause, History, NodeLife, PodLife, after};
use crate::plan::{NoticeKind, Pool, Story};

const PROMISE: &str = "no pod is alive at deadline - 3 s that could have been served";

pub fn check(history: &History) -> Vec<Violation> {
    let nodes = history.nodes.iter();
    let drained = nodes.filter(|n| {
        n.is_acted_on() && !matches!(n.story, Story::CanceledReboot | Story::Rebalance)
    });
    drained.flat_map(|n| check_node(n, history)).collect()
}

fn check_node(node: &NodeLife, history: &History) -> Vec<Violation> {
    let Some(moment) = deadline(node, history).map(|d| after(d, -3)) else {
        return vec![];
    };
    let all = [Cause::Api, Cause::Connections, Cause::Leader];
    let heard = history
        .incidents_of(node)
        .any(|i| i.since().is_some_and(|s| s <= after(moment, -10)));
    let unheard = !heard
        && history
            .troubles
            .touch(history.started, moment, &[Cause::Queue]);
    let taken = history.taken_over(node).is_some_and(|at| at <= moment);
    let gone = node.gone.is_some_and(|at| at <= moment);
    if taken
        || gone
        || unheard
        || moment > history.ended
        || history.troubles.touch(after(moment, -3), moment, &all)
    {
        return vec![];
    }
    let pods = history.pods.iter().filter(|p| p.is_on(&node.name));
    let alive = pods.filter(|p| {
        let bound = p
            .node
            .as_ref()
            .is_some_and(|(since, _)| *since <= after(moment, -10));
        bound
            && !p.stays()
            && !p.told_by(moment)
            && !is_asked(p, moment, history)
            && is_owed(p, node, history)
    });
    let tell = |pod: &PodLife| {
        let what = format!("{} on {} was not told to end", pod.name, node.name);
        Violation::new(PROMISE, what).on(node.number).at(moment)
    };
    alive.map(tell).collect()
}

/// When the machine goes, by what was said from outside.
fn deadline(node: &NodeLife, history: &History) -> Option<Timestamp> {
    let notices = history.notices_of(node);
    let mut actions = history
        .actions
        .iter()
        .filter(|a| a.instance == node.instance);
    let unread = actions.any(|a| a.unread);
    let drains = notices.filter(|n| match n.kind {
        NoticeKind::Rebalance => false,
        NoticeKind::Hooks { .. } => !unread,
        _ => true,
    });
    drains.filter_map(|n| n.deadline).min()
}

/// The API server has been asked by then, and will do it.
fn is_asked(pod: &PodLife, moment: Timestamp, history: &History) -> bool {
    let mut asked = history
        .orders
        .iter()
        .filter(|o| o.accepted() && o.time <= moment);
    asked.any(|o| o.uid.as_deref() == Some(&pod.uid))
}

/// Under `Respect` only what has no budget is owed an end.
fn is_owed(pod: &PodLife, node: &NodeLife, history: &History) -> bool {
    node.pool != Pool::Respect || history.budgets_of(pod).next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::sample::{at, budget, history, trouble};

    fn late() -> History {
        let mut history = history();
        history.pods[0].terminating.clear();
        history.pods[0].gone = None;
        history.orders.clear();
        history
    }

    #[test]
    fn a_pod_that_was_not_told_to_end_is_a_violation() {
        assert_eq!(check(&late()).len(), 1);
        let mut slow = late();
        slow.orders = history().orders;
        assert_eq!(check(&slow).len(), 0, "the API server has not answered yet");
        let mut unread = late();
        unread.actions[0].unread = true;
        assert_eq!(check(&unread).len(), 0, "nobody could know the deadline");
    }

    #[test]
    fn under_respect_it_is_one_only_without_a_budget() {
        let mut history = late();
        history.nodes[0].pool = Pool::Respect;
        assert_eq!(check(&history).len(), 1);
        history.budgets.push(budget(&history.pods[0], &[]));
        assert_eq!(check(&history).len(), 0);
    }

    #[test]
    fn trouble_just_before_excuses_it_and_trouble_long_before_does_not() {
        let deadline = history().notices[0].deadline.unwrap().as_second();
        for (from, expected) in [(deadline - 10, 0), (deadline - 30, 1)] {
            let mut history = late();
            history
                .troubles
                .0
                .push(trouble(Cause::Leader, from, from + 1));
            assert_eq!(check(&history).len(), expected);
        }
        let mut history = late();
        history.nodes[0].gone = Some(at(30));
        assert_eq!(check(&history).len(), 0, "its Node is gone");
    }
}
