//! A rebalance recommendation: its cordon expires, its drain has its own time, and a notice may follow.

use super::{is_untouched, reach, rebalance, rebalancing, world_of};
use crate::api::Time;
use crate::api::policy::{Action, DisruptionBudgets};
use crate::api::termination::{Outcome, Phase};
use crate::lifecycle::tests::world::{NOTICE, World, at, spot};

#[test]
fn the_cordon_of_a_recommendation_expires_unless_something_follows() {
    let policy = rebalancing(Action::Cordon, Some(2000));
    let mut world = world_of(vec![rebalance()], policy.clone());
    reach(&mut world, Phase::Released, 10);
    world.run_for(1900);
    assert_eq!(
        world.phase(),
        Some(Phase::Released),
        "the cordon keeps it open"
    );
    reach(&mut world, Phase::Canceled, 150);
    assert_eq!(world.end(), Some(Outcome::Expired));
    assert!(is_untouched(&world));

    let mut world = world_of(vec![rebalance()], policy);
    reach(&mut world, Phase::Released, 10);
    world.run_for(100);
    assert!(world.told.is_empty(), "only cordoned");
    let mut later = spot();
    later.deadline = Some(Time(at(world.now + 120)));
    world.hear(later);
    reach(&mut world, Phase::Draining, 5);
    reach(&mut world, Phase::Released, 60);
    assert_eq!((world.end(), world.told.len()), (Some(Outcome::Drained), 2));
    world.run_for(2500);
    assert!(!is_untouched(&world), "a node that is lost stays closed");
}

#[test]
fn the_time_of_a_recommended_drain_begins_with_the_work() {
    let mut world = world_of(vec![rebalance()], rebalancing(Action::CordonAndDrain, None));
    world.now = NOTICE + 5000;
    world.run_for(1);
    assert_eq!(world.status().deadline.unwrap().0, at(NOTICE + 5120));
    reach(&mut world, Phase::Released, 60);
    assert_eq!(world.end(), Some(Outcome::Drained));
}

#[test]
fn a_drain_that_failed_is_taken_up_again_when_a_more_urgent_signal_comes() {
    let mut policy = rebalancing(Action::CordonAndDrain, None);
    policy.drain.disruption_budgets = DisruptionBudgets::RespectUntilDeadline;
    let mut world = World::new(vec![rebalance()], policy);
    world.policy.as_mut().unwrap().drain.disruption_budgets = DisruptionBudgets::Respect;
    world.allowed = 0;
    world.add_pods(0, 1);
    world.crash();
    assert!(world.run(200, |w| w.end() == Some(Outcome::DrainIncomplete)));
    assert!(world.told.is_empty());
    world.allowed = 4;
    world.crash();
    let mut later = spot();
    later.deadline = Some(Time(at(world.now + 120)));
    world.hear(later);
    assert!(world.run(60, |w| w.end() == Some(Outcome::Drained)));
    assert_eq!(world.told.len(), 1);
}
