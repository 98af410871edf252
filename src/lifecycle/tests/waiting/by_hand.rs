//! Incidents that somebody makes by hand, with nothing but a node's name, and drains that somebody holds.

use super::{by_hand, is_untouched, reach, rebalance, stalled, waits_for};
use crate::api::policy::Mode;
use crate::api::termination::{EffectivePolicy, Outcome, Phase, SignalKind, WaitReason};
use crate::lifecycle::tests::world::{NOTICE, at, content, node};

#[test]
fn a_node_that_is_named_by_hand_is_drained_and_stays_out_of_service() {
    for policy in [Some(EffectivePolicy::default()), None] {
        let mut world = by_hand();
        world.policy = policy;
        reach(&mut world, Phase::Released, 60);
        assert_eq!(world.end(), Some(Outcome::Drained));
        assert_eq!(world.status().reason, Some(SignalKind::Manual));
        let found = world.status().node.unwrap();
        assert_eq!(found.instance_id.as_deref(), Some("i-0a1b2c3d4e5f60718"));
        world.run_for(2000);
        assert_eq!(world.phase(), Some(Phase::Released));
        world.object.spec.cancel = true;
        world.change();
        reach(&mut world, Phase::Canceled, 5);
        assert!(is_untouched(&world));
    }
}

#[test]
fn what_is_named_by_hand_is_that_machine_and_no_later_one_of_its_name() {
    let mut world = by_hand();
    reach(&mut world, Phase::Released, 60);
    let mut another = node();
    another.uid = "another".into();
    world.node = Some(another.clone());
    world.dirty = true;
    reach(&mut world, Phase::Completed, 5);
    assert_eq!(content(world.node.as_ref()), content(Some(&another)));
}

#[test]
fn the_time_of_a_drain_that_is_held_begins_anew_when_nothing_presses() {
    let mut world = by_hand();
    world.object.spec.hold = true;
    world.run_for(1000);
    world.object.spec.hold = false;
    world.change();
    reach(&mut world, Phase::Released, 60);
    assert_eq!(world.end(), Some(Outcome::Drained));

    let mut world = stalled(vec![rebalance()]);
    world.object.spec.hold = true;
    world.change();
    world.run_for(5000);
    world.object.spec.hold = false;
    world.change();
    world.run_for(5);
    assert_eq!(world.phase(), Some(Phase::Draining));
    assert_eq!(world.status().deadline.unwrap().0, at(NOTICE + 5005 + 3600));
}

#[test]
fn a_name_that_no_node_has_fails_after_five_minutes_unless_it_registers() {
    let mut world = by_hand();
    world.node = None;
    world.run_for(10);
    assert_eq!(
        waits_for(&world),
        Some((WaitReason::NodeNotFound, Some(NOTICE + 300)))
    );
    world.run_for(289);
    assert_eq!(world.phase(), Some(Phase::Waiting));
    reach(&mut world, Phase::Failed, 3);
    assert_eq!(world.end(), Some(Outcome::NodeNotFound));

    let mut world = by_hand();
    world.node = None;
    world.run_for(10);
    world.node = Some(node());
    world.dirty = true;
    reach(&mut world, Phase::Released, 60);
}

#[test]
fn what_is_asked_for_by_hand_under_observe_ends_by_itself() {
    let mut world = by_hand();
    world.policy.as_mut().unwrap().mode = Mode::Observe;
    reach(&mut world, Phase::Released, 60);
    reach(&mut world, Phase::Completed, 1000);
    assert_eq!(world.end(), Some(Outcome::Observed));
    assert!(is_untouched(&world));
}
