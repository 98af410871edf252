//! Lifecycle actions that instance metadata told of: found, kept alive and completed by instance, or said not to be ours.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::world::{NOTICE, World, at, hook, is_released, spot, told};
use crate::api::Time;
use crate::api::condition::{self, Condition};
use crate::api::policy::{Action, Heartbeat, Limits, Mode};
use crate::api::termination::{
    AwsAccess, EffectivePolicy, LifecycleActionState, LifecycleHook, Outcome, Phase, Signal,
};
use crate::lifecycle::effect::LifecycleResult;
use crate::lifecycle::found::FoundHook;
use crate::lifecycle::{Effect, HookTimeout, Lookup};

fn policy() -> EffectivePolicy {
    EffectivePolicy {
        aws: Some(AwsAccess::default()),
        ..EffectivePolicy::default()
    }
}

fn beating(interval_seconds: u32, until_seconds: u32) -> EffectivePolicy {
    let mut policy = policy();
    policy.lifecycle.heartbeat = Some(Heartbeat {
        interval_seconds,
        until_seconds,
    });
    policy
}

/// A node that metadata tells about, and whose instance waits in these hooks.
fn world(policy: EffectivePolicy, hooks: &[&str]) -> World {
    let mut world = World::new(vec![told()], policy);
    world.add_pods(1, 0);
    for hook in hooks {
        world.wait_in(hook);
    }
    world
}

fn states(world: &World) -> Vec<(String, LifecycleActionState)> {
    let actions = world.status().lifecycle_actions;
    actions
        .into_iter()
        .map(|a| (a.hook_name, a.state))
        .collect()
}

fn said(world: &World) -> Condition {
    let conditions = world.status().conditions;
    condition::find(&conditions, "LifecycleCompleted")
        .unwrap()
        .clone()
}

/// How often the hooks were looked up.
fn lookups(world: &World) -> usize {
    let looks = |e: &&Effect| matches!(e, Effect::FindHooks { .. });
    world.effects.iter().filter(looks).count()
}

fn position(world: &World, fits: impl Fn(&Effect) -> bool) -> usize {
    world.effects.iter().position(fits).unwrap()
}

/// The same hook, named by the queue.
fn named(hook: &str, notice: i64) -> Signal {
    Signal {
        lifecycle_hook: Some(LifecycleHook {
            auto_scaling_group_name: "workers".into(),
            hook_name: hook.into(),
            ..LifecycleHook::default()
        }),
        notice_time: Time(at(notice)),
        ..super::world::hook(7)
    }
}

#[test]
fn hooks_that_are_found_are_both_kept_alive_and_completed_after_the_drain() {
    let mut world = world(beating(10, 600), &["drain", "logs"]);
    assert!(world.run(100, is_released), "{:?}", world.status());
    let done = |name: &str| (name.to_owned(), LifecycleActionState::Completed);
    assert_eq!(states(&world), [done("drain"), done("logs")]);
    for action in world.unnamed.values() {
        assert_eq!(action.completed, [LifecycleResult::Continue]);
        assert_eq!(action.beats, [10, 20, 30]);
    }
    assert_eq!(world.end(), Some(Outcome::Drained));
    assert_eq!(lookups(&world), 1);
    let cordoned = position(&world, |e| matches!(e, Effect::Cordon { .. }));
    let found = position(&world, |e| matches!(e, Effect::FindHooks { .. }));
    assert!(cordoned < found, "nothing of AWS before the cordon");
    assert_eq!(said(&world).status, "True");
}

#[test]
fn the_deadline_is_the_earliest_of_the_hooks_that_were_found() {
    for (policy, after) in [(policy(), 300), (beating(60, 600), 900)] {
        let mut world = world(policy, &["drain"]);
        world.run_for(2);
        assert_eq!(world.status().deadline.unwrap().0, at(NOTICE + after));
    }
}

#[test]
fn a_drain_is_neither_cut_nor_given_up_by_a_guess_before_the_hook_was_looked_up() {
    let mut world = world(policy(), &["drain"]);
    // By the policy's own time the instance would be gone.
    world.object.spec.signals[0].notice_time = Time(at(NOTICE - 200));
    assert!(world.run(100, is_released), "{:?}", world.status());
    assert_eq!(world.end(), Some(Outcome::Drained));
    assert_eq!(world.status().deadline.unwrap().0, at(NOTICE + 100));
    assert_eq!(world.now, NOTICE + 30, "with all of its grace");
}

#[test]
fn under_the_action_cordon_a_found_hook_is_completed_after_the_cordon_and_after_it_is_on_record() {
    let mut policy = policy();
    policy.actions.auto_scaling_termination = Action::Cordon;
    let mut world = world(policy, &["drain"]);
    assert!(world.run(20, is_released), "{:?}", world.status());
    assert_eq!(world.unnamed["drain"].completed.len(), 1);
    assert!(world.told.is_empty());
}

#[test]
fn a_hook_that_another_signal_names_is_that_signals_and_completed_once() {
    // The queue's notice comes first, at once after the lookup, or when all is over.
    for second in [0, 2, 60] {
        let mut world = world(policy(), &["drain", "logs"]);
        world.run_for(second);
        // One action in Auto Scaling, whoever names it.
        let waiting = world.unnamed["drain"].active;
        world.hear(named("drain", NOTICE));
        let id = named("drain", NOTICE).id;
        world.actions.get_mut(&id).unwrap().active = waiting;
        assert!(
            world.run(100, is_released),
            "{second}: {:?}",
            world.status()
        );
        let calls = |name: &str| {
            let about = |e: &&Effect| matches!(e, Effect::Complete { action, .. } if action.hook_name == name);
            world.effects.iter().filter(about).count()
        };
        assert_eq!((calls("drain"), calls("logs")), (1, 1), "{second}");
        let over = |(_, state): &(String, LifecycleActionState)| state.is_over();
        assert!(states(&world).iter().all(over));
        assert_eq!(world.unnamed["logs"].completed.len(), 1);
    }
}

#[test]
fn a_later_termination_in_the_same_hook_is_completed_with_its_own_token() {
    let mut world = world(policy(), &["drain"]);
    assert!(world.run(100, is_released));
    world.run_for(30);
    let again = named("drain", world.now);
    world.hear(again.clone());
    world.run_for(5);
    assert_eq!(world.actions[&again.id].completed.len(), 1);
}

#[test]
fn what_is_not_in_reach_is_said_and_holds_up_nothing() {
    let failed = |denied| Lookup::Failed {
        message: "no".into(),
        denied,
        again_at: at(NOTICE + 1000),
    };
    for (aws, answer, status, reason) in [
        (false, None, "False", "NotOurs"),
        (
            true,
            Some(Lookup::NotOurs("foreign".into())),
            "False",
            "NotOurs",
        ),
        (true, Some(failed(true)), "False", "CallFailed"),
        (
            true,
            Some(Lookup::Nothing("none".into())),
            "True",
            "NothingWaits",
        ),
    ] {
        let mut policy = policy();
        policy.aws = policy.aws.filter(|_| aws);
        let mut world = world(policy, &["drain"]);
        world.lookup = answer;
        assert!(world.run(100, is_released), "{:?}", world.status());
        assert_eq!(world.now, NOTICE + 30, "when the pod had gone");
        let said = said(&world);
        assert_eq!(
            (said.status.as_str(), said.reason.as_str()),
            (status, reason)
        );
        let guessed = condition::holds(&world.status().conditions, "HookTimeoutUnknown");
        assert_eq!(guessed, status == "False");
        assert_eq!(lookups(&world), usize::from(aws));
        assert!(world.unnamed["drain"].active);
        assert_eq!(world.status().deadline.unwrap().0, at(NOTICE + 120));
    }
}

#[test]
fn a_lookup_that_fails_is_tried_again_and_the_release_waits_for_it() {
    let mut world = world(policy(), &["drain"]);
    world.lookup = Some(Lookup::Failed {
        message: "Throttled".into(),
        denied: false,
        again_at: at(NOTICE + 50),
    });
    world.run_for(49);
    assert_eq!(
        world.phase(),
        Some(Phase::Releasing),
        "the drain waited not"
    );
    assert_eq!(said(&world).reason, "CallFailed");
    world.lookup = None;
    assert!(world.run(10, is_released), "{:?}", world.status());
    assert_eq!(world.unnamed["drain"].completed.len(), 1);
    assert_eq!(lookups(&world), 2);
}

#[test]
fn an_instance_that_does_not_wait_yet_is_completed_once_it_does() {
    let timeout = HookTimeout::Known {
        heartbeat: SignedDuration::from_secs(300),
        global: SignedDuration::from_secs(30_000),
    };
    let found = FoundHook {
        group: "workers".into(),
        hook: "drain".into(),
        timeout,
    };
    let mut world = world(beating(10, 600), &["drain"]);
    world.lookup = Some(Lookup::Soon {
        hooks: vec![found],
        state: "Terminating".into(),
        again_at: at(NOTICE + 200),
    });
    world.run_for(100);
    assert_eq!(world.status().deadline.unwrap().0, at(NOTICE + 900));
    assert_eq!(world.phase(), Some(Phase::Releasing));
    assert!(said(&world).message.contains("Terminating"));
    assert!(world.unnamed["drain"].completed.is_empty());
    world.lookup = None;
    assert!(world.run(110, is_released), "{:?}", world.status());
    assert_eq!(world.unnamed["drain"].completed.len(), 1);
}

#[test]
fn metadata_that_tells_after_the_release_takes_the_incident_back_to_complete_the_hook() {
    let mut world = World::new(vec![spot()], policy());
    world.add_pods(1, 0);
    assert!(world.run(100, is_released));
    world.run_for(10);
    world.wait_in("drain");
    world.hear(told());
    assert!(world.run(10, |w| is_released(w) && !w.unnamed["drain"].active));
    assert_eq!(world.unnamed["drain"].completed.len(), 1);
}

#[test]
fn a_new_leader_asks_not_again_once_the_incident_is_released() {
    let mut world = world(policy(), &["drain"]);
    world.lookup = Some(Lookup::Nothing("none".into()));
    assert!(world.run(100, is_released));
    let before = lookups(&world);
    world.crash();
    world.run_for(20);
    assert_eq!(
        (lookups(&world), world.phase()),
        (before, Some(Phase::Released))
    );
}

#[test]
fn a_found_hook_that_is_kept_alive_waits_for_its_turn_and_one_that_is_not_does_not() {
    for (policy, waits) in [(beating(30, 600), true), (policy(), false)] {
        let max_concurrent = IntOrString::Int(1);
        let limits = Limits { max_concurrent };
        let mut world = world(EffectivePolicy { limits, ..policy }, &["drain"]);
        world.turn_comes = false;
        world.run_for(100);
        assert_eq!(world.phase() == Some(Phase::Waiting), waits);
        assert_eq!(
            world.unnamed["drain"].beats.len(),
            if waits { 3 } else { 0 }
        );
        world.turn_comes = true;
        world.dirty = true;
        assert!(world.run(100, is_released));
        assert_eq!(world.unnamed["drain"].completed.len(), 1);
    }
}

#[test]
fn on_hold_found_hooks_are_kept_alive_and_not_completed() {
    let mut world = world(beating(30, 600), &["drain"]);
    world.object.spec.hold = true;
    world.run_for(100);
    assert_eq!(world.unnamed["drain"].beats, [30, 60, 90]);
    assert!(world.unnamed["drain"].completed.is_empty() && world.told.is_empty());
}

#[test]
fn when_the_machine_goes_the_found_hook_is_completed_and_an_unreachable_one_given_up_at_the_deadline()
 {
    let mut reached = world(policy(), &["drain"]);
    reached.run_for(3);
    reached.node = None;
    reached.pods.clear();
    reached.dirty = true;
    reached.run_for(10);
    assert_eq!(reached.phase(), Some(Phase::Completed));
    assert_eq!(reached.unnamed["drain"].completed.len(), 1);
    let mut unreached = world(policy(), &["drain"]);
    unreached.lookup = Some(Lookup::Failed {
        message: "Unavailable".into(),
        denied: false,
        again_at: at(NOTICE + 125),
    });
    unreached.run_for(3);
    unreached.node = None;
    unreached.pods.clear();
    unreached.dirty = true;
    unreached.run_for(100);
    assert_eq!(unreached.phase(), Some(Phase::Releasing));
    unreached.run_for(30);
    assert_eq!(unreached.phase(), Some(Phase::Completed));
}

#[test]
fn observing_looks_nothing_up() {
    let mut policy = beating(30, 600);
    policy.mode = Mode::Observe;
    let mut world = world(policy, &["drain"]);
    world.run_for(1000);
    assert_eq!(world.end(), Some(Outcome::Observed));
    assert!(!world.effects.iter().any(Effect::is_of_aws));
}

#[test]
fn of_two_hooks_one_that_can_not_be_completed_is_beaten_on_and_the_other_drops_nothing() {
    let mut world = World::new(vec![hook(1), hook(2)], beating(30, 600));
    world.add_pods(1, 0);
    let refused = hook(1).id;
    world.actions.get_mut(&refused).unwrap().denied = true;
    assert!(!world.run(200, is_released));
    let other = &world.actions[&hook(2).id];
    assert_eq!(other.completed, [LifecycleResult::Continue]);
    assert!(other.beats.iter().all(|second| *second <= 30));
    assert_eq!(world.actions[&refused].beats, [30, 60, 90, 120, 150, 180]);
    world.actions.get_mut(&refused).unwrap().denied = false;
    assert!(world.run(20, is_released));
    assert_eq!(world.actions[&refused].completed.len(), 1);
}
