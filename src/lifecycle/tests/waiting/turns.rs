//! A policy's limit: what does not press waits for its turn.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{OPENS, is_untouched, reach, rebalance, rebalancing, scheduled, waits_for, world_of};
use crate::api::policy::{Action, Heartbeat, Limits, Mode};
use crate::api::termination::{EffectivePolicy, Outcome, Phase, WaitReason};
use crate::lifecycle::tests::world::{hook, spot};

#[test]
fn what_does_not_press_waits_for_its_turn_and_what_presses_does_not() {
    let limited = |mut policy: EffectivePolicy| {
        let max_concurrent = IntOrString::Int(1);
        policy.limits = Limits { max_concurrent };
        policy
    };
    let mut beating = EffectivePolicy::default();
    beating.lifecycle.heartbeat = Some(Heartbeat {
        interval_seconds: 60,
        until_seconds: 7200,
    });
    let drains = rebalancing(Action::CordonAndDrain, None);
    for (signals, policy, waits) in [
        (vec![rebalance()], drains.clone(), true),
        (vec![], EffectivePolicy::default(), true),
        (
            vec![scheduled("instance-stop")],
            EffectivePolicy::default(),
            true,
        ),
        (vec![hook(1)], beating.clone(), true),
        (vec![hook(1)], EffectivePolicy::default(), false),
        (vec![spot()], EffectivePolicy::default(), false),
        (vec![spot(), rebalance()], drains.clone(), false),
    ] {
        let what = format!("{signals:?}");
        let mut world = world_of(signals, limited(policy));
        world.turn_comes = false;
        world.run_for(130);
        assert_eq!(world.phase() == Some(Phase::Waiting), waits, "{what}");
        assert_eq!(is_untouched(&world), waits, "{what}");
        if waits {
            assert_eq!(
                waits_for(&world).unwrap().0,
                WaitReason::LimitReached,
                "{what}"
            );
            let beats = world.actions.values().all(|a| a.beats == [60, 120]);
            assert!(beats, "heartbeats go on: {what}");
            world.turn_comes = true;
            world.dirty = true;
            reach(&mut world, Phase::Released, 60);
        }
    }
}

#[test]
fn a_turn_that_never_comes_ends_when_there_is_just_the_time_for_a_drain() {
    let mut policy = EffectivePolicy::default();
    let max_concurrent = IntOrString::Int(1);
    policy.limits = Limits { max_concurrent };
    let mut world = world_of(vec![scheduled("instance-stop")], policy);
    world.turn_comes = false;
    world.run_for(5);
    assert_eq!(
        waits_for(&world),
        Some((WaitReason::LimitReached, Some(OPENS - 120)))
    );
    world.now = OPENS - 120;
    reach(&mut world, Phase::Released, 60);
}

fn limited(mut policy: EffectivePolicy) -> EffectivePolicy {
    let max_concurrent = IntOrString::Int(1);
    policy.limits = Limits { max_concurrent };
    policy.lifecycle.heartbeat = Some(Heartbeat {
        interval_seconds: 60,
        until_seconds: 7200,
    });
    policy
}

#[test]
fn a_hook_is_ours_as_the_policy_has_it_when_work_begins() {
    let mut world = world_of(vec![hook(1)], limited(EffectivePolicy::default()));
    world.turn_comes = false;
    world.run_for(70);
    assert_eq!(waits_for(&world).unwrap().0, WaitReason::LimitReached);
    world.policy.as_mut().unwrap().mode = Mode::Observe;
    world.dirty = true;
    world.run_for(200);
    let action = world.actions.values().next().unwrap();
    assert!(action.completed.is_empty() && action.beats == [60]);
    assert_eq!(world.end(), Some(Outcome::Observed));
    world.policy.as_mut().unwrap().mode = Mode::Enforce;
    world.turn_comes = true;
    world.dirty = true;
    assert!(world.run(60, |w| w.end() == Some(Outcome::Drained)));
    reach(&mut world, Phase::Released, 10);
    let action = world.actions.values().next().unwrap();
    assert_eq!(action.completed.len(), 1);
}
