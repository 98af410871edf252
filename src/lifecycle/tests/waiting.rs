//! What an incident waits for, and what ends it before its machine goes.

mod by_hand;
mod maintenance;
mod opened;
mod recommended;
mod turns;

use super::world::{NOTICE, World, at, content, node, signal, spot};
use crate::api::Time;
use crate::api::policy::{Action, DisruptionBudgets};
use crate::api::termination::{
    EffectivePolicy, MaintenanceEvent, MaintenanceState, Phase, Signal, SignalKind, WaitReason,
};
use crate::lifecycle::Effect;

/// The window opens two hours after the notice and lasts an hour.
const OPENS: i64 = NOTICE + 7200;

fn maintenance(code: &str, state: MaintenanceState, number: u32) -> Signal {
    let event = MaintenanceEvent {
        event_id: "instance-event-1".into(),
        code: code.into(),
        state,
        not_before: Some(Time(at(OPENS))),
        not_after: Some(Time(at(OPENS + 3600))),
    };
    let scheduled = state == MaintenanceState::Scheduled;
    let notice = NOTICE + i64::from(number);
    Signal {
        notice_time: Time(at(notice)),
        deadline: scheduled.then(|| Time(at(OPENS))),
        maintenance: Some(event),
        ..signal(SignalKind::ScheduledMaintenance, number)
    }
}

fn scheduled(code: &str) -> Signal {
    maintenance(code, MaintenanceState::Scheduled, 0)
}

fn rebalance() -> Signal {
    Signal {
        deadline: None,
        ..signal(SignalKind::RebalanceRecommendation, 0)
    }
}

fn rebalancing(action: Action, expire_seconds: Option<u32>) -> EffectivePolicy {
    let mut policy = EffectivePolicy::default();
    policy.actions.rebalance_recommendation = action;
    policy.cordon.expire_seconds = expire_seconds;
    policy
}

fn world_of(signals: Vec<Signal>, policy: EffectivePolicy) -> World {
    let mut world = World::new(signals, policy);
    world.add_pods(2, 0);
    world
}

fn waits_for(world: &World) -> Option<(WaitReason, Option<i64>)> {
    let waiting = world.status().waiting?;
    Some((waiting.reason, waiting.until.map(|t| t.0.as_second())))
}

fn is_untouched(world: &World) -> bool {
    content(world.node.as_ref()) == content(Some(&node()))
}

fn reach(world: &mut World, phase: Phase, within: i64) {
    assert!(
        world.run(within, |w| w.phase() == Some(phase)),
        "{phase:?}: {:?}",
        world.status()
    );
}

/// Nothing but a node's name.
fn by_hand() -> World {
    let mut world = world_of(vec![], EffectivePolicy::default());
    world.object.spec.node_uid = None;
    world.object.spec.instance_id = None;
    world.object.metadata.creation_timestamp = Some(Time(at(NOTICE)));
    world
}

/// A drain that its budget stalls, closed.
fn stalled(signals: Vec<Signal>) -> World {
    let mut policy = rebalancing(Action::CordonAndDrain, None);
    policy.drain.disruption_budgets = DisruptionBudgets::Respect;
    policy.drain.timeout_seconds = 3600;
    let mut world = World::new(signals, policy);
    world.allowed = 0;
    world.add_pods(0, 1);
    world.run_for(5);
    assert_eq!(world.phase(), Some(Phase::Draining));
    world
}

#[test]
fn a_stopped_instance_that_runs_again_gets_its_node_back() {
    let state = |state: &str, number: u32| Signal {
        notice_time: Time(at(NOTICE + i64::from(number))),
        deadline: None,
        instance_state: Some(state.into()),
        ..signal(SignalKind::InstanceStateChange, number)
    };
    let mut world = world_of(vec![state("stopping", 0)], EffectivePolicy::default());
    reach(&mut world, Phase::Released, 60);
    world.hear(state("stopped", 40));
    world.run_for(2000);
    assert_eq!(world.phase(), Some(Phase::Released));
    world.hear(state("running", 3000));
    reach(&mut world, Phase::Completed, 5);
    assert!(is_untouched(&world));
}

#[test]
fn of_two_incidents_of_a_node_one_hands_its_pods_to_the_queue() {
    let mut world = world_of(vec![spot()], EffectivePolicy::default());
    world.follows = true;
    world.run_for(10);
    let offered = |w: &World| w.effects.iter().any(|e| matches!(e, Effect::Offer(_)));
    assert_eq!(world.phase(), Some(Phase::Draining));
    assert!(!offered(&world));
    world.follows = false;
    world.dirty = true;
    reach(&mut world, Phase::Released, 60);
    assert!(offered(&world));
}
