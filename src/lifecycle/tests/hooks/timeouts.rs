//! A hook's time-out: known, not to be read, or read late.

use super::{beating, beats, blocked, known};
use crate::api::condition;
use crate::api::policy::OnDrainFailure;
use crate::api::termination::EffectivePolicy;
use crate::lifecycle::HookTimeout;
use crate::lifecycle::tests::world::{NOTICE, World, at, hook, is_released};

#[test]
fn a_hook_whose_time_out_can_not_be_read_goes_by_the_policys_time_and_says_so() {
    let mut world = blocked(EffectivePolicy::default(), OnDrainFailure::Continue);
    world.timeout = HookTimeout::Unknown("AccessDenied".into());
    world.run_for(5);
    assert_eq!(world.status().deadline.unwrap().0, at(NOTICE + 120));
    assert!(condition::holds(
        &world.status().conditions,
        "HookTimeoutUnknown"
    ));
    world.crash();
    world.pass();
    assert!(
        condition::holds(&world.status().conditions, "HookTimeoutUnknown"),
        "not asked yet is not read"
    );
    assert!(world.run(200, is_released));
    assert_eq!(world.now, NOTICE + 116);
}

#[test]
fn a_hook_that_has_to_be_read_again_in_the_middle_of_a_drain_does_not_hold_it_up() {
    let mut world = World::new(vec![hook(1)], EffectivePolicy::default());
    world.timeout = HookTimeout::Unknown("AccessDenied".into());
    world.add_pods(1, 0);
    world.run_for(20);
    world.forget_hooks();
    assert!(world.run(100, is_released));
    assert_eq!(world.now, NOTICE + 30, "when the last pod had gone");
}

#[test]
fn a_hook_that_could_not_be_read_is_read_later_though_nothing_happens_in_the_drain() {
    let mut world = blocked(EffectivePolicy::default(), OnDrainFailure::Continue);
    world.timeout = HookTimeout::Unknown("Throttled".into());
    world.run_for(3);
    let guessed = |w: &World| condition::holds(&w.status().conditions, "HookTimeoutUnknown");
    assert!(guessed(&world));
    world.timeout = known(300);
    assert!(world.run(11, |w| !guessed(w)), "{:?}", world.status());
    assert_eq!(world.status().deadline.unwrap().0, at(NOTICE + 300));
}

#[test]
fn a_new_leader_that_can_not_read_the_hook_goes_by_the_recorded_deadline() {
    let mut world = blocked(EffectivePolicy::default(), OnDrainFailure::Continue);
    world.run_for(20);
    let recorded = world.status().deadline;
    assert_ne!(recorded.as_ref().unwrap().0, at(NOTICE + 120));
    world.timeout = HookTimeout::Unknown("Throttled".into());
    world.crash();
    world.run_for(10);
    assert_eq!(world.status().deadline, recorded);
}

/// The example of aws-node-termination-handler's documentation.
#[test]
fn an_interval_of_1000_s_until_4500_s_beats_four_times_under_a_time_out_of_3000_s() {
    let mut world = blocked(beating(1000, 4500), OnDrainFailure::Continue);
    world.timeout = known(3000);
    world.run_for(6900);
    assert_eq!(beats(&world), [1000, 2000, 3000, 4000]);
    assert_eq!(world.status().deadline.unwrap().0, at(NOTICE + 7000));
}
