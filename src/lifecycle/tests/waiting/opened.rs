//! A node that somebody opens during its drain: closed again once, then left to them until time presses.

use super::{
    OPENS, by_hand, is_untouched, reach, rebalance, scheduled, stalled, waits_for, world_of,
};
use crate::api::condition;
use crate::api::termination::{EffectivePolicy, Phase, WaitReason};
use crate::lifecycle::tests::world::{World, spot};

fn uncordon(world: &mut World) {
    let node = world.node.as_mut().unwrap();
    (node.unschedulable, node.taints) = (false, vec![]);
    node.resource_version.push('0');
    world.dirty = true;
    world.run_for(2);
}

#[test]
fn a_node_that_somebody_opens_is_closed_again_once_and_then_left_to_them_if_nothing_presses() {
    let mut world = stalled(vec![rebalance()]);
    uncordon(&mut world);
    assert!(world.node.as_ref().unwrap().unschedulable, "closed again");
    assert_eq!(world.phase(), Some(Phase::Draining));
    uncordon(&mut world);
    assert!(is_untouched(&world), "left open, without our taint");
    assert_eq!(waits_for(&world), Some((WaitReason::Uncordoned, None)));
    assert!(condition::holds(&world.status().conditions, "CordonLifted"));
    world.run_for(5000);
    assert_eq!(world.phase(), Some(Phase::Waiting));
    assert!(world.told.is_empty());
    world.node.as_mut().unwrap().unschedulable = true;
    world.dirty = true;
    reach(&mut world, Phase::Draining, 5);

    let mut world = stalled(vec![spot()]);
    for _ in 0..3 {
        uncordon(&mut world);
        assert!(world.node.as_ref().unwrap().unschedulable, "time presses");
    }
}

#[test]
fn a_cordon_of_somebody_else_on_a_node_that_was_left_open_outlives_the_incident() {
    for taken_off in [true, false] {
        let mut world = stalled(vec![rebalance()]);
        uncordon(&mut world);
        let marked = world.node.as_ref().unwrap().cordon.clone();
        uncordon(&mut world);
        let node = world.node.as_mut().unwrap();
        node.unschedulable = true;
        if !taken_off {
            // They were faster than our patch.
            node.cordon = marked;
        }
        world.dirty = true;
        reach(&mut world, Phase::Draining, 5);
        let record = world.node.as_ref().unwrap().cordon.clone();
        assert!(record.is_some_and(|r| !r.unschedulable), "it is theirs");
        world.object.spec.cancel = true;
        world.change();
        reach(&mut world, Phase::Canceled, 5);
        let node = world.node.as_ref().unwrap();
        assert!(node.unschedulable && node.cordon.is_none() && node.taints.is_empty());
    }
}

#[test]
fn pods_that_came_while_the_node_was_open_leave_when_it_is_closed_again() {
    let mut world = by_hand();
    reach(&mut world, Phase::Released, 60);
    uncordon(&mut world);
    uncordon(&mut world);
    assert_eq!(waits_for(&world), Some((WaitReason::Uncordoned, None)));
    let told = world.told.len();
    world.add_pods(3, 0);
    for pod in &mut world.pods {
        pod.uid.push_str("-new");
        pod.name.push_str("-new");
    }
    world.node.as_mut().unwrap().unschedulable = true;
    world.dirty = true;
    reach(&mut world, Phase::Released, 60);
    assert_eq!(world.told.len(), told + 3);
}

#[test]
fn a_node_that_was_left_open_is_closed_when_its_window_presses() {
    let mut world = world_of(vec![scheduled("system-reboot")], EffectivePolicy::default());
    world.now = OPENS - 3000;
    reach(&mut world, Phase::Released, 60);
    uncordon(&mut world);
    uncordon(&mut world);
    let presses = Some((WaitReason::Uncordoned, Some(OPENS - 120)));
    assert_eq!(waits_for(&world), presses);
    world.now = OPENS - 120;
    world.run_for(5);
    assert!(world.node.as_ref().unwrap().unschedulable);
}

#[test]
fn a_node_that_was_left_open_is_given_back_open_whenever_the_leader_dies_that_closes_it() {
    for pass in 1..=5 {
        let mut world = world_of(vec![scheduled("system-reboot")], EffectivePolicy::default());
        world.now = OPENS - 3000;
        reach(&mut world, Phase::Released, 60);
        uncordon(&mut world);
        uncordon(&mut world);
        world.now = OPENS - 120;
        world.crashes.insert(world.passes + pass, 1);
        world.run_for(5);
        assert!(world.node.as_ref().unwrap().unschedulable, "in pass {pass}");
        world.object.spec.cancel = true;
        world.change();
        reach(&mut world, Phase::Canceled, 5);
        assert!(is_untouched(&world), "in pass {pass}");
    }
}
