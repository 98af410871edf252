//! A machine or a Node that goes before its drain is over.

use super::hooks::{blocked, completed, said};
use super::world::{World, spot};
use crate::api::policy::OnDrainFailure;
use crate::api::termination::{EffectivePolicy, Outcome, Phase};
use crate::lifecycle::effect::LifecycleResult;
use crate::lifecycle::happenings;

#[test]
fn a_machine_that_goes_in_the_middle_of_its_drain_has_its_hooks_completed() {
    let mut world = blocked(EffectivePolicy::default(), OnDrainFailure::Continue);
    world.run_for(20);
    assert_eq!(world.phase(), Some(Phase::Draining));
    world.node = None;
    world.pods.clear();
    world.dirty = true;
    world.run_for(10);
    assert_eq!(
        (world.phase(), world.end()),
        (Some(Phase::Completed), Some(Outcome::NodeGone))
    );
    assert_eq!(completed(&world), [LifecycleResult::Continue]);
}

#[test]
fn a_node_that_somebody_deletes_is_drained_on_while_its_pods_are_there() {
    let mut world = blocked(EffectivePolicy::default(), OnDrainFailure::Continue);
    world.run_for(20);
    world.node = None;
    world.dirty = true;
    world.run_for(10);
    assert_eq!(world.phase(), Some(Phase::Draining));
    assert_eq!(completed(&world), []);
    let gone = said(&world, "Cordoned");
    assert_eq!(gone.reason, "NodeGone");
    assert_eq!(gone.message, "node n is gone; its pods are drained on");
    let pods = world.pods.len();
    world.pods.clear();
    world.dirty = true;
    world.run_for(10);
    assert_eq!(world.end(), Some(Outcome::NodeGone));
    assert_eq!(completed(&world), [LifecycleResult::Continue]);
    assert_eq!(said(&world, "Cordoned").message, "node n is gone");
    let counts = world.status().pods.unwrap();
    let all = format!("{pods}/{pods}");
    assert_eq!((counts.summary.as_str(), counts.evicted), (&*all, 0));
    let drained = said(&world, "Drained").message;
    assert_eq!(
        drained,
        format!("the Node is gone, and {all} pods have gone")
    );
}

#[test]
fn a_new_machine_under_the_name_of_a_node_that_drains_ends_the_drain_at_once() {
    let mut world = blocked(EffectivePolicy::default(), OnDrainFailure::Continue);
    world.run_for(20);
    let node = world.node.as_mut().unwrap();
    node.uid = "another".into();
    node.instance_id = Some("i-00000000".into());
    world.dirty = true;
    world.run_for(10);
    assert_eq!(world.end(), Some(Outcome::NodeGone));
    assert_eq!(completed(&world), [LifecycleResult::Continue]);
    let gone = said(&world, "Cordoned");
    assert_eq!(gone.reason, "NodeGone");
    assert_eq!(gone.message, "another Node has the name n now");
}

#[test]
fn an_instance_that_registers_anew_in_the_middle_of_its_drain_is_said_to_be_still_to_go_by_one_event()
 {
    let mut world = World::new(vec![spot()], EffectivePolicy::default());
    world.add_pods(1, 0);
    world.run_for(5);
    let before = world.status();
    world.node.as_mut().unwrap().uid = "another".into();
    world.dirty = true;
    world.run_for(2);
    assert_eq!(world.end(), Some(Outcome::NodeGone));
    let anew = said(&world, "Cordoned");
    assert_eq!(anew.reason, "RegisteredAnew");
    let words = "instance i-0a1b2c3d4e5f60718 has registered anew as n (UID another) and is still to go, at 1970-01-01T02:48:40Z: the next notice opens another incident";
    assert!(anew.message.contains(words), "{}", anew.message);
    let news = happenings(&world.object, &before, &world.status());
    let told: Vec<_> = news.iter().filter(|n| n.warning).collect();
    assert!(
        told.len() == 1 && told[0].reason == "RegisteredAnew" && told[0].note == anew.message,
        "{news:?}"
    );
}

#[test]
fn a_machine_that_went_before_it_was_looked_at_has_its_hooks_completed() {
    let mut world = blocked(EffectivePolicy::default(), OnDrainFailure::Continue);
    world.node = None;
    world.pods.clear();
    world.run_for(10);
    assert_eq!(
        (world.phase(), world.end()),
        (Some(Phase::Completed), Some(Outcome::NodeGone))
    );
    assert_eq!(completed(&world), [LifecycleResult::Continue]);
}
