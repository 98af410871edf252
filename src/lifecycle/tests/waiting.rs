//! What an incident waits for, and what ends it before its machine goes.

use super::world::{NOTICE, World, at, content, hook, node, signal, spot};
use crate::api::Time;
use crate::api::condition;
use crate::api::policy::{Action, DisruptionBudgets, Heartbeat, Limits, Mode};
use crate::api::termination::{
    EffectivePolicy, MaintenanceEvent, MaintenanceState, Outcome, Phase, Signal, SignalKind,
    WaitReason,
};
use crate::lifecycle::Effect;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

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

#[test]
fn a_reboot_waits_with_an_open_node_until_the_lead_before_its_window_and_a_stop_does_not() {
    for (code, waits) in [
        ("instance-reboot", true),
        ("system-reboot", true),
        ("system-maintenance", true),
        ("instance-stop", false),
        ("instance-retirement", false),
    ] {
        let mut world = world_of(vec![scheduled(code)], EffectivePolicy::default());
        world.run_for(60);
        assert_eq!(world.phase() == Some(Phase::Waiting), waits, "{code}");
        assert_eq!(is_untouched(&world), waits, "{code}");
        if waits {
            let until = Some((WaitReason::MaintenanceWindow, Some(OPENS - 3600)));
            assert_eq!(waits_for(&world), until, "{code}");
            world.now = OPENS - 3601;
            world.run_for(0);
            assert_eq!(world.phase(), Some(Phase::Waiting), "{code}");
        }
        reach(&mut world, Phase::Released, 60);
        assert_eq!(world.end(), Some(Outcome::Drained), "{code}");
        assert_eq!(waits_for(&world), None, "{code}");
    }
}

#[test]
fn a_policy_that_is_edited_while_its_incident_waits_holds_when_work_begins() {
    let mut world = world_of(vec![scheduled("system-reboot")], EffectivePolicy::default());
    world.run_for(5);
    let policy = world.policy.as_mut().unwrap();
    policy.maintenance.lead_seconds = 600;
    policy.generation = 7;
    world.dirty = true;
    world.run_for(5);
    let until = Some((WaitReason::MaintenanceWindow, Some(OPENS - 600)));
    assert_eq!(waits_for(&world), until);
    world.now = OPENS - 600;
    reach(&mut world, Phase::Draining, 5);
    world.policy.as_mut().unwrap().generation = 8;
    reach(&mut world, Phase::Released, 60);
    assert_eq!(world.status().policy.unwrap().generation, 7);
}

#[test]
fn a_rebooted_machine_gets_its_node_back_when_it_is_ready_again_and_not_before() {
    let mut world = world_of(vec![scheduled("system-reboot")], EffectivePolicy::default());
    world.now = OPENS - 60;
    reach(&mut world, Phase::Released, 60);
    world.run_for(2000);
    assert_eq!(
        world.phase(),
        Some(Phase::Released),
        "it stays open for the reboot"
    );
    let node = world.node.as_mut().unwrap();
    (node.ready, node.boot_id) = (false, Some("boot-2".into()));
    world.dirty = true;
    world.run_for(5);
    assert_eq!(world.phase(), Some(Phase::Released), "it is not ready");
    world.node.as_mut().unwrap().ready = true;
    world.dirty = true;
    reach(&mut world, Phase::Completed, 5);
    assert_eq!(world.end(), Some(Outcome::Drained));
    let mut node = world.node.clone().unwrap();
    node.boot_id = Some("boot-1".into());
    world.node = Some(node);
    assert!(is_untouched(&world));
    assert!(!condition::holds(&world.status().conditions, "Cordoned"));
}

#[test]
fn a_boot_while_the_incident_waits_is_not_its_reboot() {
    let mut world = world_of(vec![scheduled("system-reboot")], EffectivePolicy::default());
    world.run_for(5);
    world.node.as_mut().unwrap().boot_id = Some("boot-2".into());
    world.dirty = true;
    world.run_for(5);
    world.now = OPENS - 60;
    reach(&mut world, Phase::Released, 60);
    world.run_for(100);
    assert_eq!(world.phase(), Some(Phase::Released));
}

#[test]
fn a_machine_whose_node_goes_instead_of_coming_back_is_over() {
    let mut world = world_of(vec![scheduled("instance-stop")], EffectivePolicy::default());
    reach(&mut world, Phase::Released, 60);
    world.node = None;
    world.dirty = true;
    reach(&mut world, Phase::Completed, 5);
}

#[test]
fn a_system_maintenance_is_over_when_its_window_is() {
    let mut world = world_of(
        vec![scheduled("system-maintenance")],
        EffectivePolicy::default(),
    );
    world.now = OPENS - 60;
    reach(&mut world, Phase::Released, 60);
    world.now = OPENS + 3599;
    world.run_for(0);
    assert_eq!(world.phase(), Some(Phase::Released));
    reach(&mut world, Phase::Completed, 3);
    assert!(is_untouched(&world));
}

#[test]
fn maintenance_that_is_canceled_is_undone_wherever_it_stands() {
    let canceled = maintenance("system-reboot", MaintenanceState::Canceled, 1);
    for (from, phase) in [
        (NOTICE, Phase::Waiting),
        (OPENS - 60, Phase::Draining),
        (OPENS - 60, Phase::Released),
    ] {
        let mut world = world_of(vec![scheduled("system-reboot")], EffectivePolicy::default());
        world.now = from;
        reach(&mut world, phase, 60);
        world.hear(canceled.clone());
        reach(&mut world, Phase::Canceled, 5);
        assert_eq!(world.end(), Some(Outcome::Withdrawn), "from {phase:?}");
        assert!(is_untouched(&world), "from {phase:?}");
    }
}

#[test]
fn maintenance_that_is_over_gives_the_node_back_as_completed() {
    let mut world = world_of(vec![scheduled("system-reboot")], EffectivePolicy::default());
    world.now = OPENS - 60;
    reach(&mut world, Phase::Released, 60);
    world.hear(maintenance("system-reboot", MaintenanceState::Completed, 1));
    reach(&mut world, Phase::Completed, 5);
    assert_eq!(world.end(), Some(Outcome::Drained));
    assert!(is_untouched(&world));
}

#[test]
fn a_more_urgent_signal_ends_the_waiting() {
    let mut world = world_of(vec![scheduled("system-reboot")], EffectivePolicy::default());
    world.run_for(5);
    assert_eq!(world.phase(), Some(Phase::Waiting));
    world.hear(spot());
    reach(&mut world, Phase::Released, 60);
    assert_eq!(world.status().reason, Some(SignalKind::SpotInterruption));
    assert_eq!(world.status().deadline.unwrap().0, at(NOTICE + 120));
    // It is lost: nothing waits for its return.
    world.run_for(1000);
    assert_eq!(world.phase(), Some(Phase::Completed));
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
fn what_does_not_press_waits_for_its_turn_and_what_presses_does_not() {
    let limited = |mut policy: EffectivePolicy| {
        let max_concurrent = IntOrString::Int(1);
        policy.limits = Limits { max_concurrent };
        policy
    };
    let mut beating = EffectivePolicy::default();
    beating.lifecycle.heartbeat = Some(Heartbeat {
        interval_seconds: 60,
        until_seconds: 7200,
    });
    let drains = rebalancing(Action::CordonAndDrain, None);
    for (signals, policy, waits) in [
        (vec![rebalance()], drains.clone(), true),
        (vec![], EffectivePolicy::default(), true),
        (
            vec![scheduled("instance-stop")],
            EffectivePolicy::default(),
            true,
        ),
        (vec![hook(1)], beating.clone(), true),
        (vec![hook(1)], EffectivePolicy::default(), false),
        (vec![spot()], EffectivePolicy::default(), false),
        (vec![spot(), rebalance()], drains.clone(), false),
    ] {
        let what = format!("{signals:?}");
        let mut world = world_of(signals, limited(policy));
        world.turn_comes = false;
        world.run_for(130);
        assert_eq!(world.phase() == Some(Phase::Waiting), waits, "{what}");
        assert_eq!(is_untouched(&world), waits, "{what}");
        if waits {
            assert_eq!(
                waits_for(&world).unwrap().0,
                WaitReason::LimitReached,
                "{what}"
            );
            let beats = world.actions.values().all(|a| a.beats == [60, 120]);
            assert!(beats, "heartbeats go on: {what}");
            world.turn_comes = true;
            world.dirty = true;
            reach(&mut world, Phase::Released, 60);
        }
    }
}

#[test]
fn a_turn_that_never_comes_ends_when_there_is_just_the_time_for_a_drain() {
    let mut policy = EffectivePolicy::default();
    let max_concurrent = IntOrString::Int(1);
    policy.limits = Limits { max_concurrent };
    let mut world = world_of(vec![scheduled("instance-stop")], policy);
    world.turn_comes = false;
    world.run_for(5);
    assert_eq!(
        waits_for(&world),
        Some((WaitReason::LimitReached, Some(OPENS - 120)))
    );
    world.now = OPENS - 120;
    reach(&mut world, Phase::Released, 60);
}

/// Nothing but a node's name.
fn by_hand() -> World {
    let mut world = world_of(vec![], EffectivePolicy::default());
    world.object.spec.node_uid = None;
    world.object.spec.instance_id = None;
    world.object.metadata.creation_timestamp = Some(Time(at(NOTICE)));
    world
}

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

fn limited(mut policy: EffectivePolicy) -> EffectivePolicy {
    let max_concurrent = IntOrString::Int(1);
    policy.limits = Limits { max_concurrent };
    policy.lifecycle.heartbeat = Some(Heartbeat {
        interval_seconds: 60,
        until_seconds: 7200,
    });
    policy
}

#[test]
fn a_hook_is_ours_as_the_policy_has_it_when_work_begins() {
    let mut world = world_of(vec![hook(1)], limited(EffectivePolicy::default()));
    world.turn_comes = false;
    world.run_for(70);
    assert_eq!(waits_for(&world).unwrap().0, WaitReason::LimitReached);
    world.policy.as_mut().unwrap().mode = Mode::Observe;
    world.dirty = true;
    world.run_for(200);
    let action = world.actions.values().next().unwrap();
    assert!(action.completed.is_empty() && action.beats == [60]);
    assert_eq!(world.end(), Some(Outcome::Observed));
    world.policy.as_mut().unwrap().mode = Mode::Enforce;
    world.turn_comes = true;
    world.dirty = true;
    assert!(world.run(60, |w| w.end() == Some(Outcome::Drained)));
    reach(&mut world, Phase::Released, 10);
    let action = world.actions.values().next().unwrap();
    assert_eq!(action.completed.len(), 1);
}

#[test]
fn what_is_only_observed_beside_it_keeps_no_undo_back() {
    let canceled = maintenance("system-reboot", MaintenanceState::Canceled, 1);
    for phase in [Phase::Draining, Phase::Released] {
        let signals = vec![scheduled("system-reboot"), rebalance()];
        let mut world = world_of(signals, EffectivePolicy::default());
        world.now = OPENS - 60;
        reach(&mut world, phase, 60);
        world.hear(canceled.clone());
        reach(&mut world, Phase::Canceled, 5);
        assert!(is_untouched(&world), "from {phase:?}");
        let told = world.told.clone();
        world.run_for(100);
        assert_eq!(world.told, told, "nobody is evicted any more");
    }
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

#[test]
fn maintenance_that_was_only_observed_is_acted_on_when_the_policy_enforces() {
    let observing = EffectivePolicy {
        mode: Mode::Observe,
        ..EffectivePolicy::default()
    };
    let mut world = world_of(vec![scheduled("system-reboot")], observing);
    world.run_for(3000);
    assert_eq!(world.end(), Some(Outcome::Observed));
    assert_eq!(
        world.phase(),
        Some(Phase::Released),
        "its window lies ahead"
    );
    world.policy.as_mut().unwrap().mode = Mode::Enforce;
    world.dirty = true;
    world.now = OPENS - 60;
    assert!(world.run(60, |w| w.end() == Some(Outcome::Drained)));
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
