//! What is said of pods that do not go, that come back, and of the operator's own.

use jiff::SignedDuration;

use super::world::{NOTICE, World, at, hook, is_released, spot};
use crate::api::condition;
use crate::api::termination::{BlockReason, EffectivePolicy, LeftReason, Outcome};
use crate::drain::pod::{Deletion, Phase as PodPhase};
use crate::drain::select::tests::pod;
use crate::lifecycle::{Effect, happenings};

fn world(pods: usize) -> World {
    let mut world = World::new(vec![hook(1)], EffectivePolicy::default());
    world.add_pods(pods, 0);
    world
}

#[test]
fn a_pod_that_does_not_end_is_named_with_its_finalizers_or_its_silent_kubelet_and_never_forced() {
    for (ready, finalizers, reason, words) in [
        (true, vec![], BlockReason::Stuck, "has not reported its end"),
        (
            true,
            vec!["example.com/hold".to_owned()],
            BlockReason::Stuck,
            "finalizers: example.com/hold",
        ),
        (
            false,
            vec![],
            BlockReason::KubeletUnresponsive,
            "its node is not Ready",
        ),
    ] {
        let mut world = world(1);
        world.stuck = true;
        world.pods[0].finalizers = finalizers;
        world.node.as_mut().unwrap().ready = ready;
        world.run_for(100);
        let status = world.status();
        let named = &status.blocked[0];
        assert_eq!((named.reason, named.pod.as_str()), (reason, "web/web-0"));
        assert!(named.message.contains(words), "{}", named.message);
        assert_eq!(named.force_time, None);
        assert_eq!(status.pods.unwrap().stuck, 1);
        world.run_for(250);
        assert_eq!(world.end(), Some(Outcome::DrainIncomplete));
        assert_eq!((world.forced, world.told.values().sum::<u32>()), (0, 1));
    }
}

#[test]
fn a_new_leader_goes_on_saying_who_is_blocked_and_since_when() {
    // A budget without room for the moment, and one that never has room.
    for expected in [9, 1] {
        let mut world = World::new(vec![hook(1)], EffectivePolicy::default());
        (world.allowed, world.expected) = (0, expected);
        world.add_pods(0, 1);
        world.tell_budget();
        world.run_for(20);
        let before = world.status();
        assert_eq!(before.blocked.len(), 1);
        world.crash();
        for _ in 0..10 {
            world.turn();
            let after = world.status();
            assert_eq!(after.blocked, before.blocked, "at {}", world.now - NOTICE);
            let news = happenings(&world.object, &before, &after);
            assert_eq!(news, [], "told once");
            world.run_for(1);
        }
    }
}

#[test]
fn a_pod_whose_deletion_is_refused_too_is_not_said_to_be_forced_in_the_past() {
    let mut world = world(1);
    world.webhook = true;
    let said = |world: &World| {
        let status = world.status();
        let drained = condition::find(&status.conditions, "Drained").unwrap();
        drained.message.clone()
    };
    world.run_for(5);
    let force = world.status().blocked[0].force_time.clone().unwrap();
    assert!(said(&world).contains(&format!("it is forced at {:.0}", force.0)));
    while at(world.now) <= force.0 {
        world.run_for(1);
    }
    world.run_for(3);
    let since = format!("its deletion has been tried since {:.0}", force.0);
    assert!(said(&world).contains(&since), "{}", said(&world));
}

#[test]
fn a_pod_whose_containers_have_stopped_is_not_waited_for_but_named_with_its_finalizers() {
    let mut world = world(1);
    let mut kept = pod("kept");
    kept.deletion = Some(Deletion {
        ends: at(NOTICE - 100),
        grace: SignedDuration::from_secs(30),
    });
    kept.phase = PodPhase::Failed;
    kept.finalizers = vec!["example.com/hold".into()];
    world.stuck = false;
    world.pods.push(kept);
    // The world takes a pod whose grace period is over: this one stays.
    world
        .pods
        .last_mut()
        .unwrap()
        .deletion
        .as_mut()
        .unwrap()
        .ends = at(NOTICE + 5000);
    assert!(world.run(60, is_released));
    let left = &world.status().left;
    assert_eq!(left.len(), 1);
    assert_eq!(
        (left[0].pod.as_str(), left[0].reason),
        ("web/kept", LeftReason::Finalizers)
    );
    assert!(left[0].message.contains("example.com/hold"));
}

#[test]
fn pods_without_a_controller_are_named_and_one_event_warns_of_them() {
    let mut world = world(2);
    world.pods[1].owner = None;
    world.run_for(1);
    let first = world.status();
    assert_eq!(first.unmanaged, ["web/web-1"]);
    assert!(world.run(60, is_released));
    assert_eq!(
        world.status().unmanaged,
        ["web/web-1"],
        "the record keeps it"
    );
    let news = happenings(&world.object, &first, &world.status());
    let released = news.iter().find(|n| n.reason == "Released").unwrap();
    assert!(released.warning && released.note.contains("web/web-1"));
}

#[test]
fn of_one_owner_three_that_come_in_spite_of_the_cordon_are_evicted_and_the_fourth_is_left() {
    let mut world = world(1);
    world.pods[0].grace = SignedDuration::from_secs(100);
    for round in 0..6 {
        world.run_for(10);
        let mut next = pod(&format!("again-{round}"));
        next.created = Some(at(world.now));
        next.grace = SignedDuration::from_secs(5);
        next.owner.as_mut().unwrap().name = "again".into();
        world.pods.push(next);
        world.arrived = world.now;
        world.dirty = true;
    }
    assert!(world.run(100, is_released), "{:?}", world.status());
    let again = world.told.keys().filter(|uid| uid.contains("again"));
    assert_eq!(again.count(), 3);
    let status = world.status();
    assert_eq!(status.pods.unwrap().late, 3);
    assert_eq!(status.left.len(), 3, "{:?}", status.left);
    assert_eq!(status.left[0].pod, "web/again-3");
    assert_eq!(status.left[0].reason, LeftReason::Returned);
    assert!(status.left[0].message.contains("ReplicaSet web/again"));
}

#[test]
fn a_view_that_is_never_quiet_holds_a_drain_up_for_a_minute_and_no_longer() {
    let mut world = world(1);
    for _ in 0..100 {
        world.run_for(1);
        // Pods that are made again and again, and that nobody would evict.
        world.arrived = world.now;
        world.dirty = true;
    }
    let drained = world.status().drained_at.unwrap().0;
    assert_eq!(drained, at(NOTICE + 60));
    assert_eq!(world.end(), Some(Outcome::Drained));
}

#[test]
fn the_operators_own_pod_goes_last_and_leadership_before_it() {
    let mut world = World::new(vec![spot()], EffectivePolicy::default());
    world.add_pods(1, 0);
    world.pods.push(pod("own"));
    (world.own_pod, world.may_hand_over) = (Some("web/own".into()), true);
    world.run_for(29);
    let asked = |world: &World| world.effects.contains(&Effect::HandOver);
    assert!(!asked(&world) && !world.told.contains_key("uid-own"));
    world.run_for(2);
    assert!(asked(&world));
    assert!(world.told.contains_key("uid-own"), "nobody else led");
    assert!(world.run(60, is_released));
    let asked = world.effects.iter().filter(|e| **e == Effect::HandOver);
    assert_eq!(asked.count(), 1);
}
