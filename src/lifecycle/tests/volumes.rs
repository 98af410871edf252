//! Volumes: waited for after the drain, within its time, and told of.

use super::world::{NOTICE, World, hook, is_released, spot};
use crate::api::condition;
use crate::api::termination::{EffectivePolicy, Outcome, Phase, VolumesStatus};
use crate::lifecycle::Effect;

fn world(detached_after: &[i64]) -> World {
    let mut world = World::new(vec![spot(), hook(1)], EffectivePolicy::default());
    world.add_pods(2, 0);
    world.attach(detached_after);
    world
}

fn volumes(world: &World) -> VolumesStatus {
    world.status().volumes.unwrap()
}

pub(super) fn reason(world: &World) -> String {
    let conditions = world.status().conditions;
    let said = condition::find(&conditions, "VolumesDetached").unwrap();
    said.reason.clone()
}

#[test]
fn the_hook_waits_until_the_last_volume_is_detached() {
    let mut world = world(&[5, 20]);
    world.run_for(45);
    assert_eq!(world.end(), Some(Outcome::Drained));
    assert_eq!(
        (reason(&world).as_str(), volumes(&world).waiting),
        ("Detaching", 1)
    );
    assert_eq!(volumes(&world).names, ["pv-vol-1"]);
    assert!(world.actions.values().all(|a| a.active));
    assert!(world.run(30, is_released));
    assert_eq!(
        (reason(&world).as_str(), volumes(&world).left),
        ("Detached", 0)
    );
    assert!(world.attached.is_empty());
    assert!(world.actions.values().all(|a| a.completed.len() == 1));
}

#[test]
fn a_volume_that_stays_is_given_up_before_the_deadline_by_name_and_fails_nothing() {
    let mut world = world(&[5, 10_000]);
    assert!(world.run(130, is_released));
    assert!(world.now - NOTICE < 120, "{}", world.now - NOTICE);
    assert_eq!(reason(&world), "DetachTimeout");
    assert_eq!(
        (volumes(&world).left, volumes(&world).names),
        (1, vec!["pv-vol-1".into()])
    );
    assert_eq!(world.end(), Some(Outcome::Drained));
    assert!(world.actions.values().all(|a| a.completed.len() == 1));
}

#[test]
fn a_node_without_volumes_and_a_policy_that_does_not_wait_watch_nothing() {
    let none = world(&[]);
    let mut hasty = world(&[10_000]);
    let policy = hasty.policy.as_mut().unwrap();
    policy.drain.wait_for_volume_detach = false;
    for mut world in [none, hasty] {
        assert!(world.run(60, is_released));
        assert!(!world.effects.contains(&Effect::WatchVolumes));
        assert_eq!(world.status().volumes, None);
    }
}

#[test]
fn a_node_that_goes_meanwhile_and_a_cancel_end_the_wait() {
    for gone in [true, false] {
        let mut world = world(&[10_000]);
        world.run_for(50);
        assert_eq!(reason(&world), "Detaching");
        if gone {
            world.node = None;
        } else {
            world.object.spec.cancel = true;
        }
        world.change();
        world.run_for(10);
        assert!(world.phase().is_some_and(Phase::is_finished));
        assert!(volumes(&world).ended_at.is_some(), "{gone}");
    }
}
