//! What the queue promises, sentence by sentence; and, over random histories, what it never does.

mod answers;
mod budgets;
mod last_moment;
mod never;
mod permits;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::*;
use crate::drain::pod::Pod;
use crate::drain::select::Tier;
use crate::drain::select::tests::pod;
use crate::drain::window::Window;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn secs(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

/// A deadline so far away that nothing is forced within a test.
const FAR: i64 = 100_000;

/// A pod of `web` that is told to end at `latest` whatever refuses.
fn candidate(name: &str, latest: i64) -> Candidate {
    let labels = std::iter::once(("app".to_owned(), "web".to_owned())).collect();
    Candidate {
        pod: Arc::new(Pod {
            labels,
            ..pod(name)
        }),
        tier: Tier::Normal,
        open: true,
        force_at: Some(at(latest)),
        latest_start: at(latest),
        hesitation: None,
        shorten: false,
        window: Window {
            start: at(0),
            deadline: at(latest + 38),
            margin: secs(8),
        },
        grace: secs(30),
        ignore_budgets: false,
    }
}

/// The same under `Respect`: nothing is ever forced.
fn respectful(name: &str, latest: i64) -> Candidate {
    Candidate {
        force_at: None,
        ..candidate(name, latest)
    }
}

fn web() -> BudgetId {
    BudgetId {
        namespace: "web".into(),
        name: "web".into(),
    }
}

/// The budget of all pods with `app=web`.
fn budget(allowed: i32) -> Budget {
    budget_of("web", allowed, 3, "DisruptionAllowed")
}

fn budget_of(name: &str, allowed: i32, desired: i32, reason: &str) -> Budget {
    let object: crate::drain::budget::BudgetObject = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "web", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": "web"}}},
        "status": {
            "disruptionsAllowed": allowed, "currentHealthy": desired + allowed, "desiredHealthy": desired,
            "expectedPods": 5, "observedGeneration": 1,
            "conditions": [{"type": "DisruptionAllowed", "status": "False", "reason": reason, "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        },
    }))
    .unwrap();
    object.into()
}

/// Everything that may be sent at that second.
fn pop_all(queue: &mut Queue, second: i64) -> Vec<Order> {
    std::iter::from_fn(|| queue.pop(at(second))).collect()
}

fn names(orders: &[Order]) -> Vec<&str> {
    orders.iter().map(|o| o.pod.name.as_str()).collect()
}

fn only(mut orders: Vec<Order>) -> Order {
    assert_eq!(orders.len(), 1, "{orders:?}");
    orders.remove(0)
}

fn refused() -> Answer {
    Answer::BudgetRefused {
        message: "Cannot evict pod as it would violate the pod's disruption budget.".into(),
        retry_after: None,
    }
}

fn reason(queue: &Queue, node: &str) -> Option<crate::api::termination::BlockReason> {
    let work = queue.work(node);
    work.first()?.block.as_ref().map(|b| b.reason)
}

#[test]
fn the_most_urgent_pod_goes_first_whatever_its_node() {
    let mut queue = Queue::default();
    let critical = Candidate {
        tier: Tier::Critical,
        ..candidate("critical", 50)
    };
    let patient = Candidate {
        grace: secs(60),
        ..candidate("long-grace", 50)
    };
    queue.offer("n1", vec![candidate("late", 90), critical, patient], at(0));
    queue.offer(
        "n2",
        vec![candidate("soon", 40), candidate("plain", 50)],
        at(0),
    );
    let order = ["soon", "long-grace", "plain", "critical", "late"];
    assert_eq!(names(&pop_all(&mut queue, 0)), order);
}

#[test]
fn a_tier_that_is_closed_is_not_sent_not_even_at_its_last_moment() {
    let mut queue = Queue::default();
    let closed = Candidate {
        open: false,
        ..candidate("daemon", 50)
    };
    queue.offer("n1", vec![closed.clone()], at(0));
    assert!(pop_all(&mut queue, 0).is_empty() && pop_all(&mut queue, 60).is_empty());
    queue.offer(
        "n1",
        vec![Candidate {
            open: true,
            ..closed
        }],
        at(60),
    );
    assert_eq!(names(&pop_all(&mut queue, 60)), ["daemon"]);
}

#[test]
fn a_terminating_pod_is_cut_short_with_its_version_pinned_and_asks_no_budget() {
    let mut queue = Queue::default();
    queue.budget_changed(budget(0), at(0));
    let mut slow = candidate("slow", FAR);
    Arc::make_mut(&mut slow.pod).deletion = Some(crate::drain::pod::Deletion {
        ends: at(600),
        grace: secs(600),
    });
    slow.window.deadline = at(120);
    let slow = Candidate {
        shorten: true,
        force_at: None,
        grace: secs(600),
        ..slow
    };
    queue.offer("n1", vec![slow], at(10));
    let order = only(pop_all(&mut queue, 10));
    assert!(order.pin_version && order.permit.is_none() && order.verb == Verb::Evict);
    assert_eq!(
        order.grace,
        secs(102),
        "what is left before the end of the window"
    );
}

#[test]
fn a_new_uid_under_an_old_name_is_another_pod_and_the_old_one_is_never_sent_again() {
    let mut queue = Queue::default();
    queue.budget_changed(budget(0), at(0));
    let old = candidate("db-0", FAR);
    let mut new = old.clone();
    Arc::make_mut(&mut new.pod).uid = "uid-new".into();
    queue.offer("n1", vec![old], at(0));
    queue.offer("n1", vec![new], at(1));
    queue.budget_changed(budget(4), at(2));
    let orders = pop_all(&mut queue, 200);
    assert_eq!(only(orders).pod.uid, "uid-new");
}

#[test]
fn an_accepted_pod_is_not_sent_again_for_thirty_seconds_even_if_offered_again() {
    let mut queue = Queue::default();
    queue.offer("n1", vec![candidate("p", FAR)], at(0));
    let order = only(pop_all(&mut queue, 0));
    queue.answered(&order, &Answer::Accepted, at(0));
    for second in 1..30 {
        queue.offer("n1", vec![candidate("p", FAR)], at(second));
        assert!(pop_all(&mut queue, second).is_empty(), "at {second}");
    }
    assert_eq!(
        pop_all(&mut queue, 30).len(),
        1,
        "the view has not shown it: look again"
    );
}

#[test]
fn a_pod_in_flight_is_not_sent_a_second_time_when_its_node_is_held_and_let_go() {
    let mut queue = Queue::default();
    queue.offer("n1", vec![candidate("p", FAR)], at(0));
    let order = only(pop_all(&mut queue, 0));
    queue.withdraw("n1");
    queue.offer("n1", vec![candidate("p", FAR)], at(1));
    assert!(pop_all(&mut queue, 1).is_empty());
    queue.answered(&order, &Answer::Accepted, at(2));
    assert!(pop_all(&mut queue, 2).is_empty());
}

#[test]
fn what_was_withdrawn_is_not_sent() {
    let mut queue = Queue::default();
    queue.offer("n1", vec![candidate("p", FAR)], at(0));
    queue.withdraw("n1");
    assert!(pop_all(&mut queue, 0).is_empty() && queue.wake().is_none());
    assert!(queue.work("n1").is_empty());
}

#[test]
fn of_equally_urgent_nodes_one_is_emptied_after_the_other() {
    let mut queue = Queue::default();
    queue.offer("n2", vec![candidate("a", 82), candidate("d", 82)], at(0));
    queue.offer("n1", vec![candidate("c", 82), candidate("b", 82)], at(0));
    queue.offer("n3", vec![candidate("e", 60)], at(0));
    assert_eq!(names(&pop_all(&mut queue, 0)), ["e", "b", "c", "a", "d"]);
}

#[test]
fn a_node_offered_again_unchanged_is_no_news_and_a_pod_with_other_labels_is() {
    let mut queue = Queue::default();
    queue.budget_changed(budget(0), at(0));
    let (web, other) = (candidate("a", 100), candidate("b", 100));
    assert!(queue.offer("n1", vec![web.clone(), other.clone()], at(0)));
    assert!(!queue.offer("n1", vec![web.clone(), other.clone()], at(1)));
    assert!(queue.pop(at(1)).is_none(), "the budget has no room");
    let mut free = other;
    Arc::make_mut(&mut free.pod).labels.clear();
    assert!(queue.offer("n1", vec![web, free], at(2)));
    assert_eq!(queue.pop(at(2)).unwrap().pod.name, "b");
}
