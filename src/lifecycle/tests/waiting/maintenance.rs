//! A scheduled change: waited for, acted on before its window, and over or taken back.

use super::{OPENS, is_untouched, maintenance, reach, rebalance, scheduled, waits_for, world_of};
use crate::api::condition;
use crate::api::policy::Mode;
use crate::api::termination::{
    EffectivePolicy, MaintenanceState, Outcome, Phase, SignalKind, WaitReason,
};
use crate::lifecycle::tests::world::{NOTICE, at, spot};

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
