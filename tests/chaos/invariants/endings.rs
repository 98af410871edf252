//! Every incident ends as its node's fate demands, and no message is left in a queue.
//!
//! Canceled is what somebody canceled, what AWS took back and what expired; Failed is a drain that left pods behind under
//! `Respect`, or in a time in which something was out of order; everything else is Completed, and not before its node is
//! gone or back. A message about an instance without a Node may stay: it may be another cluster's.

use node_termination_operator::api::condition;
use node_termination_operator::api::termination::{Outcome, Phase};

use super::Violation;
use crate::history::{Cause, History, IncidentLife, NodeLife, after};
use crate::plan::{Pool, Story};

const PROMISE: &str = "every incident ends as its node's fate demands";

pub fn check(history: &History) -> Vec<Violation> {
    let mut violations = left(history);
    for incident in &history.incidents {
        let node = history.node_by_uid(&incident.node_uid);
        let what = match node {
            None => Some("is about a node that never was".to_owned()),
            Some(node) => wrong(incident, node, history),
        };
        if let Some(what) = what {
            let (phase, outcome) = (incident.phase(), incident.last().outcome);
            let what = format!("{} ({phase:?}, {outcome:?}) {what}", incident.name);
            let violation = Violation::new(PROMISE, what);
            violations.push(match node {
                Some(node) => violation.on(node.number),
                None => violation,
            });
        }
    }
    violations.extend(unheard(history));
    violations
}

/// What is wrong with an incident's end.
fn wrong(incident: &IncidentLife, node: &NodeLife, history: &History) -> Option<String> {
    let status = incident.last();
    let stalled = condition::find(&status.conditions, "Stalled").filter(|c| c.status == "True");
    if let Some(stalled) = stalled.filter(|_| status.phase != Some(Phase::Failed)) {
        return Some(format!(
            "is stalled: {}: {}",
            stalled.reason, stalled.message
        ));
    }
    if incident.gone.is_some() {
        let by_hand = history.taken_over(node).is_some();
        return (!by_hand).then(|| "is gone, and nobody has deleted it".to_owned());
    }
    match status.phase {
        Some(Phase::Completed) => {
            let ended = status.completed_at.as_ref().map_or(history.ended, |t| t.0);
            let early = node.gone.is_none_or(|g| g > after(ended, 2));
            let stays = !node.story.ends_instance();
            (early && !stays).then(|| "ended before its node was gone".to_owned())
        }
        Some(Phase::Canceled) => {
            let by_hand = history.taken_over(node).is_some();
            let by_aws = matches!(node.story, Story::CanceledReboot | Story::Rebalance);
            (!by_hand && !by_aws).then(|| "ended, and nobody has canceled it".to_owned())
        }
        Some(Phase::Failed) => {
            let left = status.outcome == Some(Outcome::DrainIncomplete);
            let excused = node.pool == Pool::Respect || is_troubled(incident, history);
            (!(left && excused)).then(|| "failed without a reason".to_owned())
        }
        _ => Some("has not ended".to_owned()),
    }
}

/// Whether something was out of order when the drain's time was up, or somebody had held it.
fn is_troubled(incident: &IncidentLife, history: &History) -> bool {
    let status = incident.last();
    let causes = [Cause::Api, Cause::Connections, Cause::Leader, Cause::Queue];
    let deadline = status.deadline.map(|d| d.0);
    let node = history.node_by_uid(&incident.node_uid);
    let held = node.and_then(|n| history.taken_over(n)).is_some();
    held || deadline.is_some_and(|d| history.troubles.touch(after(d, -9), d, &causes))
}

/// A notice that the operator is to act on, or to observe, has an incident.
fn unheard(history: &History) -> Vec<Violation> {
    let silent = history.nodes.iter().filter(|node| {
        let told = history.notices_of(node).next().is_some();
        let acknowledged = history.incidents_of(node).next().is_none();
        told && acknowledged && history.taken_over(node).is_none()
    });
    let tell = |n: &NodeLife| {
        Violation::new(
            PROMISE,
            format!("{} was told of and has no incident", n.name),
        )
        .on(n.number)
    };
    silent.map(tell).collect()
}

fn left(history: &History) -> Vec<Violation> {
    let valid = history.left.iter().filter(|(instance, _)| {
        let node = history.nodes.iter().find(|n| n.instance == *instance);
        node.is_none_or(|n| n.gone.is_none())
    });
    let tell = |(instance, body): &(String, String)| {
        Violation::new(
            PROMISE,
            format!("a message about {instance} is left: {body}"),
        )
    };
    valid.map(tell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Done;
    use crate::history::sample::{at, history, set_phase, trouble};
    use crate::plan::deed::DeedKind;

    #[test]
    fn an_incident_that_does_not_end_or_ends_without_a_cause_is_a_violation() {
        for (phase, outcome) in [
            (Phase::Draining, None),
            (Phase::Released, Some(Outcome::Drained)),
            (Phase::Canceled, Some(Outcome::Canceled)),
            (Phase::Failed, Some(Outcome::DrainIncomplete)),
            (Phase::Failed, Some(Outcome::IdentityMismatch)),
        ] {
            let mut history = history();
            set_phase(&mut history.incidents[0], phase, outcome);
            assert_eq!(check(&history).len(), 1, "{phase:?}");
        }
    }

    #[test]
    fn who_cancels_has_it_canceled_and_trouble_at_the_deadline_may_leave_pods_behind() {
        let mut canceled = history();
        set_phase(
            &mut canceled.incidents[0],
            Phase::Canceled,
            Some(Outcome::Canceled),
        );
        let kind = DeedKind::Cancel;
        canceled.deeds.push(Done {
            time: at(20),
            node: 0,
            kind,
            certain: true,
        });
        assert_eq!(check(&canceled).len(), 0);
        let mut failed = history();
        set_phase(
            &mut failed.incidents[0],
            Phase::Failed,
            Some(Outcome::DrainIncomplete),
        );
        failed.troubles.0.push(trouble(Cause::Leader, 70, 71));
        assert_eq!(check(&failed).len(), 0);
    }

    #[test]
    fn an_incident_that_is_completed_before_its_node_is_gone_is_a_violation() {
        let mut history = history();
        history.nodes[0].gone = None;
        assert_eq!(check(&history).len(), 1);
    }

    #[test]
    fn a_notice_without_an_incident_and_a_message_that_is_left_are_violations() {
        let mut history = history();
        history.incidents.clear();
        assert_eq!(check(&history).len(), 1);
        let mut history = super::super::super::history::sample::history();
        history.left.push(("i-other".into(), "{}".into()));
        assert_eq!(check(&history).len(), 1);
    }
}
