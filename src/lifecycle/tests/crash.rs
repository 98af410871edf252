//! Killing the process between any two effects loses nothing and repeats nothing that hurts.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::volumes::reason as detached;
use super::world::{NOTICE, World, content, hook, is_released, signal, told};
use crate::api::Time;
use crate::api::policy::{Action, Heartbeat};
use crate::api::termination::{AwsAccess, EffectivePolicy, Outcome, Phase, SignalKind};
use crate::drain::cordon;
use crate::lifecycle::effect::LifecycleResult;

fn policy(beats: bool) -> EffectivePolicy {
    let mut policy = EffectivePolicy {
        aws: Some(AwsAccess::default()),
        ..EffectivePolicy::default()
    };
    policy.actions.rebalance_recommendation = Action::CordonAndDrain;
    policy.lifecycle.heartbeat = beats.then_some(Heartbeat {
        interval_seconds: 30,
        until_seconds: 600,
    });
    policy
}

#[derive(Clone, Debug)]
struct Setup {
    web: usize,
    db: usize,
    hooks: u32,
    /// Instance metadata tells of the termination too, and so many hooks wait that no other signal names.
    told: bool,
    unnamed: usize,
    cause: Option<SignalKind>,
    beats: bool,
    allowed: i32,
    /// So many volumes are attached, and detached so long after the pods.
    volumes: Vec<i64>,
    crashes: BTreeMap<usize, usize>,
}

/// What is heard beside the hooks; `None`: nothing. Without hooks a person then asks for it.
fn cause() -> impl Strategy<Value = Option<SignalKind>> {
    prop_oneof![
        2 => Just(Some(SignalKind::SpotInterruption)),
        1 => Just(Some(SignalKind::CapacityReservation)),
        1 => Just(Some(SignalKind::InstanceStateChange)),
        1 => Just(Some(SignalKind::ScheduledMaintenance)),
        1 => Just(Some(SignalKind::RebalanceRecommendation)),
        1 => Just(None),
    ]
}

fn setup() -> impl Strategy<Value = Setup> {
    let crashes = proptest::collection::btree_map(1..30_usize, 0..7_usize, 0..6);
    let hooks = (0..3_u32, any::<bool>(), 0..3_usize);
    let settings = (0..4_usize, 0..3_usize, hooks, cause(), any::<bool>());
    let volumes = proptest::collection::vec(prop_oneof![4 => 1..30_i64, 1 => Just(10_000)], 0..3);
    let rest = (0..2_i32, volumes, crashes);
    (settings, rest).prop_map(
        |((web, db, hooks, cause, beats), (allowed, volumes, crashes))| {
            let (hooks, told, unnamed) = hooks;
            Setup {
                web,
                db,
                hooks,
                told,
                unnamed: if told { unnamed } else { 0 },
                cause,
                beats,
                allowed,
                volumes,
                crashes,
            }
        },
    )
}

fn world(setup: &Setup) -> World {
    let hooks = (1..=setup.hooks).map(hook);
    let cause = setup.cause.map(|kind| signal(kind, 0));
    let signals = cause.into_iter().chain(hooks).collect();
    let mut world = World::new(signals, policy(setup.beats));
    if setup.told {
        world.object.spec.signals.push(told());
    }
    for number in 0..setup.unnamed {
        world.wait_in(&format!("hook-{number}"));
    }
    world.allowed = setup.allowed;
    world.add_pods(setup.web, setup.db);
    world.attach(&setup.volumes);
    world.crashes.clone_from(&setup.crashes);
    world
}

/// What was completed so far.
fn completions(world: &World) -> Vec<Vec<LifecycleResult>> {
    let actions = world.actions.values().chain(world.unnamed.values());
    actions.map(|a| a.completed.clone()).collect()
}

proptest! {
    #[test]
    fn a_drain_ends_released_with_every_hook_completed_once_and_no_pod_told_twice(setup in setup()) {
        let mut world = world(&setup);
        prop_assert!(world.run(2000, is_released), "{:?}", world.status());
        prop_assert_eq!(world.end(), Some(Outcome::Drained));
        prop_assert!(world.pods.is_empty());
        let volumes = world.status().volumes;
        prop_assert_eq!(volumes.is_some(), !setup.volumes.is_empty());
        // Nothing is released before the volumes are detached, unless the time is over.
        let over = NOTICE + 120 - 4;
        prop_assert!(world.attached.is_empty() || world.now >= over, "{:?}", world.status());
        let left = volumes.map_or(0, |v| v.left as usize);
        prop_assert!(left > 0 || world.attached.is_empty());
        // A leader that comes at the last moment tells what the one before it saw.
        let unseen = !setup.volumes.is_empty() && detached(&world) == "NotListed";
        prop_assert!(left == 0 || unseen || !world.attached.is_empty());
        let name = world.object.metadata.name.clone().unwrap();
        prop_assert!(cordon::is_closed(world.node.as_ref().unwrap(), &name, &policy(false).cordon));
        for (id, action) in world.actions.iter().chain(&world.unnamed) {
            prop_assert_eq!(&action.completed, &vec![LifecycleResult::Continue], "{}", id);
        }
        prop_assert!(world.told.values().all(|times| *times == 1), "{:?}", world.told);
        prop_assert_eq!(world.told.len(), setup.web + setup.db);
        if setup.allowed > 0 {
            prop_assert_eq!(world.forced, 0);
        }
        world.node = None;
        world.dirty = true;
        prop_assert!(world.run(5, |w| w.phase() == Some(Phase::Completed)));
        world.run_for(2);
        prop_assert!(world.object.metadata.finalizers.iter().all(Vec::is_empty));
    }

    #[test]
    fn a_cancel_at_any_time_leaves_the_node_as_it_was_and_the_hooks_alone(setup in setup(), second in 0..60_i64) {
        let mut world = world(&setup);
        world.run(second, is_released);
        let (told, actions) = (world.told.clone(), completions(&world));
        world.object.spec.cancel = true;
        world.change();
        prop_assert!(world.run(60, |w| w.phase() == Some(Phase::Canceled)), "{:?}", world.status());
        world.run_for(200);
        prop_assert_eq!(content(world.node.as_ref()), content(Some(&world.bare())));
        prop_assert_eq!(told, world.told.clone(), "somebody was told to end after the cancel");
        prop_assert_eq!(actions, completions(&world));
        prop_assert!(world.status().lifecycle_actions.iter().all(|a| a.state.is_over()));
    }

    #[test]
    fn a_deletion_at_any_time_undoes_likewise_and_then_lets_the_object_go(setup in setup(), second in 0..60_i64) {
        let mut world = world(&setup);
        world.run(second, is_released);
        let actions = completions(&world);
        world.object.metadata.deletion_timestamp = Some(Time(super::world::at(world.now)));
        world.change();
        world.run_for(60);
        prop_assert_eq!(content(world.node.as_ref()), content(Some(&world.bare())));
        prop_assert!(world.object.metadata.finalizers.iter().all(Vec::is_empty));
        prop_assert_eq!(actions, completions(&world));
    }
}
