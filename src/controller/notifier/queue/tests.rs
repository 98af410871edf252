//! Who is sent what, when; who waits; and what is given up.

use serde_json::json;

use super::*;
use crate::api::termination::EffectivePolicy;

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// An incident of policy `p` that has come to these stages at second 0, to be told to these.
fn incident(uid: &str, names: &[&str], stages: &[Stage]) -> NodeTermination {
    let rows = names.iter().flat_map(|name| {
        stages.iter().map(move |stage| {
            json!({"name": name, "stage": stage, "state": "Pending", "reachedAt": "1970-01-01T00:00:00Z"})
        })
    });
    let policy = EffectivePolicy {
        name: "p".to_owned(),
        ..EffectivePolicy::default()
    };
    let object = json!({
        "apiVersion": "nodetermination.dev/v1alpha1",
        "kind": "NodeTermination",
        "metadata": {"name": uid, "uid": uid},
        "spec": {"nodeName": "n"},
        "status": {"notifications": rows.collect::<Vec<_>>(), "policy": policy},
    });
    serde_json::from_value(object).unwrap()
}

fn offer(queue: &mut Queue, incident: &NodeTermination) -> bool {
    queue.offer(incident, incident.status.as_ref().unwrap())
}

/// Everything that may be sent now.
fn take_all(queue: &mut Queue) -> Vec<Task> {
    let mut tasks = Vec::new();
    while let Next::Send(task) = queue.next(Instant::now()) {
        tasks.push(*task);
    }
    tasks
}

fn names(tasks: &[Task]) -> Vec<(&str, &str, Stage)> {
    let tasks = tasks.iter();
    tasks
        .map(|t| (&*t.incident, t.row.name.as_str(), t.row.stage))
        .collect()
}

fn sent() -> End {
    End::Settled(NotificationState::Sent, Some(time(1)), None)
}

fn again() -> End {
    End::Again("answered 503".to_owned(), Duration::ZERO)
}

fn end(queue: &mut Queue, task: &Task, end: End) -> NotificationState {
    queue.end(task, end, Instant::now(), time(1))
}

#[tokio::test(start_paused = true)]
async fn a_receiver_hears_the_stages_of_an_incident_one_after_the_other() {
    let mut queue = Queue::default();
    let stages = [Stage::Completed, Stage::Received, Stage::Drained];
    assert!(offer(&mut queue, &incident("a", &["x"], &stages)));
    for stage in [Stage::Received, Stage::Drained, Stage::Completed] {
        let tasks = take_all(&mut queue);
        assert_eq!(names(&tasks), [("a", "x", stage)]);
        end(&mut queue, &tasks[0], sent());
    }
    assert!(take_all(&mut queue).is_empty());
    assert_eq!(queue.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_handed_in_again_is_sent_once_and_forgotten_when_the_record_shows_it() {
    let mut queue = Queue::default();
    let mut object = incident("a", &["x"], &[Stage::Received]);
    for _ in 0..2 {
        assert!(offer(&mut queue, &object));
    }
    let tasks = take_all(&mut queue);
    assert_eq!(tasks.len(), 1);
    assert!(queue.settled("a", object.status.as_ref()).is_empty());
    end(&mut queue, &tasks[0], sent());
    assert!(offer(&mut queue, &object));
    assert!(take_all(&mut queue).is_empty());
    let settled = queue.settled("a", object.status.as_ref());
    assert_eq!(settled[0].sent_at, Some(time(1)));
    notices::settle(object.status.as_mut().unwrap(), &settled);
    assert!(queue.settled("a", object.status.as_ref()).is_empty());
    assert!(queue.deliveries.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_fails_is_asked_once_in_a_while_and_holds_up_no_other() {
    let mut queue = Queue::default();
    for n in 0..10 {
        let uid = format!("i{n}");
        assert!(offer(
            &mut queue,
            &incident(&uid, &["dead", "well"], &[Stage::Received])
        ));
    }
    let tasks = take_all(&mut queue);
    assert_eq!(tasks.len(), 2 * IN_FLIGHT);
    for task in &tasks {
        let dead = task.row.name == "dead";
        let state = end(&mut queue, task, if dead { again() } else { sent() });
        assert_eq!(state == NotificationState::Pending, dead);
    }
    let tasks = take_all(&mut queue);
    assert!(
        tasks.iter().all(|t| t.row.name == "well"),
        "{:?}",
        names(&tasks)
    );
    assert_eq!(tasks.len(), IN_FLIGHT);
    for task in &tasks {
        end(&mut queue, task, sent());
    }
    for task in &take_all(&mut queue) {
        end(&mut queue, task, sent());
    }
    // Four failures at once were one after the other: 8 s.
    let Next::At(Some(wake)) = queue.next(Instant::now()) else {
        panic!("nothing may be sent now, and something waits")
    };
    assert_eq!(wake - Instant::now(), back_off(3));
    tokio::time::advance(back_off(3)).await;
    let probe = take_all(&mut queue);
    assert_eq!(probe.len(), 1, "{:?}", names(&probe));
    end(&mut queue, &probe[0], sent());
    assert_eq!(take_all(&mut queue).len(), IN_FLIGHT, "it is well again");
}

#[tokio::test(start_paused = true)]
async fn more_patience_is_had_if_the_receiver_asks_for_it() {
    let mut queue = Queue::default();
    offer(&mut queue, &incident("a", &["x"], &[Stage::Received]));
    let task = take_all(&mut queue).remove(0);
    let busy = End::Again("answered 429".to_owned(), Duration::from_secs(90));
    end(&mut queue, &task, busy);
    tokio::time::advance(Duration::from_secs(89)).await;
    assert!(take_all(&mut queue).is_empty());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(take_all(&mut queue).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_accepted_for_a_quarter_of_an_hour_is_given_up_with_all_that_wait_behind_it() {
    let mut queue = Queue::default();
    for uid in ["a", "b", "c"] {
        offer(
            &mut queue,
            &incident(uid, &["dead"], &[Stage::Received, Stage::Drained]),
        );
    }
    let task = take_all(&mut queue).remove(0);
    let late = time(GIVEN_UP_AFTER.as_secs());
    let early = time(GIVEN_UP_AFTER.as_secs() - 1);
    let before = queue.end(&task, again(), Instant::now(), early);
    assert_eq!(before, NotificationState::Pending);
    assert!(queue.expire(Instant::now(), early).is_empty());
    let expired = queue.expire(Instant::now(), late);
    // The other two in flight have an answer of their own.
    assert_eq!(expired.len(), 4);
    let object = incident("a", &["dead"], &[Stage::Received, Stage::Drained]);
    let settled = queue.settled("a", object.status.as_ref());
    assert!(settled.iter().all(|n| n.state == NotificationState::Failed));
    assert_eq!(settled[0].message.as_deref(), Some("answered 503"));
}

#[tokio::test(start_paused = true)]
async fn what_is_found_old_by_the_next_leader_is_tried_once() {
    let mut queue = Queue::default();
    offer(&mut queue, &incident("a", &["x"], &[Stage::Received]));
    let late = time(GIVEN_UP_AFTER.as_secs() * 2);
    assert!(queue.expire(Instant::now(), late).is_empty());
    let task = take_all(&mut queue).remove(0);
    let state = queue.end(&task, again(), Instant::now(), late);
    assert_eq!(state, NotificationState::Failed);
}

#[tokio::test(start_paused = true)]
async fn only_so_many_wait_and_what_nobody_asks_for_any_more_goes() {
    let mut queue = Queue::default();
    for n in 0..QUEUE {
        assert!(offer(
            &mut queue,
            &incident(&format!("i{n}"), &["x"], &[Stage::Received])
        ));
    }
    let more = incident("more", &["x"], &[Stage::Received]);
    assert!(!offer(&mut queue, &more));
    let task = take_all(&mut queue).remove(0);
    end(&mut queue, &task, sent());
    queue.forget_gone(|uid| uid != &*task.incident);
    assert!(offer(&mut queue, &more));
    assert_eq!(queue.waiting(), QUEUE);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_so_many_are_in_flight_however_many_receivers_there_are() {
    let mut queue = Queue::default();
    let receivers = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for n in 0..10 {
        offer(
            &mut queue,
            &incident(&format!("i{n}"), &receivers, &[Stage::Received]),
        );
    }
    assert_eq!(take_all(&mut queue).len(), IN_FLIGHT_ALL);
}
