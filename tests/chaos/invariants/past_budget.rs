//! The API server itself holds every eviction against the budgets. What goes past them is a deletion: it happens only
//! under a policy that allows it, at the pod's last moment, for a pod whose budget has no room, and the record says so.
//!
//! The record says so if `pods.forced` counts, or if `blocked` named the pod with its time before, or named ten others.
//! Excused: a leader that goes within 5 s, or an API server: the count that it had not written yet goes with it. One whose
//! lease was taken goes when it learns of it.

use jiff::{SignedDuration, Timestamp};

use super::Violation;
use crate::history::{BudgetLife, Cause, History, IncidentLife, Order, PodLife, Verb, after};
use crate::plan::Pool;
use node_termination_operator::api::termination::NodeTerminationStatus;

const PROMISE: &str = "no budget is overridden but at the last moment, and on record";
/// A budget's room is known to the observer and the operator at about the same time, and not for longer than this.
const ROOM_SECONDS: i64 = 6;
/// `status.blocked` names at most ten pods.
const NAMED: usize = 10;
/// How long a count may wait to be written, on a busy machine.
const WRITTEN_SECONDS: i64 = 5;
/// Within this a leader learns that its lease was taken: between two renewals, a fifth of the shortest lease of 5 s.
const LEARNT_SECONDS: i64 = 1;

pub fn check(history: &History) -> Vec<Violation> {
    let deletions = history
        .orders
        .iter()
        .filter(|o| o.accepted() && o.verb == Verb::Delete);
    let found = deletions.filter_map(|order| {
        let pod = history.pod(order.uid.as_deref()?)?;
        let what = wrong(order, pod, history)?;
        let violation = Violation::new(PROMISE, format!("{}: {what}", pod.name)).at(order.time);
        let node = pod
            .node
            .as_ref()
            .and_then(|(_, name)| history.node_at(name, order.time));
        Some(Violation {
            node: node.map(|n| n.number),
            ..violation
        })
    });
    found.collect()
}

fn wrong(order: &Order, pod: &PodLife, history: &History) -> Option<String> {
    let (_, name) = pod.node.as_ref()?;
    let node = history.node_at(name, order.time)?;
    if node.pool == Pool::Respect {
        return Some("it was deleted under Respect".to_owned());
    }
    let open = |i: &&IncidentLife| i.since().is_some_and(|s| s <= after(order.time, 3));
    let incidents: Vec<&IncidentLife> = history.incidents_of(node).filter(open).collect();
    let last = incidents
        .iter()
        .flat_map(|i| i.about(order.time).filter_map(|s| last_moment(s, pod)))
        .min();
    // An error of its clock of up to two seconds is not corrected.
    if let Some(last) = last.filter(|last| order.time < after(*last, -2)) {
        return Some(format!(
            "it was deleted at {}, its last moment is {last}",
            order.time
        ));
    }
    let budgets: Vec<&BudgetLife> = history.budgets_of(pod).collect();
    let room = |b: &&BudgetLife| had_room(b, order.time, history);
    // An API server that has only just started forbids everything: a deletion that was due then is sent until it passes.
    let mut forbidden = history
        .orders
        .iter()
        .filter(|o| o.pod == order.pod && o.code == 403 && o.time < order.time);
    let due = forbidden.next().map_or(order.time, |first| first.time);
    let causes = [Cause::Api, Cause::Connections, Cause::Leader];
    let troubled = history.troubles.touch(due, due, &causes);
    if budgets.is_empty() {
        // An eviction that was not answered is not sent again at the last moment: the deletion is surer.
        return (!troubled).then(|| "it was deleted, and has no budget".to_owned());
    }
    if budgets.len() == 1 && !troubled && budgets.iter().all(room) {
        return Some("it was deleted, and its budget had room".to_owned());
    }
    let written = after(order.time, WRITTEN_SECONDS);
    let learnt = after(order.time, -LEARNT_SECONDS);
    let excused = history.troubles.begin(order.time, written, &causes)
        || history.troubles.begin(learnt, order.time, &[Cause::Leader]);
    let recorded = incidents.iter().any(|i| is_recorded(i, pod));
    (!recorded && !excused).then(|| "it was deleted, and no record says so".to_owned())
}

/// The end less its grace period, but not in the first quarter of the window.
fn last_moment(status: &NodeTerminationStatus, pod: &PodLife) -> Option<Timestamp> {
    let margin = i64::from(status.policy.as_ref()?.drain.deadline_margin_seconds);
    let start = status.started_at.as_ref()?.0;
    let end = after(status.deadline.as_ref()?.0, -margin);
    let polite = start + end.duration_since(start).max(SignedDuration::ZERO) / 4;
    Some(after(end, -pod.grace).max(polite))
}

/// Whether there was room all the time that no eviction under way was about to take. One that has taken it already, and
/// is not answered yet, counts twice: a budget that is in use is rather excused.
fn had_room(budget: &BudgetLife, time: Timestamp, history: &History) -> bool {
    let since = after(time, -ROOM_SECONDS);
    let evictions = || evictions_of(budget, history);
    let changes = budget.room.iter().map(|(at, _)| *at);
    let sent = evictions().map(|o| o.time);
    let mut moments = changes
        .chain(sent)
        .filter(|at| (since..=time).contains(at))
        .chain([since, time]);
    moments.all(|at| {
        let room = budget.room.iter().rev().find(|(seen, _)| *seen <= at);
        let under_way = evictions().filter(|o| o.time <= at && at < o.answered);
        room.is_some_and(|(_, room)| usize::try_from(*room).unwrap_or(0) > under_way.count())
    })
}

fn evictions_of<'a>(
    budget: &'a BudgetLife,
    history: &'a History,
) -> impl Iterator<Item = &'a Order> {
    let evictions = history
        .orders
        .iter()
        .filter(|o| o.accepted() && o.verb == Verb::Evict);
    evictions.filter(|o| {
        let pod = o.uid.as_deref().and_then(|uid| history.pod(uid));
        pod.is_some_and(|p| history.budgets_of(p).any(|b| std::ptr::eq(b, budget)))
    })
}

fn is_recorded(incident: &IncidentLife, pod: &PodLife) -> bool {
    incident.versions.iter().any(|(_, version)| {
        let Some(status) = &version.status else {
            return false;
        };
        let counted = status.pods.as_ref().is_some_and(|p| p.forced > 0);
        let announced = status
            .blocked
            .iter()
            .any(|b| b.uid == pod.uid && b.force_time.is_some());
        counted || announced || status.blocked.len() >= NAMED
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::sample::{at, budget, force, history, trouble};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn deleted(second: i64) -> History {
        let mut history = history();
        history.budgets.push(budget(&history.pods[0], &[(0, 0)]));
        force(&mut history, at(second));
        history
    }

    #[test]
    fn at_the_last_moment_and_on_record_a_deletion_is_right() {
        assert_eq!(check(&deleted(45)).len(), 0);
    }

    #[test]
    fn too_early_under_respect_with_room_without_a_budget_or_without_a_record_it_is_not() {
        assert_eq!(check(&deleted(35)).len(), 1);
        let mut respected = deleted(45);
        respected.nodes[0].pool = Pool::Respect;
        assert_eq!(check(&respected).len(), 1);
        let mut roomy = deleted(45);
        roomy.budgets[0].room = vec![(at(0), 1)];
        assert_eq!(check(&roomy).len(), 1);
        roomy.troubles.0.push(trouble(Cause::Api, 30, 31));
        assert_eq!(check(&roomy).len(), 1, "that was over long since");
        let due = Order {
            time: at(31),
            code: 403,
            ..roomy.orders.last().unwrap().clone()
        };
        roomy.orders.push(due);
        assert_eq!(check(&roomy).len(), 0, "the server had only just started");
        roomy.orders.pop();
        let mut another = roomy.pods[0].clone();
        another.uid = "another".into();
        roomy.pods.push(another);
        let under_way = Order {
            time: at(43),
            answered: at(46),
            verb: Verb::Evict,
            uid: Some("another".into()),
            ..roomy.orders[0].clone()
        };
        roomy.orders.push(under_way);
        assert_eq!(check(&roomy).len(), 0, "an eviction under way takes it");
        roomy.orders.last_mut().unwrap().answered = at(44);
        roomy.orders.last_mut().unwrap().time = at(35);
        roomy.budgets[0].room = vec![(at(0), 2)];
        assert_eq!(check(&roomy).len(), 1, "and one is left");
        roomy.budgets[0].room = vec![(at(0), 1)];
        roomy.orders.pop();
        roomy.budgets[0].room.push((at(43), 0));
        assert_eq!(check(&roomy).len(), 0, "the room was taken meanwhile");
        let mut free = deleted(45);
        free.budgets.clear();
        assert_eq!(check(&free).len(), 1);
        let mut silent = deleted(45);
        for (_, version) in &mut silent.incidents[0].versions {
            version.status.as_mut().unwrap().pods = None;
        }
        assert_eq!(check(&silent).len(), 1);
        silent.troubles.0.push(trouble(Cause::Leader, 48, 48));
        assert_eq!(check(&silent).len(), 0, "its leader was killed");
        silent.troubles.0 = vec![trouble(Cause::Leader, 42, 42)];
        assert_eq!(check(&silent).len(), 1, "another leads since");
        silent.troubles.0 = vec![trouble(Cause::Leader, 44, 44)];
        assert_eq!(check(&silent).len(), 0, "its lease was being taken");
    }

    #[test]
    fn what_the_leader_before_had_written_until_shortly_before_counts_too() {
        for (second, expected) in [(30, 1), (34, 0)] {
            let mut history = deleted(35);
            let versions = &mut history.incidents[0].versions;
            let (_, last) = versions.last().unwrap().clone();
            let mut earlier = last.clone();
            earlier.status.as_mut().unwrap().deadline = Some(Time(at(70)));
            versions.retain(|(seen, _)| *seen < at(30));
            versions.push((at(second), earlier));
            versions.push((at(second + 1), last));
            assert_eq!(check(&history).len(), expected, "{second}");
        }
    }
}
