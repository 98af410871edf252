//! What each answer of the API server leads to.

use std::time::Duration;

use super::*;
use crate::api::termination::BlockReason;

/// The seconds at which a pod is sent if every call is answered so.
fn sent_at(answer: &Answer, seconds: i64) -> Vec<i64> {
    let mut queue = Queue::default();
    queue.offer("n1", vec![candidate("p", FAR)], at(0));
    let mut sent = Vec::new();
    for second in 0..seconds {
        for order in pop_all(&mut queue, second) {
            sent.push(second);
            queue.answered(&order, answer, at(second));
        }
    }
    sent
}

fn denied() -> Answer {
    Answer::Denied {
        reason: BlockReason::Webhook,
        by: Some("deny.example.com".into()),
        message: "not now".into(),
    }
}

#[test]
fn a_denial_backs_off_from_five_seconds_to_a_minute() {
    assert_eq!(sent_at(&denied(), 260), [0, 5, 15, 35, 75, 135, 195, 255]);
}

#[test]
fn a_missing_role_is_asked_for_soon_at_first_then_every_five_seconds_however_long_it_is_missing() {
    let missing = Answer::RoleMissing {
        message: "create pods/eviction".into(),
    };
    assert_eq!(sent_at(&missing, 31), [0, 1, 3, 7, 12, 17, 22, 27]);
}

#[test]
fn an_unknown_outcome_is_looked_at_again_after_a_second_then_ever_later() {
    let lost = Answer::Unanswered {
        message: "connection reset".into(),
    };
    assert_eq!(sent_at(&lost, 20), [0, 1, 3, 7, 15]);
}

#[test]
fn after_an_unknown_outcome_the_view_tells_first() {
    let lost = Answer::Unanswered {
        message: "connection reset".into(),
    };
    let mut queue = Queue::default();
    queue.offer("n1", vec![candidate("p", FAR)], at(0));
    let order = only(pop_all(&mut queue, 0));
    queue.answered(&order, &lost, at(0));
    // It terminates: it was told after all, and is offered no more.
    queue.offer("n1", vec![], at(0));
    assert!((0..200).all(|second| queue.pop(at(second)).is_none()));
}

#[test]
fn a_conflict_gives_the_view_a_second() {
    assert_eq!(sent_at(&Answer::Conflict, 4), [0, 1, 2, 3]);
}

#[test]
fn a_denial_of_one_pod_holds_up_no_other() {
    let mut queue = Queue::default();
    queue.offer("n1", vec![candidate("a", 900)], at(0));
    let order = only(pop_all(&mut queue, 0));
    queue.answered(&order, &denied(), at(0));
    queue.offer("n2", vec![candidate("b", 950)], at(0));
    assert_eq!(names(&pop_all(&mut queue, 0)), ["b"]);
    let block = queue.work("n1")[0].block.clone().unwrap();
    assert_eq!(
        (block.reason, block.by.as_deref()),
        (BlockReason::Webhook, Some("deny.example.com"))
    );
}

#[test]
fn overload_pauses_everybody_for_as_long_as_the_server_says() {
    for (retry_after, pause) in [(None, 1), (Some(Duration::from_secs(7)), 7)] {
        let mut queue = Queue::default();
        queue.offer("n1", vec![candidate("a", 900)], at(0));
        let order = only(pop_all(&mut queue, 0));
        queue.answered(&order, &Answer::Overloaded { retry_after }, at(0));
        queue.offer("n2", vec![candidate("b", 10)], at(0));
        assert!((0..pause).all(|second| queue.pop(at(second)).is_none()));
        assert_eq!(queue.wake(), Some(at(pause)));
        assert_eq!(
            names(&pop_all(&mut queue, pause)),
            ["b", "a"],
            "the same order as ever"
        );
    }
}

#[test]
fn a_pause_that_was_taken_by_a_time_far_ahead_is_over_when_that_is_corrected() {
    let mut queue = Queue::default();
    queue.offer("n1", vec![candidate("a", FAR)], at(1200));
    let order = only(pop_all(&mut queue, 1200));
    let busy = Answer::Overloaded { retry_after: None };
    queue.answered(&order, &busy, at(1200));
    assert!(pop_all(&mut queue, 1200).is_empty());
    assert_eq!(names(&pop_all(&mut queue, 0)), ["a"]);
}

#[test]
fn in_a_terminating_namespace_the_pod_is_deleted_at_once() {
    let mut queue = Queue::default();
    queue.budget_changed(budget(1), at(0));
    queue.offer("n1", vec![candidate("p", FAR)], at(0));
    let order = only(pop_all(&mut queue, 0));
    assert_eq!(order.verb, Verb::Evict);
    queue.answered(&order, &Answer::NamespaceTerminating, at(0));
    let order = only(pop_all(&mut queue, 0));
    assert_eq!(
        (order.verb, order.grace, order.permit),
        (Verb::Delete, secs(30), None)
    );
}

#[test]
fn since_when_a_pod_is_blocked_does_not_move_while_the_reason_stays() {
    let mut queue = Queue::default();
    queue.budget_changed(budget(0), at(0));
    queue.offer("n1", vec![candidate("p", FAR)], at(3));
    for second in 4..60 {
        queue.budget_changed(budget(0), at(second));
        queue.offer("n1", vec![candidate("p", FAR)], at(second));
    }
    assert_eq!(queue.work("n1")[0].block.as_ref().unwrap().since, at(3));
}
