//! Each ID is pinned: with another one the same notice would be another signal.

use super::*;

const INSTANCE: &str = "i-0aaa111122223333b";

fn hook(token: &str) -> LifecycleHook {
    LifecycleHook {
        auto_scaling_group_name: "workers".to_owned(),
        hook_name: "drain".to_owned(),
        action_token: token.to_owned(),
        transition: "autoscaling:EC2_INSTANCE_TERMINATING".to_owned(),
        region: "eu-west-1".to_owned(),
        ..LifecycleHook::default()
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn reboot() -> MaintenanceEvent {
    MaintenanceEvent {
        event_id: "instance-event-1".to_owned(),
        code: "system-reboot".to_owned(),
        state: MaintenanceState::Scheduled,
        not_before: Some(Time(at(100))),
        not_after: None,
    }
}

/// The IDs are in etcd: an upgrade that computed others would record every open notice a second time.
#[test]
fn ids_never_change_between_releases() {
    let notice = "2026-03-18T08:20:00Z".parse().unwrap();
    assert_eq!(
        spot_interruption(INSTANCE, notice, Some("terminate")),
        "SpotInterruption-7a58687cebc0002d"
    );
    assert_eq!(
        auto_scaling_termination(INSTANCE, &hook("87654321-4321-4321-4321-210987654321")),
        "AutoScalingTermination-812d3b075a8cbfec"
    );
    assert_eq!(
        target_lifecycle_state(INSTANCE),
        "AutoScalingTermination-d7b48b4588aa16a8"
    );
    assert_eq!(
        rebalance_recommendation(INSTANCE, notice),
        "RebalanceRecommendation-87732ca014f3077a"
    );
    assert_eq!(
        instance_state_change(INSTANCE, notice, "stopping"),
        "InstanceStateChange-fff421b3ac843db9"
    );
    assert_eq!(
        capacity_reservation(INSTANCE, Some(&Time(notice))),
        "CapacityReservation-87732ca014f3077a"
    );
    assert_eq!(
        scheduled_maintenance(INSTANCE, &reboot()),
        "ScheduledMaintenance-58a0e220bef49550"
    );
}

#[test]
fn whatever_identifies_the_notice_changes_the_id() {
    let base = spot_interruption(INSTANCE, at(100), Some("terminate"));
    for other in [
        spot_interruption("i-0aaa111122223333c", at(100), Some("terminate")),
        spot_interruption(INSTANCE, at(101), Some("terminate")),
        spot_interruption(INSTANCE, at(100), Some("stop")),
        spot_interruption(INSTANCE, at(100), None),
    ] {
        assert_ne!(base, other);
    }
    let base = auto_scaling_termination(INSTANCE, &hook("a"));
    let mut group = hook("a");
    group.auto_scaling_group_name = "others".to_owned();
    let mut name = hook("a");
    name.hook_name = "backup".to_owned();
    for other in [hook("b"), group, name] {
        assert_ne!(base, auto_scaling_termination(INSTANCE, &other));
    }
}

#[test]
fn whatever_identifies_a_notice_of_another_kind_changes_its_id() {
    let other = "i-0aaa111122223333c";
    let mut ids = vec![
        target_lifecycle_state(INSTANCE),
        target_lifecycle_state(other),
        rebalance_recommendation(INSTANCE, at(100)),
        rebalance_recommendation(other, at(100)),
        rebalance_recommendation(INSTANCE, at(101)),
        instance_state_change(INSTANCE, at(100), "stopping"),
        instance_state_change(other, at(100), "stopping"),
        instance_state_change(INSTANCE, at(101), "stopping"),
        instance_state_change(INSTANCE, at(100), "stopped"),
        capacity_reservation(INSTANCE, Some(&Time(at(100)))),
        capacity_reservation(other, Some(&Time(at(100)))),
        capacity_reservation(INSTANCE, Some(&Time(at(101)))),
        capacity_reservation(INSTANCE, None),
        scheduled_maintenance(INSTANCE, &reboot()),
        scheduled_maintenance(other, &reboot()),
    ];
    let changes: [fn(&mut MaintenanceEvent); 6] = [
        |event| event.event_id.push('1'),
        |event| event.code.push('1'),
        |event| event.state = MaintenanceState::Canceled,
        |event| event.state = MaintenanceState::Completed,
        |event| event.not_before = None,
        |event| event.not_after = event.not_before.clone(),
    ];
    ids.extend(changes.map(|change| {
        let mut event = reboot();
        change(&mut event);
        scheduled_maintenance(INSTANCE, &event)
    }));
    let all = ids.len();
    let distinct: std::collections::BTreeSet<_> = ids.into_iter().collect();
    assert_eq!(distinct.len(), all);
}

#[test]
fn whose_credentials_complete_the_action_is_not_its_identity() {
    let mut other = hook("a");
    other.role_arn = Some("arn:aws:iam::111122223333:role/nodes".to_owned());
    other.external_id = Some("x".to_owned());
    assert_eq!(
        auto_scaling_termination(INSTANCE, &hook("a")),
        auto_scaling_termination(INSTANCE, &other)
    );
}

#[test]
fn neighbouring_fields_do_not_run_together() {
    let kind = SignalKind::AutoScalingTermination;
    assert_ne!(signal_id(kind, &["ab", "c"]), signal_id(kind, &["a", "bc"]));
    assert_ne!(signal_id(kind, &["a", ""]), signal_id(kind, &["a"]));
}

#[test]
fn the_first_incident_has_the_instance_id_as_its_name() {
    assert_eq!(object_name(INSTANCE, 1), INSTANCE);
    assert_eq!(object_name(INSTANCE, 2), "i-0aaa111122223333b-2");
    // A name is a label value too: at most 63 characters.
    assert!(object_name(INSTANCE, u32::MAX).len() <= 63);
}

#[test]
fn behind_the_names_that_anybody_may_take_come_those_that_are_kept_for_the_node() {
    let uid = "1f5c2d3e-0000-4000-8000-000000000000";
    let names: Vec<_> = object_names(INSTANCE, uid).collect();
    let shown: Vec<_> = [0, 1, 9, 10, 11, 99].map(|at| names[at].as_str()).into();
    assert_eq!(
        shown,
        [
            "i-0aaa111122223333b",
            "i-0aaa111122223333b-2",
            "i-0aaa111122223333b-10",
            "i-0aaa111122223333b-n1f5c2d3e",
            "i-0aaa111122223333b-n1f5c2d3e-2",
            "i-0aaa111122223333b-n1f5c2d3e-90",
        ]
    );
    assert_eq!(names.len(), 100);
    assert!(names.iter().all(|name| name.len() <= 63));
}

/// 128 bytes: apimachinery's `FieldManagerMaxLength`.
#[test]
fn a_field_manager_fits_the_api_servers_limit() {
    let notice = Timestamp::UNIX_EPOCH;
    for id in [
        spot_interruption(INSTANCE, notice, None),
        auto_scaling_termination(INSTANCE, &hook("a")),
        target_lifecycle_state(INSTANCE),
        rebalance_recommendation(INSTANCE, notice),
        instance_state_change(INSTANCE, notice, "stopping"),
        capacity_reservation(INSTANCE, None),
        scheduled_maintenance(INSTANCE, &reboot()),
    ] {
        assert!(id.len() <= 64, "the schema's limit of an ID: {id}");
        assert!(field_manager(&id).len() <= 128);
    }
}
