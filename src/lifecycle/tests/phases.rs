//! Each phase: what leads to it, what kstatus reads, and what is done to the node.

use k8s_openapi::api::core::v1::Taint;

use super::world::{NOTICE, World, at, content, hook, is_released, node, spot};
use crate::api::Time;
use crate::api::condition;
use crate::api::policy::Action;
use crate::api::termination::{EffectivePolicy, Outcome, Phase};
use crate::drain::Node;
use crate::lifecycle::{Effect, Machine};

fn spot_world() -> World {
    let mut world = World::new(vec![spot()], EffectivePolicy::default());
    world.add_pods(1, 0);
    world
}

/// Ready, Reconciling and Stalled; and Ready's reason.
fn kstatus(world: &World) -> (bool, bool, bool, String) {
    let conditions = world.status().conditions;
    let holds = |kind| condition::holds(&conditions, kind);
    let reason = condition::find(&conditions, "Ready")
        .unwrap()
        .reason
        .clone();
    (
        holds("Ready"),
        holds("Reconciling"),
        holds("Stalled"),
        reason,
    )
}

type Change = fn(&mut World);

#[test]
fn kstatus_reads_every_phase() {
    let run = |change: Change, seconds: i64| {
        let mut world = spot_world();
        change(&mut world);
        world.run_for(seconds);
        world
    };
    let held: Change = |w| w.object.spec.hold = true;
    let canceled: Change = |w| w.object.spec.cancel = true;
    let mismatched: Change = |w| w.node.as_mut().unwrap().instance_id = Some("i-00000000".into());
    for (change, seconds, phase, ready, reconciling, stalled) in [
        ((|_| {}) as Change, 1, Phase::Draining, false, true, false),
        (held, 1, Phase::Waiting, true, false, false),
        (|_| {}, 60, Phase::Released, true, false, false),
        (|_| {}, 1000, Phase::Completed, true, false, false),
        (canceled, 1, Phase::Canceled, true, false, false),
        (mismatched, 1, Phase::Failed, false, false, true),
    ] {
        let world = run(change, seconds);
        assert_eq!(world.phase(), Some(phase));
        let reason = if phase == Phase::Waiting {
            "Held"
        } else {
            phase.as_str()
        };
        assert_eq!(
            kstatus(&world),
            (ready, reconciling, stalled, reason.to_owned())
        );
    }
    let mut world = spot_world();
    world.pass();
    assert_eq!(world.phase(), Some(Phase::Pending));
    assert_eq!(kstatus(&world), (false, true, false, "Pending".to_owned()));
    let mut world = World::new(vec![hook(1)], EffectivePolicy::default());
    world.actions.get_mut(&hook(1).id).unwrap().denied = true;
    world.run_for(20);
    assert_eq!(world.phase(), Some(Phase::Releasing));
    assert_eq!(
        kstatus(&world),
        (false, true, false, "Releasing".to_owned())
    );
}

#[test]
fn another_machine_is_never_touched() {
    for (change, phase, outcome) in [
        (
            (|n| n.instance_id = Some("i-00000000".into())) as fn(&mut Node),
            Phase::Failed,
            Outcome::IdentityMismatch,
        ),
        (
            |n| n.uid = "another".into(),
            Phase::Completed,
            Outcome::NodeGone,
        ),
    ] {
        let mut world = World::new(vec![hook(1)], EffectivePolicy::default());
        world.add_pods(1, 0);
        change(world.node.as_mut().unwrap());
        let before = content(world.node.as_ref());
        world.run_for(50);
        assert_eq!((world.phase(), world.end()), (Some(phase), Some(outcome)));
        assert_eq!(content(world.node.as_ref()), before);
        assert!(world.told.is_empty());
        assert!(
            world
                .status()
                .lifecycle_actions
                .iter()
                .all(|a| a.state.is_over())
        );
    }
}

#[test]
fn the_machine_is_the_node_of_that_uid_and_instance() {
    let world = spot_world();
    let node = node();
    let renamed = Node {
        uid: "u2".into(),
        ..node.clone()
    };
    let nameless = Node {
        instance_id: None,
        ..node.clone()
    };
    for (seen, machine) in [
        (Some(&node), Machine::Present(&node)),
        (Some(&renamed), Machine::Replaced),
        (Some(&nameless), Machine::Mismatch),
        (None, Machine::Gone),
    ] {
        assert_eq!(Machine::of(&world.object, seen), machine);
    }
}

#[test]
fn an_outage_that_an_incident_was_open_in_is_told_afterwards() {
    let mut world = spot_world();
    world.object.metadata.creation_timestamp = Some(Time(at(world.now)));
    world.run_for(5);
    let (since, until) = (world.now, world.now + 30);
    world.run_for(40);
    world.outage = Some((at(since), at(until)));
    world.dirty = true;
    world.run_for(10);
    let status = world.status();
    let said = condition::find(&status.conditions, "APIAvailable").unwrap();
    let words = format!("no answer from {:.0} until {:.0}", at(since), at(until));
    assert!(said.message.ends_with(&words), "{}", said.message);
    // It was before this one.
    let mut later = spot_world();
    later.object.metadata.creation_timestamp = Some(Time(at(later.now)));
    later.outage = Some((at(later.now - 90), at(later.now - 60)));
    later.run_for(10);
    let told = condition::find(&later.status().conditions, "APIAvailable").is_some();
    assert!(!told);
}

#[test]
fn without_a_policy_nothing_is_done() {
    let mut world = World::new(vec![spot(), hook(1)], EffectivePolicy::default());
    world.add_pods(1, 0);
    world.policy = None;
    world.run_for(100);
    assert_eq!(
        (world.phase(), world.end()),
        (Some(Phase::Completed), Some(Outcome::NoPolicy))
    );
    assert_eq!(content(world.node.as_ref()), content(Some(&node())));
    assert!(world.told.is_empty() && world.actions[&hook(1).id].active);
}

#[test]
fn a_policy_that_is_deleted_mid_drain_changes_nothing() {
    let mut world = spot_world();
    world.run_for(1);
    world.policy = None;
    world.crash();
    assert!(world.run(100, is_released));
    assert_eq!(world.end(), Some(Outcome::Drained));
}

#[test]
fn after_the_release_it_stays_open_for_900_seconds_or_until_the_node_goes() {
    let mut world = spot_world();
    assert!(world.run(100, is_released));
    let released = world.status().released_at.unwrap().0;
    assert!(world.run(1000, |w| w.phase() == Some(Phase::Completed)));
    assert_eq!(
        at(world.now),
        released + jiff::SignedDuration::from_secs(900)
    );
    let mut world = spot_world();
    assert!(world.run(100, is_released));
    world.node = None;
    world.dirty = true;
    world.run_for(0);
    assert_eq!(
        (world.phase(), world.end()),
        (Some(Phase::Completed), Some(Outcome::Drained))
    );
}

#[test]
fn a_stronger_signal_after_the_release_starts_the_linger_anew() {
    let mut policy = EffectivePolicy::default();
    policy.actions.auto_scaling_termination = Action::Observe;
    let mut world = World::new(vec![hook(1)], policy);
    world.add_pods(1, 0);
    assert!(world.run(5, is_released));
    world.run_for(850);
    let mut late = spot();
    late.notice_time = Time(at(world.now));
    late.deadline = Some(Time(at(world.now + 120)));
    world.hear(late);
    assert!(
        world.run(60, |w| is_released(w) && w.end() == Some(Outcome::Drained)),
        "{:?}",
        world.status()
    );
    world.run_for(100);
    assert_eq!(
        world.phase(),
        Some(Phase::Released),
        "not 900 s after the first release"
    );
}

#[test]
fn the_first_effect_of_all_is_the_cordon_and_the_finalizer_comes_when_it_is_seen() {
    let mut world = World::new(vec![spot(), hook(1)], EffectivePolicy::default());
    world.now = NOTICE + 30;
    let decision = world.pass();
    let [Effect::Cordon { .. }] = &decision.effects[..] else {
        panic!("{:?}", decision.effects)
    };
    assert!(world.pass().effects.contains(&Effect::AddFinalizer));
}

#[test]
fn a_node_that_somebody_opens_is_closed_again_while_the_incident_is_open() {
    for seconds in [2, 100] {
        let mut world = spot_world();
        world.run_for(seconds);
        world.node.as_mut().unwrap().unschedulable = false;
        world.dirty = true;
        world.run_for(1);
        assert!(world.node.as_ref().unwrap().unschedulable);
    }
}

#[test]
fn what_was_closed_before_stays_closed_after_the_undo() {
    let mut world = spot_world();
    let foreign = Node {
        unschedulable: true,
        taints: vec![Taint {
            key: "maintenance".into(),
            effect: "NoSchedule".into(),
            value: None,
            time_added: None,
        }],
        ..node()
    };
    world.node = Some(foreign.clone());
    world.run_for(5);
    assert_ne!(content(world.node.as_ref()), content(Some(&foreign)));
    world.object.spec.cancel = true;
    world.change();
    world.run_for(2);
    assert_eq!(content(world.node.as_ref()), content(Some(&foreign)));
}

#[test]
fn pods_that_arrive_late_are_moved_too_and_drained_is_said_after_five_quiet_seconds() {
    let mut world = spot_world();
    world.run_for(10);
    world.add_pods(0, 1);
    world.arrived = world.now;
    world.dirty = true;
    assert!(world.run(100, is_released));
    assert_eq!(world.told.len(), 2);
    let drained = world.status().drained_at.unwrap().0;
    assert_eq!(
        drained,
        at(NOTICE + 10 + 30),
        "both have gone by then, and it was quiet"
    );
    let mut empty = World::new(vec![spot()], EffectivePolicy::default());
    assert!(empty.run(100, is_released));
    assert_eq!(empty.now, NOTICE + 5);
}

#[test]
fn a_spot_node_is_empty_before_its_deadline_whatever_the_budget_says() {
    let mut world = World::new(vec![spot()], EffectivePolicy::default());
    world.allowed = 0;
    world.add_pods(1, 3);
    world.crash();
    assert!(world.run(113, is_released), "{:?}", world.status());
    assert_eq!((world.end(), world.forced), (Some(Outcome::Drained), 3));
    assert_eq!(world.status().pods.unwrap().forced, 3);
}

#[test]
fn the_counts_go_on_where_a_dead_leader_left_them() {
    let mut world = World::new(vec![spot()], EffectivePolicy::default());
    world.add_pods(1, 2);
    world.run_for(32);
    world.crash();
    assert!(world.run(100, is_released));
    let pods = world.status().pods.unwrap();
    assert!(pods.total <= 3 && pods.gone == pods.total, "{pods:?}");
}
