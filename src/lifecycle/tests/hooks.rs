//! Lifecycle actions: kept alive, completed when it is time, left alone when they are not ours.

mod timeouts;

use jiff::SignedDuration;

use super::world::{NOTICE, World, at, hook, is_released, spot};
use crate::api::Time;
use crate::api::condition::{self, Condition};
use crate::api::policy::{Action, DisruptionBudgets, Heartbeat, Mode, OnDrainFailure};
use crate::api::termination::{
    EffectivePolicy, LifecycleActionState, LifecycleActionStatus, Outcome, Phase, Signal,
};
use crate::lifecycle::effect::LifecycleResult;
use crate::lifecycle::{Effect, HookTimeout};

pub(super) fn beating(interval_seconds: u32, until_seconds: u32) -> EffectivePolicy {
    let mut policy = EffectivePolicy::default();
    policy.lifecycle.heartbeat = Some(Heartbeat {
        interval_seconds,
        until_seconds,
    });
    policy
}

pub(super) fn said(world: &World, kind: &str) -> Condition {
    condition::find(&world.status().conditions, kind)
        .unwrap()
        .clone()
}

fn known(seconds: i64) -> HookTimeout {
    HookTimeout::Known {
        heartbeat: SignedDuration::from_secs(seconds),
        global: SignedDuration::from_secs(100 * seconds),
    }
}

/// A drain that never ends: a budget without room, which the policy respects.
pub(super) fn blocked(mut policy: EffectivePolicy, on_drain_failure: OnDrainFailure) -> World {
    policy.drain.disruption_budgets = DisruptionBudgets::Respect;
    policy.lifecycle.on_drain_failure = on_drain_failure;
    let mut world = World::new(vec![hook(1)], policy);
    world.allowed = 0;
    world.add_pods(0, 1);
    world.crash();
    world
}

fn beats(world: &World) -> &[i64] {
    &world.actions[&hook(1).id].beats
}

pub(super) fn completed(world: &World) -> &[LifecycleResult] {
    &world.actions[&hook(1).id].completed
}

fn recorded(world: &World) -> LifecycleActionStatus {
    world.status().lifecycle_actions[0].clone()
}

#[test]
fn a_drain_that_fails_ends_as_the_policy_says() {
    for (choice, result, state) in [
        (
            OnDrainFailure::Continue,
            Some(LifecycleResult::Continue),
            LifecycleActionState::Completed,
        ),
        (
            OnDrainFailure::Abandon,
            Some(LifecycleResult::Abandon),
            LifecycleActionState::Completed,
        ),
        (OnDrainFailure::Wait, None, LifecycleActionState::Left),
    ] {
        let mut world = blocked(EffectivePolicy::default(), choice);
        assert!(world.run(400, is_released), "{choice:?}");
        assert_eq!(world.end(), Some(Outcome::DrainIncomplete));
        assert_eq!(completed(&world), result.as_slice());
        assert_eq!(recorded(&world).state, state);
        assert_eq!(
            world.status().blocked.len(),
            1,
            "the record names who stayed"
        );
        world.node = None;
        world.dirty = true;
        world.run_for(2);
        assert_eq!(world.phase(), Some(Phase::Failed));
        let stalled = condition::holds(&world.status().conditions, "Stalled");
        assert!(stalled && !condition::holds(&world.status().conditions, "Ready"));
    }
}

#[test]
fn a_late_hook_that_is_not_read_yet_or_can_not_be_does_not_end_the_drain_before_it_begins() {
    for (timeout, with_spot) in [
        (known(3600), true),
        (known(3600), false),
        (HookTimeout::Unknown("throttled".into()), true),
        (HookTimeout::Unknown("throttled".into()), false),
    ] {
        let late = Time(at(NOTICE - 300));
        let mut signals = vec![Signal {
            notice_time: late,
            ..hook(1)
        }];
        signals.extend(with_spot.then(spot));
        let mut world = World::new(signals, EffectivePolicy::default());
        world.timeout = timeout;
        world.add_pods(2, 0);
        assert!(world.run(60, is_released));
        assert_eq!(world.end(), Some(Outcome::Drained));
        assert_eq!(world.status().pods.unwrap().summary, "2/2");
    }
}

#[test]
fn under_wait_it_beats_and_drains_on_until_the_action_ends_by_itself() {
    let mut world = blocked(beating(60, 600), OnDrainFailure::Wait);
    world.object.spec.signals.push(spot());
    assert!(
        !world.run(895, is_released),
        "the spot deadline is long over"
    );
    assert_eq!(
        beats(&world),
        [60, 120, 180, 240, 300, 360, 420, 480, 540, 600]
    );
    assert!(world.run(10, is_released));
    assert_eq!(world.now, NOTICE + 900, "the last beat and its time-out");
}

#[test]
fn under_wait_a_budget_that_gets_room_late_still_drains_and_completes() {
    let mut world = blocked(beating(60, 600), OnDrainFailure::Wait);
    world.object.spec.signals.push(spot());
    world.run_for(300);
    world.allowed = 1;
    assert!(world.run(200, is_released), "{:?}", world.status());
    assert_eq!(
        (world.end(), completed(&world)),
        (Some(Outcome::Drained), &[LifecycleResult::Continue][..])
    );
}

#[test]
fn heartbeats_keep_the_grid_over_a_crash_and_end_with_the_completion() {
    let mut world = blocked(beating(60, 3600), OnDrainFailure::Continue);
    world.run_for(100);
    world.crash();
    world.run_for(100);
    assert_eq!(beats(&world), [60, 120, 180]);
    world.allowed = 4;
    world.crash();
    assert!(world.run(200, is_released));
    world.run_for(300);
    assert!(
        beats(&world)
            .iter()
            .all(|second| second % 60 == 0 && *second <= 240)
    );
}

#[test]
fn a_notice_that_comes_late_beats_at_once_and_then_on_the_grid() {
    let mut world = blocked(beating(60, 3600), OnDrainFailure::Continue);
    world.now = NOTICE + 150;
    world.run_for(100);
    assert_eq!(beats(&world), [150, 180, 240]);
}

#[test]
fn an_action_that_is_gone_is_beaten_and_completed_no_more() {
    let mut world = blocked(beating(60, 3600), OnDrainFailure::Continue);
    world.run_for(70);
    world.actions.get_mut(&hook(1).id).unwrap().active = false;
    world.run_for(300);
    assert_eq!(beats(&world), [60]);
    assert_eq!(recorded(&world).state, LifecycleActionState::AlreadyDone);
    let calls = world
        .effects
        .iter()
        .filter(|e| matches!(e, Effect::Heartbeat { .. }))
        .count();
    assert_eq!(calls, 2, "the second one learnt it");
}

#[test]
fn an_interval_that_the_hook_would_not_survive_is_halved_also_on_hold() {
    for hold in [false, true] {
        let mut world = blocked(beating(60, 3600), OnDrainFailure::Continue);
        world.timeout = known(60);
        world.object.spec.hold = hold;
        world.run_for(100);
        assert_eq!(beats(&world), [30, 60, 90], "hold: {hold}");
        assert!(condition::holds(
            &world.status().conditions,
            "HeartbeatShortened"
        ));
    }
}

#[test]
fn hold_freezes_everything_but_heartbeats() {
    let mut world = World::new(vec![hook(1)], beating(60, 3600));
    world.add_pods(2, 0);
    world.object.spec.hold = true;
    world.run_for(200);
    assert_eq!(
        (world.phase(), beats(&world)),
        (Some(Phase::Waiting), &[60, 120, 180][..])
    );
    assert!(world.told.is_empty() && completed(&world).is_empty());
    assert!(!world.node.as_ref().unwrap().unschedulable);
    world.object.spec.hold = false;
    world.change();
    assert!(world.run(100, is_released));
    assert_eq!(completed(&world), [LifecycleResult::Continue]);
}

#[test]
fn heartbeats_that_the_policy_takes_back_are_not_planned_and_go_on_when_it_wants_them_again() {
    let ways: [fn(&mut EffectivePolicy); 2] = [
        |policy| policy.lifecycle.heartbeat = None,
        |policy| policy.mode = Mode::Observe,
    ];
    for take_back in ways {
        let mut world = World::new(vec![hook(1)], beating(60, 3600));
        world.object.spec.hold = true;
        world.run_for(100);
        let policy = world.policy.clone();
        take_back(world.policy.as_mut().unwrap());
        world.dirty = true;
        world.run_for(100);
        assert_eq!(beats(&world), [60]);
        assert_eq!(recorded(&world).next_heartbeat_time, None);
        world.policy = policy;
        world.dirty = true;
        world.run_for(90);
        assert_eq!(beats(&world), [60, 240]);
    }
}

#[test]
fn two_hooks_on_one_instance_are_both_completed_and_one_that_fails_holds_up_no_other() {
    let mut world = World::new(vec![hook(1), hook(2)], EffectivePolicy::default());
    world.add_pods(1, 0);
    world.actions.get_mut(&hook(1).id).unwrap().denied = true;
    assert!(!world.run(100, is_released));
    assert_eq!(
        world.actions[&hook(2).id].completed,
        [LifecycleResult::Continue]
    );
    assert_eq!(
        (world.phase(), completed(&world).len()),
        (Some(Phase::Releasing), 0)
    );
    assert_eq!(recorded(&world).message.as_deref(), Some("denied"));
    world.actions.get_mut(&hook(1).id).unwrap().denied = false;
    assert!(world.run(10, is_released), "tried again by time");
    assert_eq!(completed(&world), [LifecycleResult::Continue]);
}

#[test]
fn a_hook_that_arrives_after_the_release_is_completed_at_once() {
    let mut world = World::new(vec![spot()], EffectivePolicy::default());
    world.add_pods(1, 0);
    assert!(world.run(100, is_released));
    world.run_for(200);
    let now = world.now;
    world.hear(hook(1));
    assert!(world.run(1, is_released));
    assert_eq!(
        (completed(&world), world.now),
        (&[LifecycleResult::Continue][..], now)
    );
}

#[test]
fn the_completion_waits_for_its_delay_but_never_past_the_actions_own_end() {
    for (delay, timeout, crash, done) in [
        (100, 3600, false, 105),
        (100, 3600, true, 105),
        (500, 300, false, 296),
        (500, 3600, true, 505),
    ] {
        let mut policy = EffectivePolicy::default();
        policy.lifecycle.completion_delay_seconds = delay;
        policy.drain.deadline_margin_seconds = 8;
        let mut world = World::new(vec![hook(1)], policy);
        world.timeout = known(timeout);
        world.run_for(20);
        if crash {
            world.crash();
        }
        assert!(world.run(2000, is_released));
        assert_eq!(world.now - NOTICE, done, "{delay} {timeout} {crash}");
    }
}

#[test]
fn under_the_action_cordon_the_hook_is_completed_after_the_cordon() {
    let mut policy = EffectivePolicy::default();
    policy.actions.auto_scaling_termination = Action::Cordon;
    let mut world = World::new(vec![hook(1)], policy);
    world.add_pods(1, 0);
    assert!(world.run(5, is_released));
    assert_eq!(world.end(), Some(Outcome::Cordoned));
    assert!(world.told.is_empty() && world.node.as_ref().unwrap().unschedulable);
    assert_eq!(completed(&world), [LifecycleResult::Continue]);
    let cordon = world
        .effects
        .iter()
        .position(|e| matches!(e, Effect::Cordon { .. }));
    let complete = world
        .effects
        .iter()
        .position(|e| matches!(e, Effect::Complete { .. }));
    assert!(cordon.unwrap() < complete.unwrap());
}

#[test]
fn observe_changes_nothing_anywhere() {
    for by_mode in [true, false] {
        let mut policy = beating(30, 600);
        if by_mode {
            policy.mode = Mode::Observe;
        } else {
            policy.actions.auto_scaling_termination = Action::Observe;
            policy.actions.spot_interruption = Action::Ignore;
        }
        let mut world = World::new(vec![spot(), hook(1)], policy);
        world.add_pods(2, 1);
        world.run_for(1000);
        assert_eq!(world.end(), Some(Outcome::Observed));
        assert_eq!(recorded(&world).state, LifecycleActionState::Left);
        let reads = |e: &Effect| {
            matches!(
                e,
                Effect::OpenView { .. } | Effect::Preview(_) | Effect::CloseView | Effect::Withdraw
            )
        };
        assert!(world.effects.iter().all(reads), "{:?}", world.effects);
    }
}
