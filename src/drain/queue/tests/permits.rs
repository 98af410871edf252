//! Permits: what a budget's room is spent on, and who gets what is given back.

use super::*;

#[test]
fn an_event_with_permits_releases_as_many_at_most_four_by_deadline_across_nodes() {
    for (allowed, released) in [
        (0, vec![]),
        (1, vec!["a1"]),
        (3, vec!["a1", "b2", "a3"]),
        (6, vec!["a1", "b2", "a3", "b4"]),
    ] {
        let mut queue = Queue::default();
        queue.budget_changed(budget(0), at(0));
        let pods = |names: [(&str, i64); 3]| names.map(|(n, l)| candidate(n, FAR + l)).to_vec();
        queue.offer("n1", pods([("a5", 5), ("a3", 3), ("a1", 1)]), at(0));
        queue.offer("n2", pods([("b6", 6), ("b4", 4), ("b2", 2)]), at(0));
        queue.budget_changed(budget(allowed), at(1));
        assert_eq!(
            names(&pop_all(&mut queue, 1)),
            released,
            "{allowed} allowed"
        );
    }
}

#[test]
fn own_evictions_that_the_status_does_not_show_yet_are_taken_off_the_permits() {
    let mut queue = Queue::default();
    queue.budget_changed(budget(2), at(0));
    let pods = ["a", "b", "c"].map(|n| candidate(n, FAR)).to_vec();
    queue.offer("n1", pods, at(0));
    let orders = pop_all(&mut queue, 0);
    assert_eq!(orders.len(), 2);
    for order in &orders {
        queue.answered(order, &Answer::Accepted, at(1));
    }
    assert!(pop_all(&mut queue, 1).is_empty(), "both permits are spent");
    queue.budget_changed(budget(0), at(2));
    assert!(pop_all(&mut queue, 2).is_empty());
    queue.budget_changed(budget(1), at(3));
    assert_eq!(names(&pop_all(&mut queue, 3)), ["c"]);
}

#[test]
fn an_eviction_that_was_not_accepted_gives_its_permit_to_the_next() {
    let mut queue = Queue::default();
    queue.budget_changed(budget(1), at(0));
    queue.offer("n1", vec![candidate("a", FAR), candidate("b", FAR)], at(0));
    let order = only(pop_all(&mut queue, 0));
    queue.answered(&order, &Answer::NotFound, at(0));
    assert_eq!(names(&pop_all(&mut queue, 0)), ["b"]);
}

#[test]
fn an_answer_that_an_event_has_overtaken_says_nothing_of_the_status_that_is_known() {
    for answer in [Answer::Accepted, refused()] {
        let mut queue = Queue::default();
        queue.budget_changed(budget(1), at(0));
        queue.offer("n1", vec![candidate("a", FAR), candidate("b", FAR)], at(0));
        let order = only(pop_all(&mut queue, 0));
        // The replacement is Ready before the answer is read: no other event will come.
        queue.budget_changed(budget(1), at(1));
        queue.answered(&order, &answer, at(1));
        assert_eq!(pop_all(&mut queue, 1).len(), 1, "{answer:?}");
    }
}

#[test]
fn a_probe_that_finds_room_when_its_turn_comes_holds_a_permit_and_gives_it_back() {
    let mut queue = Queue::default();
    queue.budget_changed(budget(0), at(0));
    queue.offer("n1", vec![candidate("a", FAR)], at(0));
    queue.offer(
        "n2",
        vec![Candidate {
            hesitation: None,
            ..candidate("other", FAR)
        }],
        at(149),
    );
    // The probe is due while an overloaded server is left alone, and meanwhile the budget gets room.
    queue.offer("n3", vec![free("busy")], at(149));
    let busy = only(pop_all(&mut queue, 149));
    let overloaded = Answer::Overloaded {
        retry_after: Some(std::time::Duration::from_secs(5)),
    };
    queue.answered(&busy, &overloaded, at(149));
    assert!(queue.pop(at(151)).is_none());
    queue.budget_changed(budget(2), at(152));
    let orders: Vec<_> = pop_all(&mut queue, 155)
        .into_iter()
        .filter(|o| o.pod.namespace == "web")
        .collect();
    assert_eq!(names(&orders), ["a", "other"]);
    assert!(
        orders
            .iter()
            .all(|o| o.permit.as_ref().is_some_and(|p| p.budget == web()))
    );
    for order in &orders {
        queue.answered(order, &Answer::NotFound, at(155));
    }
    queue.budget_changed(budget(2), at(156));
    queue.offer(
        "n4",
        ["c", "d"].map(|n| candidate(n, FAR)).to_vec(),
        at(156),
    );
    assert_eq!(
        pop_all(&mut queue, 156).len(),
        2,
        "both permits are there again"
    );
}

fn free(name: &str) -> Candidate {
    let mut free = candidate(name, FAR);
    Arc::make_mut(&mut free.pod).namespace = "batch".into();
    free
}

#[test]
fn the_permit_of_a_pod_that_is_taken_back_before_it_is_sent_goes_to_the_next() {
    let mut queue = Queue::default();
    queue.budget_changed(budget(0), at(0));
    queue.offer("n1", vec![candidate("urgent", FAR)], at(0));
    queue.offer("n2", vec![candidate("patient", FAR + 9)], at(0));
    queue.budget_changed(budget(1), at(1));
    queue.withdraw("n1");
    assert!(queue.wake().is_some_and(|wake| wake <= at(2)));
    assert_eq!(names(&pop_all(&mut queue, 2)), ["patient"]);
}
