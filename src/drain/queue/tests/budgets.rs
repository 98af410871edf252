//! Budgets: nothing is sent while one has no room, and never more than it has room for.

use super::*;
use crate::api::termination::BlockReason;

#[test]
fn a_budget_without_room_gets_nothing_but_one_safety_probe_in_150_seconds() {
    let mut queue = Queue::default();
    queue.budget_changed(budget(0), at(0));
    queue.offer("n1", vec![candidate("p", FAR)], at(0));
    let mut sent = Vec::new();
    for second in 0..=400 {
        for order in pop_all(&mut queue, second) {
            assert_eq!(order.permit, None, "a probe holds no permit");
            sent.push(second);
            queue.answered(&order, &refused(), at(second));
        }
    }
    assert_eq!(sent, [150, 300]);
    queue.budget_changed(budget(1), at(401));
    assert_eq!(
        only(pop_all(&mut queue, 401)).permit.map(|p| p.budget),
        Some(web())
    );
}

#[test]
fn a_budget_that_can_never_have_room_is_not_even_probed() {
    for (budget, expected) in [
        (
            budget_of("web", 0, 5, "InsufficientPods"),
            BlockReason::BudgetUnsatisfiable,
        ),
        (
            budget_of("web", 0, 3, "SyncFailed"),
            BlockReason::BudgetSyncFailed,
        ),
    ] {
        let mut queue = Queue::default();
        queue.budget_changed(budget, at(0));
        queue.offer("n1", vec![respectful("p", FAR)], at(0));
        assert_eq!(reason(&queue, "n1"), Some(expected), "said at once");
        assert_eq!(queue.wake(), None);
        assert!((0..3000).all(|second| queue.pop(at(second)).is_none()));
    }
}

/// A budget of pods without a controller, as the disruption controller leaves it.
fn uncounted(spec: &serde_json::Value, reason: &str, observed: i64) -> Budget {
    let mut spec = spec.clone();
    spec["selector"] = json!({"matchLabels": {"app": "web"}});
    let object: crate::drain::budget::BudgetObject = serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "web", "generation": 1},
        "spec": spec,
        "status": {
            "disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 0, "expectedPods": 0,
            "observedGeneration": observed,
            "conditions": [{"type": "DisruptionAllowed", "status": "False", "reason": reason, "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        },
    }))
    .unwrap();
    object.into()
}

#[test]
fn a_budget_that_counts_none_of_its_pods_is_told_at_once_and_one_that_was_not_computed_yet_is_not()
{
    let unsatisfiable = BlockReason::BudgetUnsatisfiable;
    for (spec, reason_said, observed, expected) in [
        (
            json!({"maxUnavailable": 1}),
            "InsufficientPods",
            1,
            unsatisfiable,
        ),
        (
            json!({"minAvailable": "50%"}),
            "InsufficientPods",
            1,
            unsatisfiable,
        ),
        (
            json!({"maxUnavailable": 1}),
            "InsufficientPods",
            0,
            BlockReason::Budget,
        ),
        (json!({"maxUnavailable": 1}), "", 1, BlockReason::Budget),
        (
            json!({"minAvailable": 1}),
            "InsufficientPods",
            1,
            BlockReason::Budget,
        ),
    ] {
        let mut queue = Queue::default();
        queue.budget_changed(uncounted(&spec, reason_said, observed), at(0));
        queue.offer("n1", vec![respectful("p", FAR)], at(0));
        let what = format!("{spec} {reason_said} {observed}");
        assert_eq!(reason(&queue, "n1"), Some(expected), "{what}");
        let message = queue.work("n1")[0].block.clone().unwrap().message;
        let why = message.contains("only pods of a controller are counted");
        assert_eq!(why, expected == unsatisfiable, "{message}");
    }
}

#[test]
fn a_refusal_in_spite_of_a_permit_parks_the_budget_until_its_next_event() {
    let mut queue = Queue::default();
    queue.budget_changed(budget(2), at(0));
    let pods = ["a", "b", "c"].map(|n| candidate(n, FAR)).to_vec();
    queue.offer("n1", pods.clone(), at(0));
    for order in pop_all(&mut queue, 0) {
        queue.answered(&order, &refused(), at(0));
    }
    for second in 0..150 {
        queue.offer("n1", pods.clone(), at(second));
        assert!(pop_all(&mut queue, second).is_empty(), "at {second}");
    }
    queue.budget_changed(budget(1), at(150));
    assert_eq!(pop_all(&mut queue, 150).len(), 1);
}

#[test]
fn a_refusal_that_names_a_time_is_tried_again_then() {
    let mut queue = Queue::default();
    queue.budget_changed(budget(1), at(0));
    queue.offer("n1", vec![candidate("a", FAR)], at(0));
    let order = only(pop_all(&mut queue, 0));
    let soon = Answer::BudgetRefused {
        message: "the budget is still being processed".into(),
        retry_after: Some(std::time::Duration::from_secs(10)),
    };
    queue.answered(&order, &soon, at(0));
    assert!((0..10).all(|second| queue.pop(at(second)).is_none()));
    assert_eq!(queue.wake(), Some(at(10)));
    assert_eq!(pop_all(&mut queue, 10).len(), 1);
}

#[test]
fn a_refusal_by_a_budget_that_is_not_known_here_backs_off_instead_of_asking_without_end() {
    let mut queue = Queue::default();
    queue.offer("n1", vec![candidate("a", FAR)], at(0));
    let mut sent = Vec::new();
    for second in 0..60 {
        for order in pop_all(&mut queue, second) {
            sent.push(second);
            queue.answered(&order, &refused(), at(second));
        }
    }
    assert_eq!(sent, [0, 5, 15, 35]);
}

#[test]
fn collisions_on_a_budget_cost_a_pause_of_ten_seconds_and_then_one_goes_at_a_time_for_a_minute() {
    let mut queue = Queue::default();
    queue.budget_changed(budget(4), at(0));
    let pods = ["a", "b", "c", "d"].map(|n| candidate(n, FAR)).to_vec();
    queue.offer("n1", pods, at(0));
    for order in pop_all(&mut queue, 0) {
        queue.answered(&order, &Answer::BudgetContended, at(0));
    }
    assert!((0..10).all(|second| queue.pop(at(second)).is_none()));
    let order = only(pop_all(&mut queue, 10));
    queue.answered(&order, &Answer::Accepted, at(10));
    let order = only(pop_all(&mut queue, 10));
    queue.answered(&order, &Answer::Accepted, at(60));
    assert_eq!(pop_all(&mut queue, 60).len(), 2, "the minute is over");
}

#[test]
fn a_budget_whose_status_is_broken_is_said_and_left_alone_for_a_minute_or_until_it_changes() {
    let mut queue = Queue::default();
    queue.budget_changed(budget(4), at(0));
    queue.offer("n1", vec![candidate("p", FAR)], at(0));
    let order = only(pop_all(&mut queue, 0));
    let message = "DisruptedPods map too big".to_owned();
    queue.answered(&order, &Answer::BudgetUncomputed { message }, at(0));
    let block = queue.work("n1")[0].block.clone().unwrap();
    assert_eq!(block.reason, BlockReason::BudgetSyncFailed);
    assert_eq!(block.by.as_deref(), Some("web/web"));
    assert!((0..60).all(|second| queue.pop(at(second)).is_none()));
    assert_eq!(pop_all(&mut queue, 60).len(), 1);

    let mut queue = Queue::default();
    queue.budget_changed(budget(-1), at(0));
    queue.offer("n1", vec![respectful("p", FAR)], at(0));
    assert_eq!(reason(&queue, "n1"), Some(BlockReason::BudgetSyncFailed));
    assert!((0..3000).all(|second| queue.pop(at(second)).is_none()));
}

#[test]
fn a_pod_whose_budget_was_taken_and_whose_deletion_failed_is_tried_again_and_may_take_another_unit()
{
    let mut queue = Queue::default();
    queue.budget_changed(budget(2), at(0));
    queue.offer("n1", vec![candidate("p", FAR)], at(0));
    let order = only(pop_all(&mut queue, 0));
    queue.budget_changed(budget(1), at(0));
    let failed = Answer::ServerError {
        message: "etcd is sad".into(),
    };
    queue.answered(&order, &failed, at(0));
    let again = only(pop_all(&mut queue, 1));
    assert_eq!((again.verb, again.permit.is_some()), (Verb::Evict, true));
    // Had it been the last unit, the pod would wait for the two minutes after which the server gives it back.
    queue.budget_changed(budget(0), at(1));
    queue.answered(&again, &failed, at(1));
    assert!((1..150).all(|second| queue.pop(at(second)).is_none()));
}

#[test]
fn a_refused_pod_sends_at_most_two_evictions_in_five_minutes_and_none_while_the_budget_has_no_room()
{
    for after_a_permit in [false, true] {
        let mut queue = Queue::default();
        let room = i32::from(after_a_permit);
        queue.budget_changed(budget(room), at(0));
        queue.offer("n1", vec![candidate("p", FAR)], at(0));
        let mut sent = 0;
        for second in 0..300 {
            // The budget's status changes all the time, and never has room.
            if second > 0 && second % 7 == 0 {
                queue.budget_changed(budget(0), at(second));
            }
            queue.offer("n1", vec![candidate("p", FAR)], at(second));
            for order in pop_all(&mut queue, second) {
                sent += 1;
                queue.answered(&order, &refused(), at(second));
            }
        }
        assert!(sent <= 2, "{sent} with {room} at first");
    }
}

#[test]
fn one_disruption_over_ten_nodes_is_never_two_and_goes_in_the_order_of_the_deadlines() {
    let mut queue = Queue::default();
    queue.budget_changed(budget(1), at(0));
    // Offered in another order than that of their deadlines.
    for node in [4, 9, 1, 7, 0, 3, 8, 2, 6, 5] {
        let pod = candidate(&format!("p{node}"), FAR + node);
        queue.offer(&format!("n{node}"), vec![pod], at(0));
    }
    let mut gone = Vec::new();
    let mut second = 0;
    while gone.len() < 10 {
        let order = only(pop_all(&mut queue, second));
        queue.answered(&order, &Answer::Accepted, at(second));
        queue.budget_changed(budget(0), at(second));
        second += 10;
        assert!(pop_all(&mut queue, second).is_empty(), "one is down");
        gone.push(order.pod.name.clone());
        // Its replacement is Ready, and the pod has left the view.
        queue.offer(&order.node, vec![], at(second));
        queue.budget_changed(budget(1), at(second));
    }
    let order: Vec<String> = (0..10).map(|node| format!("p{node}")).collect();
    assert_eq!(gone, order);
}

#[test]
fn a_budget_that_is_made_or_changes_its_selector_mid_drain_guards_from_its_first_event_on() {
    let mut queue = Queue::default();
    queue.offer("n1", vec![candidate("a", FAR)], at(0));
    queue.budget_changed(budget(0), at(0));
    assert!(pop_all(&mut queue, 0).is_empty());
    queue.budget_deleted(&web(), at(1));
    assert_eq!(pop_all(&mut queue, 1).len(), 1);
}

#[test]
fn a_pod_that_is_not_ready_goes_without_a_permit_while_the_rest_is_healthy() {
    let mut queue = Queue::default();
    queue.budget_changed(budget(0), at(0));
    let mut sick = candidate("sick", FAR);
    Arc::make_mut(&mut sick.pod).ready = false;
    queue.offer("n1", vec![sick.clone()], at(0));
    assert_eq!(only(pop_all(&mut queue, 0)).permit, None);
    // The rest is not healthy: then only a budget that says AlwaysAllow lets it go.
    for (policy, sent) in [("IfHealthyBudget", 0), ("AlwaysAllow", 1)] {
        let object: crate::drain::budget::BudgetObject = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "web", "generation": 1},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "unhealthyPodEvictionPolicy": policy},
            "status": {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 2, "expectedPods": 3,
                "observedGeneration": 1},
        }))
        .unwrap();
        let mut queue = Queue::default();
        queue.budget_changed(object.into(), at(0));
        queue.offer("n1", vec![sick.clone(), candidate("well", FAR)], at(0));
        let orders = pop_all(&mut queue, 0);
        assert_eq!(orders.len(), sent, "{policy}");
        assert!(names(&orders).iter().all(|n| *n == "sick"));
    }
}

#[test]
fn pods_that_are_pending_finished_or_terminating_ask_no_budget_and_pin_their_version() {
    use crate::drain::pod::{Deletion, Phase};
    let mut queue = Queue::default();
    queue.budget_changed(budget(0), at(0));
    let ready = candidate("ready", FAR);
    let (mut pending, mut finished) = (candidate("pending", FAR), candidate("finished", FAR));
    let mut ending = candidate("ending", FAR);
    Arc::make_mut(&mut pending.pod).phase = Phase::Pending;
    Arc::make_mut(&mut finished.pod).phase = Phase::Failed;
    Arc::make_mut(&mut ending.pod).deletion = Some(Deletion {
        ends: at(600),
        grace: secs(600),
    });
    queue.offer("n1", vec![pending, ready, finished, ending], at(0));
    let orders = pop_all(&mut queue, 0);
    assert_eq!(orders.len(), 3, "{orders:?}");
    assert!(orders.iter().all(|o| o.pin_version && o.permit.is_none()));
    queue.budget_changed(budget(1), at(1));
    assert!(
        !only(pop_all(&mut queue, 1)).pin_version,
        "its UID is enough"
    );
}

#[test]
fn a_status_of_an_older_generation_gives_no_permit() {
    let mut queue = Queue::default();
    let stale: crate::drain::budget::BudgetObject = serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "web", "generation": 2},
        "spec": {"selector": {"matchLabels": {"app": "web"}}},
        "status": {"disruptionsAllowed": 3, "currentHealthy": 5, "desiredHealthy": 2, "expectedPods": 5,
            "observedGeneration": 1},
    }))
    .unwrap();
    queue.budget_changed(stale.into(), at(0));
    queue.offer("n1", vec![candidate("a", FAR)], at(0));
    assert!(pop_all(&mut queue, 0).is_empty());
}
