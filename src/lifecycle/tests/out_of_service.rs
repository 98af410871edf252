//! The out-of-service taint: by EC2's word alone, where something is left, and off when the machine returns.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::world::{NOTICE, World, at, content, is_released, signal, spot};
use crate::api::Time;
use crate::api::condition;
use crate::api::termination::{AwsAccess, EffectivePolicy, Outcome, Phase, Signal, SignalKind};
use crate::drain::cordon::out_of_service::{is_on, ours};
use crate::lifecycle::Told;

/// A node with a volume that nobody detaches.
fn world(signals: Vec<Signal>, wanted: bool) -> World {
    let mut policy = EffectivePolicy {
        aws: Some(AwsAccess::default()),
        ..EffectivePolicy::default()
    };
    policy.drain.out_of_service_taint = wanted;
    let mut world = World::new(signals, policy);
    world.add_pods(1, 0);
    world.attach(&[1_000_000]);
    world
}

fn went_to(state: &str, second: i64, number: u32) -> Signal {
    Signal {
        notice_time: Time(at(NOTICE + second)),
        deadline: Some(Time(at(NOTICE + second + 120))),
        instance_state: Some(state.to_owned()),
        ..signal(SignalKind::InstanceStateChange, number)
    }
}

fn tainted(world: &World) -> bool {
    world.node.as_ref().is_some_and(is_on)
}

fn told(state: &str) -> Told {
    Told::State(Some(state.to_owned()))
}

fn set_ready(world: &mut World, ready: bool) {
    world.node.as_mut().unwrap().ready = ready;
    world.dirty = true;
}

#[test]
fn it_comes_with_terminated_and_not_with_anything_before() {
    let mut world = world(vec![spot()], true);
    assert!(world.run(150, is_released));
    world.hear(went_to("shutting-down", 121, 1));
    world.run_for(60);
    set_ready(&mut world, false);
    world.run_for(60);
    assert!(!tainted(&world), "neither a time-out nor silence is enough");
    world.hear(went_to("terminated", 180, 2));
    world.run_for(1);
    assert!(tainted(&world));
    assert!(condition::holds(&world.status().conditions, "OutOfService"));
}

#[test]
fn it_comes_in_the_middle_of_a_drain_too() {
    let mut world = world(vec![went_to("shutting-down", 0, 1)], true);
    world.run_for(10);
    world.hear(went_to("terminated", 10, 2));
    world.run_for(1);
    assert!(tainted(&world) && world.phase() == Some(Phase::Draining));
}

#[test]
fn it_does_not_come_unasked_nor_where_nothing_is_left() {
    let terminated = || vec![spot(), went_to("terminated", 0, 1)];
    let mut unasked = world(terminated(), false);
    unasked.run_for(300);
    let mut empty = world(terminated(), true);
    empty.attach(&[]);
    empty.pods.clear();
    empty.run_for(300);
    for world in [unasked, empty] {
        assert!(!tainted(&world));
        assert_eq!(world.asked, 0);
    }
}

#[test]
fn where_nothing_is_heard_ec2_is_asked_once_the_work_is_done_and_believed() {
    for (state, comes) in [
        (Some(told("running")), false),
        (Some(told("shutting-down")), false),
        (Some(told("terminated")), true),
        (Some(told("stopped")), true),
        (Some(Told::State(None)), false),
        (Some(Told::Failed("AccessDenied", "no".into())), false),
    ] {
        let mut world = world(vec![spot()], true);
        world.state.clone_from(&state);
        world.run_for(100);
        assert_eq!(world.asked, 0, "not before the release");
        set_ready(&mut world, false);
        world.run_for(60);
        assert!(world.asked > 0);
        assert_eq!(tainted(&world), comes, "{state:?}");
        let said = world.status().conditions;
        let said = condition::find(&said, "OutOfService").map(|c| c.reason.clone());
        if let Some(Told::Failed(..)) = state {
            assert_eq!(said.as_deref(), Some("CallFailed"));
        }
    }
}

#[test]
fn a_stopped_machine_whose_node_is_ready_is_not_believed_to_be_stopped() {
    let mut world = world(
        vec![went_to("stopping", 0, 1), went_to("stopped", 30, 2)],
        true,
    );
    world.run_for(60);
    assert!(!tainted(&world));
    set_ready(&mut world, false);
    world.run_for(1);
    assert!(tainted(&world));
}

#[test]
fn it_goes_with_the_cordon_when_the_machine_is_back() {
    let mut world = world(
        vec![went_to("stopping", 0, 1), went_to("stopped", 30, 2)],
        true,
    );
    world.run_for(60);
    set_ready(&mut world, false);
    world.run_for(2000);
    assert!(
        tainted(&world) && is_released(&world),
        "for as long as it takes"
    );
    let node = world.node.as_mut().unwrap();
    (node.ready, node.boot_id) = (true, Some("boot-2".into()));
    world.dirty = true;
    world.run_for(5);
    let before = World::new(vec![], EffectivePolicy::default()).node;
    let mut back = content(world.node.as_ref()).unwrap();
    back.boot_id.clone_from(&before.as_ref().unwrap().boot_id);
    assert_eq!(Some(back), content(before.as_ref()));
    assert_eq!(world.phase(), Some(Phase::Completed), "no pod was left");
}

#[test]
fn it_goes_alone_when_the_machine_runs_again_and_the_cordon_is_still_needed() {
    for by_signal in [true, false] {
        let mut world = world(vec![spot(), went_to("stopped", 30, 1)], true);
        set_ready(&mut world, false);
        assert!(world.run(200, |w| is_released(w) && tainted(w)));
        if by_signal {
            world.hear(went_to("running", 300, 2));
        } else {
            set_ready(&mut world, true);
        }
        world.run_for(5);
        let node = world.node.as_ref().unwrap();
        assert!(!tainted(&world) && node.unschedulable, "{by_signal}");
        assert_eq!(ours(node), None);
        assert!(!condition::holds(
            &world.status().conditions,
            "OutOfService"
        ));
    }
}

#[test]
fn what_ec2_said_before_the_machine_came_back_is_not_believed_again() {
    let mut world = world(vec![spot()], true);
    world.state = Some(told("stopped"));
    world.run_for(100);
    set_ready(&mut world, false);
    assert!(world.run(200, tainted));
    world.mute = true;
    set_ready(&mut world, true);
    assert!(world.run(10, |w| !tainted(w)));
    set_ready(&mut world, false);
    world.run_for(10);
    assert!(!tainted(&world), "its kubelet is silent, and it runs");
    world.mute = false;
    world.dirty = true;
    assert!(world.run(10, tainted), "asked anew");
}

#[test]
fn a_stop_that_was_heard_of_is_over_once_the_machine_was_back() {
    for boot in ["boot-1", "boot-2"] {
        let mut world = world(vec![spot(), went_to("stopped", 30, 1)], true);
        set_ready(&mut world, false);
        world.run_for(300);
        assert!(is_released(&world) && tainted(&world));
        set_ready(&mut world, true);
        world.node.as_mut().unwrap().boot_id = Some(boot.into());
        world.run_for(60);
        assert!(!tainted(&world));
        set_ready(&mut world, false);
        world.run_for(60);
        assert!(!tainted(&world), "it runs: {boot}");
        world.state = Some(told("stopped"));
        world.dirty = true;
        world.run_for(60);
        assert!(tainted(&world), "stopped once more: {boot}");
    }
}

proptest! {
    #[test]
    fn whatever_dies_when_it_is_there_after_terminated_only_and_a_cancel_takes_it_off(
        crashes in proptest::collection::btree_map(1..40_usize, 0..6_usize, 0..8),
        after in 1..400_i64,
        asked in any::<bool>(),
    ) {
        let mut world = world(vec![spot()], true);
        world.crashes = BTreeMap::from_iter(crashes);
        world.run_for(after);
        prop_assert!(!tainted(&world));
        if asked {
            world.state = Some(told("terminated"));
            set_ready(&mut world, false);
        } else {
            world.hear(went_to("terminated", after, 1));
        }
        prop_assert!(world.run(200, tainted), "{:?}", world.status());
        world.run_for(20);
        world.object.spec.cancel = true;
        world.change();
        prop_assert!(world.run(60, |w| w.phase() == Some(Phase::Canceled)));
        prop_assert_eq!(world.end(), Some(Outcome::Canceled));
        let ready = world.node.as_ref().unwrap().ready;
        let mut bare = world.bare();
        bare.ready = ready;
        prop_assert_eq!(content(world.node.as_ref()), content(Some(&bare)));
    }
}
