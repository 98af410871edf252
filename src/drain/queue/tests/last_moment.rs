//! What changes at a pod's last moment, and what does not.

use super::*;
use crate::api::termination::BlockReason;
use crate::drain::pod::Owner;

fn blocked_by_budget(candidate: Candidate) -> Queue {
    let mut queue = Queue::default();
    queue.budget_changed(budget(0), at(0));
    queue.offer("n1", vec![candidate], at(0));
    queue
}

#[test]
fn a_budget_is_respected_until_the_last_moment_and_overridden_at_it() {
    let mut queue = blocked_by_budget(candidate("p", 80));
    assert_eq!(queue.wake(), Some(at(80)));
    assert!((0..80).all(|second| queue.pop(at(second)).is_none()));
    let order = only(pop_all(&mut queue, 80));
    assert_eq!(
        (order.verb, order.grace, order.mark_disruption),
        (Verb::Delete, secs(30), false)
    );
    queue.answered(&order, &Answer::Accepted, at(80));
    assert_eq!(queue.forced("n1"), 1);
}

#[test]
fn a_deletion_under_way_is_counted_for_the_report_of_a_drain_that_ends_now() {
    let mut queue = blocked_by_budget(candidate("p", 80));
    let order = only(pop_all(&mut queue, 80));
    assert_eq!(queue.forced("n1"), 1, "it may be the last that is asked");
    queue.answered(&order, &Answer::Accepted, at(80));
    assert_eq!(queue.forced("n1"), 1, "once");
    let mut gone = blocked_by_budget(candidate("p", 80));
    let order = only(pop_all(&mut gone, 80));
    gone.answered(&order, &Answer::NotFound, at(80));
    assert_eq!(gone.forced("n1"), 0);
    let mut polite = Queue::default();
    polite.offer("n1", vec![candidate("p", 80)], at(0));
    only(pop_all(&mut polite, 0));
    assert_eq!(polite.forced("n1"), 0, "it is only evicted");
}

#[test]
fn at_the_last_moment_a_pod_that_only_waits_for_our_own_evictions_is_evicted_if_its_budget_has_room()
 {
    let mut queue = Queue::default();
    queue.budget_changed(budget(5), at(0));
    let pods = ["a", "b", "c", "d", "e", "f"].map(|name| candidate(name, 80));
    queue.offer("n1", pods.into(), at(0));
    let first = pop_all(&mut queue, 0);
    assert_eq!(first.len(), 4, "as many as may be in flight");
    let verbs: Vec<Verb> = pop_all(&mut queue, 80).iter().map(|o| o.verb).collect();
    assert_eq!(
        verbs,
        [Verb::Evict, Verb::Delete],
        "it has room for one more"
    );
}

#[test]
fn a_job_is_told_that_the_deletion_is_a_disruption() {
    let mut job = candidate("p", 80);
    Arc::make_mut(&mut job.pod).owner = Some(Owner {
        kind: "Job".into(),
        api_version: "batch/v1".into(),
        name: "job".into(),
    });
    assert!(only(pop_all(&mut blocked_by_budget(job), 80)).mark_disruption);
}

#[test]
fn respect_never_overrides() {
    let mut queue = blocked_by_budget(respectful("p", 80));
    for second in 0..1000 {
        for order in pop_all(&mut queue, second) {
            assert_eq!((order.verb, second % 150), (Verb::Evict, 0), "at {second}");
            queue.answered(&order, &refused(), at(second));
        }
    }
}

#[test]
fn ignore_deletes_at_once() {
    let mut queue = blocked_by_budget(Candidate {
        ignore_budgets: true,
        ..candidate("p", 80)
    });
    assert_eq!(only(pop_all(&mut queue, 0)).verb, Verb::Delete);
}

#[test]
fn at_the_last_moment_a_pod_that_nothing_refuses_is_still_evicted() {
    let mut queue = Queue::default();
    queue.budget_changed(budget(1), at(0));
    queue.offer("n1", vec![candidate("p", 80)], at(80));
    let order = only(pop_all(&mut queue, 80));
    assert_eq!(
        (order.verb, order.permit.as_ref().map(|p| &p.budget)),
        (Verb::Evict, Some(&web()))
    );
    queue.answered(&order, &refused(), at(80));
    assert_eq!(
        only(pop_all(&mut queue, 80)).verb,
        Verb::Delete,
        "refused, and no time is left"
    );
}

#[test]
fn under_two_budgets_nothing_is_sent_before_the_last_moment_and_it_is_said_at_once() {
    let two = |candidate: Candidate| {
        let mut queue = Queue::default();
        queue.budget_changed(budget(3), at(0));
        queue.budget_changed(budget_of("all", 3, 2, "SufficientPods"), at(0));
        queue.offer("n1", vec![candidate], at(0));
        queue
    };
    let mut queue = two(candidate("p", 80));
    let block = queue.work("n1")[0].block.clone().unwrap();
    assert_eq!(block.reason, BlockReason::MultipleBudgets);
    assert_eq!(block.by.as_deref(), Some("web/all, web/web"));
    assert!((0..80).all(|second| queue.pop(at(second)).is_none()));
    assert_eq!(only(pop_all(&mut queue, 80)).verb, Verb::Delete);
    let mut queue = two(respectful("p", 80));
    assert!((0..1000).all(|second| queue.pop(at(second)).is_none()));
}

#[test]
fn a_pod_that_the_policy_keeps_leaves_at_its_last_moment_whatever_the_budgets_mean() {
    for (force_at, ignore_budgets, verb) in [
        (Some(at(80)), false, Verb::Evict),
        (None, false, Verb::Evict),
        (Some(at(80)), true, Verb::Delete),
    ] {
        for kept in [BlockReason::EmptyDir, BlockReason::Unmanaged] {
            let mut queue = Queue::default();
            let pod = Candidate {
                hesitation: Some(kept),
                force_at,
                ignore_budgets,
                ..candidate("p", 80)
            };
            queue.offer("n1", vec![pod], at(0));
            assert_eq!(reason(&queue, "n1"), Some(kept));
            assert!((0..80).all(|second| queue.pop(at(second)).is_none()));
            assert_eq!(queue.wake(), Some(at(80)));
            assert_eq!(
                only(pop_all(&mut queue, 80)).verb,
                verb,
                "{force_at:?} {ignore_budgets}"
            );
        }
    }
}

#[test]
fn the_last_moment_ends_a_back_off_by_a_deletion() {
    let mut queue = Queue::default();
    queue.offer("n1", vec![candidate("p", 3)], at(0));
    let order = only(pop_all(&mut queue, 0));
    let denied = Answer::Denied {
        reason: BlockReason::Webhook,
        by: Some("w".into()),
        message: "no".into(),
    };
    queue.answered(&order, &denied, at(0));
    assert_eq!(queue.wake(), Some(at(3)), "not at 5");
    let order = only(pop_all(&mut queue, 3));
    assert_eq!(order.verb, Verb::Delete);
    queue.answered(&order, &denied, at(3));
    assert!(
        pop_all(&mut queue, 3).is_empty(),
        "a denied deletion backs off"
    );
}

#[test]
fn a_conflict_past_the_last_moment_waits_for_the_view_like_any_other() {
    let mut queue = Queue::default();
    queue.offer("n1", vec![candidate("p", 3)], at(10));
    let order = only(pop_all(&mut queue, 10));
    queue.answered(&order, &Answer::Conflict, at(10));
    assert!(pop_all(&mut queue, 10).is_empty());
    assert_eq!(queue.wake(), Some(at(11)));
    assert_eq!(only(pop_all(&mut queue, 11)).verb, Verb::Evict);
}
