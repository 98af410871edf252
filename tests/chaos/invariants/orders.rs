//! Only pods of a node with an open incident are told to end, each by its UID, never one that is to stay, and one that
//! terminates already only with a shorter grace.
//!
//! What the operator asked is known to the millisecond; what it could know at that time is not: its view lags behind by
//! up to 3 s, by more in an outage. A process that is frozen between its decision and its call sends it when it wakes
//! up, so a call within 3 s of an end is not held against it either.

use jiff::Timestamp;

use super::Violation;
use crate::history::{Cause, History, IncidentLife, NodeLife, Order, PodLife, after};

const PROMISE: &str = "only pods that are to leave a terminating node are told to end, by UID";
const LAG_SECONDS: i64 = 3;
/// So long a record may have been there that nobody saw: the observer is blind for about as long in an outage.
const UNSEEN_SECONDS: i64 = 10;

pub fn check(history: &History) -> Vec<Violation> {
    let accepted = history.orders.iter().filter(|o| o.accepted());
    let found = accepted.filter_map(|o| Some((o, wrong(o, history)?)));
    let tell = |(order, what): (&Order, String)| {
        let node = order.uid.as_deref().and_then(|uid| history.pod(uid));
        let node = node
            .and_then(|p| node_of(p, order.time, history))
            .map(|n| n.number);
        let what = format!("{:?} of {}: {what}", order.verb, order.pod);
        Violation {
            node,
            ..Violation::new(PROMISE, what).at(order.time)
        }
    };
    found.map(tell).collect()
}

fn wrong(order: &Order, history: &History) -> Option<String> {
    let Some(uid) = &order.uid else {
        return Some("without a UID".to_owned());
    };
    let Some(pod) = history.pod(uid) else {
        return Some(format!("a pod with UID {uid} was never seen"));
    };
    if pod.stays() {
        return Some(format!(
            "it is of a {}",
            pod.owner.as_deref().unwrap_or_default()
        ));
    }
    let Some(node) = node_of(pod, order.time, history) else {
        return Some("it is on no node".to_owned());
    };
    if !node.is_acted_on() {
        return Some(format!("nothing is to be done about {}", node.name));
    }
    if !has_incident(node, order.time, history) {
        return Some(format!("{} has no open incident", node.name));
    }
    lengthens(order, pod, history)
}

fn node_of<'a>(pod: &PodLife, time: Timestamp, history: &'a History) -> Option<&'a NodeLife> {
    let (_, name) = pod.node.as_ref()?;
    // Its pods outlive a Node that was deleted.
    history
        .node_at(name, time)
        .or_else(|| history.nodes.iter().find(|n| n.name == *name))
}

fn has_incident(node: &NodeLife, time: Timestamp, history: &History) -> bool {
    let lag =
        if history
            .troubles
            .touch(time, time, &[Cause::Api, Cause::Connections, Cause::Leader])
        {
            10 + LAG_SECONDS
        } else {
            LAG_SECONDS
        };
    let unseen = was_recorded_unseen(node, time, history);
    unseen
        || history.incidents_of(node).any(|incident| {
            let begun = incident
                .since()
                .is_some_and(|since| since <= after(time, LAG_SECONDS));
            begun && incident.stopped().is_none_or(|at| at >= after(time, -lag))
        })
}

/// Whether an incident was recorded shortly before of which the observer, who saw nothing then, never saw a version:
/// somebody has deleted it soon after.
fn was_recorded_unseen(node: &NodeLife, time: Timestamp, history: &History) -> bool {
    let shortly = after(time, -UNSEEN_SECONDS)..=time;
    let mut recorded = history
        .recorded
        .iter()
        .filter(|(at, name)| name.starts_with(&node.instance) && shortly.contains(at));
    recorded.any(|(at, name)| {
        let about = after(*at, -LAG_SECONDS)..=after(*at, LAG_SECONDS);
        let seen = |i: &IncidentLife| i.since().is_some_and(|since| about.contains(&since));
        !history.incidents.iter().any(|i| i.name == *name && seen(i))
    })
}

fn lengthens(order: &Order, pod: &PodLife, history: &History) -> Option<String> {
    let before = after(order.time, -LAG_SECONDS);
    let troubles = [Cause::Api, Cause::Connections, Cause::Leader];
    let known = pod.terminates_at(before)?;
    let unseen = history.troubles.touch(before, order.time, &troubles);
    let shorter = order.grace.is_some_and(|grace| grace < known);
    (!shorter && !unseen).then(|| {
        let grace = order.grace;
        format!("it terminates with {known} s, and was told again with {grace:?}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Done;
    use crate::history::sample::{at, history, set_phase_at};
    use crate::plan::Story;
    use crate::plan::deed::DeedKind;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use node_termination_operator::api::termination::Phase;

    #[test]
    fn an_order_without_a_uid_or_for_a_pod_that_stays_is_a_violation() {
        let mut history = history();
        history.orders[0].uid = None;
        assert_eq!(check(&history).len(), 1);
        history.orders[0].uid = Some("somebody".into());
        assert_eq!(check(&history).len(), 1);
        let mut history = super::super::super::history::sample::history();
        history.pods[0].owner = Some("DaemonSet".into());
        assert_eq!(check(&history).len(), 1);
    }

    #[test]
    fn an_order_for_a_pod_of_a_node_without_an_open_incident_is_a_violation() {
        let mut quiet = history();
        quiet.nodes[0].story = Story::Quiet;
        assert_eq!(check(&quiet).len(), 1);
        let mut other = history();
        other.incidents[0].node_uid = "another".into();
        assert_eq!(check(&other).len(), 1);
        let mut over = history();
        over.orders[0].time = at(30);
        over.pods[0].terminating = vec![(at(30), 30)];
        set_phase_at(&mut over.incidents[0], at(20), Phase::Canceled, None);
        over.deeds.push(Done {
            time: at(20),
            node: 0,
            kind: DeedKind::Cancel,
            certain: true,
        });
        assert_eq!(check(&over).len(), 1);
        over.orders[0].time = at(22);
        assert_eq!(check(&over).len(), 0, "it could not know yet");
        let mut late = history();
        for (seen, version) in &mut late.incidents[0].versions {
            version.metadata.creation_timestamp = Some(Time(at(11)));
            *seen = (*seen).max(at(30));
        }
        assert_eq!(check(&late).len(), 0, "only the observer was late");
        for (_, version) in &mut late.incidents[0].versions {
            version.metadata.creation_timestamp = Some(Time(at(17)));
        }
        assert_eq!(check(&late).len(), 1, "it was created later");
        late.recorded = vec![(at(12), "i-0".into())];
        assert_eq!(check(&late).len(), 0, "the first was never seen");
        late.recorded = vec![(at(17), "i-0".into())];
        assert_eq!(check(&late).len(), 1, "it is the one that was seen");
    }

    #[test]
    fn a_terminating_pod_may_only_be_told_to_end_sooner() {
        for (grace, expected) in [(30, 1), (40, 1), (10, 0)] {
            let mut history = history();
            let mut again = history.orders[0].clone();
            (again.time, again.grace) = (at(30), Some(grace));
            history.orders.push(again);
            assert_eq!(check(&history).len(), expected, "{grace}");
        }
    }
}
