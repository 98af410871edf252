//! A node is cordoned within 20 s of its notice, or of the last kill of a leader since.
//!
//! Excused: the time in which the API server or the queue was away, with what it takes to recover; what people took into
//! their own hands before; a Node that was gone by then; a notice that was taken back.

use jiff::SignedDuration;

use super::Violation;
use crate::history::{Cause, History, NodeLife};
use crate::plan::{NoticeKind, Story};

const PROMISE: &str = "every notice is cordoned within 20 s, of a SIGKILL too";
/// A message that a killed leader had received is visible again after 15 s.
const WITHIN: SignedDuration = SignedDuration::from_secs(20);

pub fn check(history: &History) -> Vec<Violation> {
    let nodes = history.nodes.iter();
    let acted_on = nodes.filter(|n| n.is_acted_on() && n.story != Story::CanceledReboot);
    acted_on.filter_map(|n| check_node(n, history)).collect()
}

fn check_node(node: &NodeLife, history: &History) -> Option<Violation> {
    // What a policy only observes closes no node.
    let closing =
        |kind: NoticeKind| kind != NoticeKind::Rebalance || node.story == Story::Rebalance;
    let notices = history.notices_of(node).filter(|n| closing(n.kind));
    let sent = notices.map(|n| n.time).min()?;
    let causes = [Cause::Api, Cause::Connections, Cause::Queue];
    let mut allowed = history.troubles.well_after(sent, WITHIN, &causes);
    while let Some(killed) = history.troubles.last_kill(allowed).filter(|k| *k > sent) {
        let from_kill = history.troubles.well_after(killed, WITHIN, &causes);
        if from_kill <= allowed {
            break;
        }
        allowed = from_kill;
    }
    let closed = node.closed();
    let excused = [history.taken_over(node), node.gone, Some(history.ended)];
    let excused = excused
        .into_iter()
        .flatten()
        .min()
        .is_some_and(|e| e <= allowed);
    let late = closed.is_none_or(|at| at > allowed);
    (late && !excused).then(|| {
        let what = format!("{}: notice at {sent}, closed at {closed:?}", node.name);
        Violation::new(PROMISE, what).on(node.number).at(allowed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::sample::{at, close_at, history, trouble};

    #[test]
    fn a_node_that_is_closed_late_or_never_is_a_violation() {
        let mut history = history();
        let sent = history.notices[0].time;
        close_at(&mut history.nodes[0], sent + SignedDuration::from_secs(25));
        assert_eq!(check(&history).len(), 1);
        history.nodes[0].states.truncate(1);
        assert_eq!(check(&history).len(), 1);
    }

    #[test]
    fn a_kill_and_an_outage_give_it_more_time_and_a_deed_of_somebody_all() {
        let late = |cause, from, until, closed| {
            let mut history = history();
            close_at(&mut history.nodes[0], at(closed));
            history.troubles.0.push(trouble(cause, from, until));
            check(&history).len()
        };
        let sent = history().notices[0].time.as_second();
        assert_eq!(late(Cause::Leader, sent + 15, sent + 15, sent + 34), 0);
        assert_eq!(late(Cause::Leader, sent + 15, sent + 15, sent + 36), 1);
        assert_eq!(late(Cause::Api, sent + 5, sent + 10, sent + 32), 0);
        assert_eq!(late(Cause::Api, sent + 5, sent + 10, sent + 34), 1);
        assert_eq!(late(Cause::Aws, sent + 5, sent + 10, sent + 25), 1);
    }
}
