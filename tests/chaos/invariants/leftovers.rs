//! Nothing of ours is left on a node whose incidents are over, and nothing but our own is undone: taints, labels and
//! cordons that others put on are still there. A node that is only observed, or that nothing was said of, is never
//! written to.

use super::Violation;
use crate::history::{History, NodeLife};
use crate::plan::deed::DeedKind;

const PROMISE: &str = "nothing of ours is left on a node, and nothing but ours is undone";
/// What the harness's people put on, as `key:effect` and as key.
pub const TAINT: &str = "chaos.example.com/tired:PreferNoSchedule";
pub const LABEL: &str = "chaos.example.com/label";

pub fn check(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    for node in &history.nodes {
        let found = left(node)
            .into_iter()
            .chain(undone(node, history))
            .chain(touched(node, history));
        violations.extend(
            found.map(|what| {
                Violation::new(PROMISE, format!("{}: {what}", node.name)).on(node.number)
            }),
        );
    }
    violations
}

/// What is left of ours: every incident is over when the run is.
fn left(node: &NodeLife) -> Option<String> {
    let last = node.last().filter(|_| node.gone.is_none())?;
    let ours = |t: &&String| t.starts_with("nodetermination.dev/");
    if let Some(mark) = &last.mark {
        return Some(format!("the annotation is left: {mark}"));
    }
    if let Some(taint) = last.taints.iter().find(ours) {
        return Some(format!("the taint {taint} is left"));
    }
    (last.unschedulable && !node.cordoned).then(|| "it is still cordoned".to_owned())
}

/// What of others is missing.
fn undone(node: &NodeLife, history: &History) -> Option<String> {
    let last = node.last()?;
    if node.cordoned && !last.unschedulable {
        return Some("the cordon that was there before is gone".to_owned());
    }
    let put = |kind| history.deeds_to(node).any(|d| d.kind == kind && d.certain);
    if put(DeedKind::Taint) && !last.taints.contains(TAINT) {
        return Some("a taint that somebody had put on is gone".to_owned());
    }
    let labeled = put(DeedKind::Label) && !last.labels.contains_key(LABEL);
    labeled.then(|| "a label that somebody had put on is gone".to_owned())
}

/// A write to a node that is not to be touched.
fn touched(node: &NodeLife, history: &History) -> Option<String> {
    let ours = |n: &&crate::history::NodeWrite| n.node == node.name && (200..300).contains(&n.code);
    let write = history
        .node_writes
        .iter()
        .find(ours)
        .filter(|_| !node.is_acted_on())?;
    Some(format!("it was written to at {}", write.time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::sample::{at, history, open_at};
    use crate::history::{Done, NodeState};
    use crate::plan::Pool;

    fn standing(change: impl FnOnce(&mut NodeState)) -> usize {
        let mut history = history();
        let node = &mut history.nodes[0];
        node.gone = None;
        open_at(node, at(100));
        change(&mut node.states.last_mut().unwrap().1);
        check(&history).len()
    }

    #[test]
    fn a_cordon_a_taint_or_an_annotation_of_ours_that_is_left_is_a_violation() {
        assert_eq!(standing(|_| {}), 0);
        assert_eq!(standing(|s| s.unschedulable = true), 1);
        assert_eq!(standing(|s| s.mark = Some("{}".into())), 1);
        assert_eq!(
            standing(|s| s.taints = ["nodetermination.dev/x:NoSchedule".into()].into()),
            1
        );
    }

    #[test]
    fn what_somebody_had_put_on_must_still_be_there() {
        for kind in [DeedKind::Taint, DeedKind::Label] {
            let mut history = history();
            history.deeds.push(Done {
                time: at(10),
                node: 0,
                kind,
                certain: true,
            });
            assert_eq!(check(&history).len(), 1);
        }
        let mut history = history();
        history.nodes[0].cordoned = true;
        history.nodes[0].states.truncate(1);
        assert_eq!(check(&history).len(), 1);
    }

    #[test]
    fn an_observed_node_must_not_be_written_to() {
        let mut history = history();
        history.nodes[0].pool = Pool::Observe;
        assert_eq!(check(&history).len(), 1);
    }
}
