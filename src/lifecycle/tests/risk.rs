//! The forecast: told as soon as the plan no longer fits, taken back when it does, and why.

use jiff::SignedDuration;

use super::world::{NOTICE, World, at, hook, spot};
use crate::api::condition;
use crate::api::policy::{DisruptionBudgets, Drain};
use crate::api::termination::{EffectivePolicy, NodeTerminationStatus, Outcome, Phase, SignalKind};
use crate::drain::pod::Deletion;
use crate::lifecycle::happenings;

fn policy(disruption_budgets: DisruptionBudgets) -> EffectivePolicy {
    let drain = Drain {
        disruption_budgets,
        ..Drain::default()
    };
    EffectivePolicy {
        drain,
        ..EffectivePolicy::default()
    }
}

/// Status and reason of the forecast, and its message.
fn said(status: &NodeTerminationStatus) -> Option<(String, String)> {
    let said = condition::find(&status.conditions, "DeadlineAtRisk")?;
    let state = format!("{} {}", said.status, said.reason);
    Some((state, said.message.clone()))
}

fn state(world: &World) -> Option<String> {
    said(&world.status()).map(|(state, _)| state)
}

/// A spot notice for a node with one pod, of that grace period in seconds, whose budget has no room.
fn held_until_its_last_moment(grace: i64) -> World {
    let mut world = World::new(
        vec![spot()],
        policy(DisruptionBudgets::RespectUntilDeadline),
    );
    world.allowed = 0;
    world.add_pods(0, 1);
    world.pods[0].grace = SignedDuration::from_secs(grace);
    world.crash();
    world
}

#[test]
fn a_drain_that_fits_says_nothing() {
    let mut world = World::new(
        vec![spot(), hook(1)],
        policy(DisruptionBudgets::RespectUntilDeadline),
    );
    world.add_pods(3, 3);
    for _ in 0..200 {
        world.run_for(1);
        assert_eq!(said(&world.status()), None, "at {}", world.now - NOTICE);
    }
    assert_eq!(world.end(), Some(Outcome::Drained));
}

#[test]
fn a_budget_that_never_has_room_and_is_never_overridden_is_told_at_once_and_taken_back_when_it_has()
{
    let mut world = World::new(vec![spot()], policy(DisruptionBudgets::Respect));
    (world.allowed, world.expected) = (0, 2);
    world.add_pods(0, 2);
    world.crash();
    world.run_for(2);
    let (state, message) = said(&world.status()).unwrap();
    assert_eq!(state, "True NeverForced");
    assert!(
        message.contains("web/db-0 is held by web/db, and never forced"),
        "{message}"
    );
    let before = world.status();
    let news = |before: &NodeTerminationStatus, now: &NodeTerminationStatus| {
        let news = happenings(&world.object, before, now).into_iter();
        news.filter(|n| n.reason == "DeadlineAtRisk")
            .collect::<Vec<_>>()
    };
    let first = news(&NodeTerminationStatus::default(), &before);
    assert!(first.len() == 1 && first[0].warning && first[0].note == message);
    assert!(news(&before, &before).is_empty(), "one Event");
    (world.allowed, world.expected) = (2, 4);
    world.tell_budget();
    world.dirty = true;
    world.run_for(1);
    assert_eq!(said(&world.status()).unwrap().0, "False Fits");
    assert!(world.run(60, |w| w.phase() == Some(Phase::Released)));
    assert_eq!(said(&world.status()).unwrap().0, "False Drained");
}

#[test]
fn a_pod_that_is_never_forced_puts_the_deadline_at_risk_once_its_last_moment_has_passed() {
    let mut world = World::new(vec![spot()], policy(DisruptionBudgets::Respect));
    world.allowed = 0;
    world.add_pods(0, 1);
    world.crash();
    world.run_for(80);
    assert_eq!(said(&world.status()), None, "it may still go in time");
    world.run_for(6);
    assert_eq!(state(&world).as_deref(), Some("True NeverForced"));
    assert!(world.run(60, |w| w.phase() == Some(Phase::Released)));
    assert_eq!(world.end(), Some(Outcome::DrainIncomplete));
    assert_eq!(state(&world).as_deref(), Some("True Missed"));
}

#[test]
fn a_grace_period_that_the_window_cuts_is_told_with_how_much_is_left_of_it() {
    let mut world = World::new(
        vec![spot()],
        policy(DisruptionBudgets::RespectUntilDeadline),
    );
    world.add_pods(5, 0);
    for pod in &mut world.pods[..4] {
        pod.grace = SignedDuration::from_secs(600);
    }
    world.run_for(1);
    let (state, message) = said(&world.status()).unwrap();
    assert_eq!(state, "True GraceCut");
    assert!(
        message.contains("web/web-0 has 112 s of its grace period of 600 s"),
        "{message}"
    );
    assert!(message.ends_with("; and 1 more"), "{message}");
    world.run_for(100);
    assert_eq!(said(&world.status()).unwrap().0, "True GraceCut");
    assert!(world.run(60, |w| w.phase() == Some(Phase::Released)));
    assert_eq!(said(&world.status()).unwrap().0, "False Drained");
}

#[test]
fn a_forced_pod_that_gets_its_whole_grace_period_puts_nothing_at_risk_and_one_that_does_not_is_told_before()
 {
    for (grace, risk) in [(30, None), (100, Some("True GraceCut"))] {
        let mut world = held_until_its_last_moment(grace);
        world.run_for(5);
        assert_eq!(state(&world).as_deref(), risk, "{grace} s");
    }
}

#[test]
fn a_pod_that_is_forced_at_its_last_moment_is_at_no_risk_for_the_second_that_was_rounded_off() {
    for grace in [30, 1] {
        let mut world = held_until_its_last_moment(grace);
        // Its last moment, and a pass one second later, as after a timer.
        let last_moment = NOTICE + 112 - grace;
        world.run_for(last_moment - 1 - world.now);
        world.now += 2;
        world.dirty = true;
        world.turn();
        assert_eq!(said(&world.status()), None, "{grace} s");
        assert!(world.run(60, |w| w.phase() == Some(Phase::Released)));
        assert_eq!(said(&world.status()), None, "{grace} s");
        assert_eq!(world.end(), Some(Outcome::Drained));
    }
}

#[test]
fn what_fits_while_a_pod_has_less_than_its_grace_period_says_so() {
    let mut world = World::new(
        vec![spot()],
        policy(DisruptionBudgets::RespectUntilDeadline),
    );
    world.add_pods(2, 0);
    world.pods[0].grace = SignedDuration::from_secs(600);
    world.run_for(1);
    assert_eq!(state(&world).as_deref(), Some("True GraceCut"));
    // Somebody else has cut it further: it ends long before the deadline.
    let ends = at(NOTICE + 60);
    let grace = SignedDuration::from_secs(58);
    world.pods[0].deletion = Some(Deletion { ends, grace });
    world.dirty = true;
    world.run_for(1);
    let (state, message) = said(&world.status()).unwrap();
    assert_eq!(state, "False Fits");
    let has = "web/web-0 has 58 s of its grace period of 600 s";
    assert!(message.contains("that are left can go"), "{message}");
    assert!(message.contains(has), "{message}");
}

#[test]
fn a_right_that_is_missing_is_the_operators_and_a_webhook_is_named() {
    for (webhook, said_of_it) in [
        (false, "the operator may not evict it"),
        (true, "is refused by deny.example.com"),
    ] {
        let mut world = World::new(
            vec![spot()],
            policy(DisruptionBudgets::RespectUntilDeadline),
        );
        (world.webhook, world.forbidden) = (webhook, !webhook);
        world.add_pods(1, 0);
        world.run_for(2);
        let (state, message) = said(&world.status()).unwrap();
        assert_eq!(state, "True Refused");
        assert!(message.contains(said_of_it), "{message}");
        assert!(!message.contains("by Forbidden"), "{message}");
    }
}

#[test]
fn a_node_that_may_not_be_closed_is_one_event_and_puts_its_deadline_at_risk_until_it_is() {
    let mut world = World::new(
        vec![spot()],
        policy(DisruptionBudgets::RespectUntilDeadline),
    );
    world.add_pods(1, 0);
    world.refused = Some("the operator's roles do not let it patch nodes".to_owned());
    let before = world.status();
    world.run_for(2);
    let refused = world.status();
    let (state, message) = said(&refused).unwrap();
    assert_eq!(state, "True NotCordoned");
    assert!(message.contains("patch nodes"), "{message}");
    let news = |before: &NodeTerminationStatus, now: &NodeTerminationStatus| {
        let news = happenings(&world.object, before, now).into_iter();
        news.filter(|n| n.reason == "Forbidden").collect::<Vec<_>>()
    };
    let first = news(&before, &refused);
    assert!(first.len() == 1 && first[0].warning, "{first:?}");
    assert!(first[0].note.contains("patch nodes"), "{first:?}");
    assert!(!first[0].is_about_the_node(), "it is the incident's");
    assert!(news(&refused, &refused).is_empty(), "one Event");
    world.refused = None;
    world.dirty = true;
    world.run_for(2);
    assert_eq!(said(&world.status()).unwrap().0, "False Fits");
    assert_eq!(world.told.len(), 1);
}

#[test]
fn pods_that_are_left_are_told_apart_those_that_are_stuck_and_those_that_are_blocked() {
    let mut world = World::new(vec![hook(1)], policy(DisruptionBudgets::Respect));
    world.allowed = 0;
    world.add_pods(2, 1);
    world.crash();
    world.stuck = true;
    let drained = |w: &World| {
        let conditions = w.status().conditions;
        condition::find(&conditions, "Drained")
            .unwrap()
            .message
            .clone()
    };
    world.run_for(100);
    let said = drained(&world);
    assert!(
        said.contains("pods have gone, 1 blocked, 2 stuck: "),
        "{said}"
    );
    assert!(world.run(400, |w| w.end().is_some()));
    assert_eq!(world.end(), Some(Outcome::DrainIncomplete));
    assert_eq!(
        drained(&world),
        "at the deadline 0/3 pods had gone, 1 blocked, 2 stuck"
    );
}

#[test]
fn a_pod_that_does_not_end_puts_the_deadline_at_risk() {
    let mut world = World::new(
        vec![hook(1)],
        policy(DisruptionBudgets::RespectUntilDeadline),
    );
    world.add_pods(1, 0);
    world.stuck = true;
    world.run_for(89);
    assert_eq!(said(&world.status()), None);
    world.run_for(2);
    assert_eq!(state(&world).as_deref(), Some("True Stuck"));
    world.object.spec.hold = true;
    world.change();
    world.run_for(1);
    assert_eq!(world.phase(), Some(Phase::Waiting));
    assert_eq!(said(&world.status()), None, "nobody is drained");
    assert_eq!(
        world.status().reason,
        Some(SignalKind::AutoScalingTermination)
    );
}
