//! Each lifecycle action is completed exactly once, by the operator, and not before its drain has ended.
//!
//! Excused: what people took into their own hands; a Node that was deleted, whose pods nobody waits for any more; and, of
//! observed nodes, everything: their hooks must time out.

use testbed::aws::EndedBy;

use super::Violation;
use crate::history::{ActionLife, History, NodeLife, after};

const PROMISE: &str = "each lifecycle action is completed exactly once, after its drain";
/// The observer sees a pod go this much later than it went, on a busy machine. A drain is over 5 s after its last pod.
const SEEN_LATE_SECONDS: i64 = 2;
/// An error of the operator's clock that is let pass: what it hears from servers is not more exact.
const CLOCK_OFF_SECONDS: i64 = 2;

pub fn check(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    for action in &history.actions {
        let Some(node) = history.nodes.iter().find(|n| n.instance == action.instance) else {
            continue;
        };
        let found = [
            is_completed_once(action, node, history),
            is_left_alone(action, node),
            ends_after_its_drain(action, node, history),
        ];
        violations.extend(found.into_iter().flatten().map(|v| v.on(node.number)));
    }
    violations
}

fn is_completed_once(action: &ActionLife, node: &NodeLife, history: &History) -> Option<Violation> {
    let successes = action.completions.iter().filter(|(_, o)| o.is_ok()).count();
    if successes > 1 {
        let what = format!("action {} was completed {successes} times", action.token);
        return Some(Violation::new(PROMISE, what));
    }
    let owed = node.pool.acts() && history.taken_over(node).is_none();
    let completed = matches!(action.ended, Some((_, EndedBy::Completion)));
    (owed && !completed).then(|| {
        let what = format!("action {} ended as {:?}", action.token, action.ended);
        Violation::new(PROMISE, what)
    })
}

fn is_left_alone(action: &ActionLife, node: &NodeLife) -> Option<Violation> {
    let (at, outcome) = action.completions.first().filter(|_| !node.pool.acts())?;
    let what = format!("action {} of an observed node: {outcome:?}", action.token);
    Some(Violation::new(PROMISE, what).at(*at))
}

fn ends_after_its_drain(
    action: &ActionLife,
    node: &NodeLife,
    history: &History,
) -> Option<Violation> {
    let (at, by) = action.ended?;
    let gone = node.gone.is_some_and(|g| g <= after(at, SEEN_LATE_SECONDS));
    if by != EndedBy::Completion || gone {
        return None;
    }
    // Its time was up by its own clock: the deadline less half of the margin.
    let seen = after(at, SEEN_LATE_SECONDS);
    let over = history.incidents_of(node).filter_map(|i| {
        let status = i.at(seen)?;
        let margin = status.policy.as_ref()?.drain.deadline_margin_seconds;
        let deadline = status.deadline.as_ref()?.0;
        Some(after(deadline, -i64::from(margin / 2)))
    });
    if over
        .min()
        .is_some_and(|over| at >= after(over, -CLOCK_OFF_SECONDS))
    {
        return None;
    }
    let left = history.pods.iter().find(|p| {
        // One that was bound in the last moment was not seen by the operator either.
        let bound = p
            .node
            .as_ref()
            .is_some_and(|(since, _)| *since <= after(at, -SEEN_LATE_SECONDS));
        p.is_on(&node.name) && bound && !p.stays() && p.runs_at(seen)
    })?;
    let what = format!(
        "action {} was completed while {} ran",
        action.token, left.name
    );
    Some(Violation::new(PROMISE, what).at(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::sample::{at, history};
    use crate::plan::Pool;
    use testbed::aws::Outcome;

    fn ok() -> Outcome {
        Outcome {
            status: 200,
            code: None,
        }
    }

    #[test]
    fn an_action_that_timed_out_or_never_ended_is_a_violation() {
        for ended in [None, Some((at(60), EndedBy::TimeOut))] {
            let mut history = history();
            history.actions[0].ended = ended;
            assert_eq!(check(&history).len(), 1);
        }
    }

    #[test]
    fn an_action_that_was_completed_twice_is_a_violation() {
        let mut history = history();
        history.actions[0].completions.push((at(41), ok()));
        assert_eq!(check(&history).len(), 1);
    }

    #[test]
    fn an_action_of_an_observed_node_is_not_to_be_touched() {
        let mut history = history();
        history.nodes[0].pool = Pool::Observe;
        assert_eq!(check(&history).len(), 1);
    }

    #[test]
    fn an_action_that_was_completed_while_a_pod_ran_is_a_violation_until_the_deadline() {
        let mut history = history();
        let completed = history.actions[0].ended.unwrap().0;
        history.pods[0].gone.as_mut().unwrap().after = after(completed, 10);
        assert_eq!(check(&history).len(), 1);
        history.pods[0].gone.as_mut().unwrap().after = at(200);
        // Half of the margin before the deadline is second 76.
        for (second, violations) in [(73, 1), (74, 0), (77, 0)] {
            history.actions[0].ended = Some((at(second), EndedBy::Completion));
            assert_eq!(check(&history).len(), violations, "{second}");
        }
    }
}
