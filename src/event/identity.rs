//! Names that every monitor computes alike: a notice that is heard twice is one signal, and one incident of an
//! instance is one object, with nobody asking anybody.

use std::fmt::Write as _;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::api::Time;
use crate::api::termination::{LifecycleHook, MaintenanceEvent, MaintenanceState, SignalKind};

/// The hash's length in a signal's ID, in bytes; 64 bits are plenty for the 32 signals of one object.
const HASH_BYTES: usize = 8;
/// Names of an instance that any agent may take. A stolen token can take all of them from another node.
const SHARED_NAMES: u32 = 10;
/// Names of an instance that only its own node's agent may take. More incidents of one instance are made up.
const OWN_NAMES: u32 = 90;
/// So much of a node's UID stands in a name, as in the agents' admission policy.
const UID_PART: usize = 8;

/// The ID of a spot interruption: the instance, the time of its notice and what will be done with it.
#[must_use]
pub fn spot_interruption(instance_id: &str, notice: Timestamp, action: Option<&str>) -> String {
    let notice = notice.as_second().to_string();
    let fields = [instance_id, &notice, action.unwrap_or_default()];
    signal_id(SignalKind::SpotInterruption, &fields)
}

/// The ID of an Auto Scaling termination: the instance and the lifecycle action, whose token is another each time.
#[must_use]
pub fn auto_scaling_termination(instance_id: &str, hook: &LifecycleHook) -> String {
    let fields = [
        instance_id,
        &hook.auto_scaling_group_name,
        &hook.hook_name,
        &hook.action_token,
    ];
    signal_id(SignalKind::AutoScalingTermination, &fields)
}

/// The ID of an Auto Scaling termination of which instance metadata tells. It names neither an action nor a time, so
/// the instance is all that there is to identify it by.
#[must_use]
pub fn target_lifecycle_state(instance_id: &str) -> String {
    signal_id(SignalKind::AutoScalingTermination, &[instance_id])
}

/// The ID of a rebalance recommendation: the instance and the time of the notice.
#[must_use]
pub fn rebalance_recommendation(instance_id: &str, notice: Timestamp) -> String {
    let notice = notice.as_second().to_string();
    signal_id(SignalKind::RebalanceRecommendation, &[instance_id, &notice])
}

/// The ID of an instance's change of state: the instance, the state and when it was entered.
#[must_use]
pub fn instance_state_change(instance_id: &str, notice: Timestamp, state: &str) -> String {
    let notice = notice.as_second().to_string();
    let fields = [instance_id, &notice, state];
    signal_id(SignalKind::InstanceStateChange, &fields)
}

/// The ID of the end of a capacity reservation: the instance, and when it goes. It is warned about more than once.
#[must_use]
pub fn capacity_reservation(instance_id: &str, deadline: Option<&Time>) -> String {
    let fields = [instance_id, &second(deadline)];
    signal_id(SignalKind::CapacityReservation, &fields)
}

/// The ID of a scheduled maintenance: the instance, the event and its code, how it stands, and its window. A new
/// window, a cancellation and an end are each a signal of its own.
#[must_use]
pub fn scheduled_maintenance(instance_id: &str, event: &MaintenanceEvent) -> String {
    let state = match event.state {
        MaintenanceState::Scheduled => "Scheduled",
        MaintenanceState::Canceled => "Canceled",
        MaintenanceState::Completed => "Completed",
    };
    let fields = [
        instance_id,
        &event.event_id,
        &event.code,
        state,
        &second(event.not_before.as_ref()),
        &second(event.not_after.as_ref()),
    ];
    signal_id(SignalKind::ScheduledMaintenance, &fields)
}

/// The name of an instance's `number`-th `NodeTermination`: the instance ID, then `-2`, `-3` and so on.
#[must_use]
pub fn object_name(instance_id: &str, number: u32) -> String {
    match number {
        0 | 1 => instance_id.to_owned(),
        _ => format!("{instance_id}-{number}"),
    }
}

/// The same for a name that the agents' admission policy keeps for the node with that UID: `<instance>-n<UID part>`,
/// then `-2`, `-3` and so on behind it.
#[must_use]
pub fn own_object_name(instance_id: &str, node_uid: &str, number: u32) -> String {
    let part: String = node_uid.chars().take(UID_PART).collect();
    object_name(&format!("{instance_id}-n{part}"), number)
}

/// All names that the records of an instance on that node may have, in the order in which they are tried.
pub fn object_names(instance_id: &str, node_uid: &str) -> impl Iterator<Item = String> {
    let shared = (1..=SHARED_NAMES).map(move |number| object_name(instance_id, number));
    let own = (1..=OWN_NAMES).map(move |number| own_object_name(instance_id, node_uid, number));
    shared.chain(own)
}

/// The field manager that applies one signal. Each signal has its own: a server-side apply takes away whatever
/// the same manager applied before and does not repeat.
#[must_use]
pub fn field_manager(signal_id: &str) -> String {
    format!("node-termination-operator/{signal_id}")
}

/// Empty for a time that is not known.
fn second(time: Option<&Time>) -> String {
    time.map(|time| time.0.as_second().to_string())
        .unwrap_or_default()
}

/// `<Kind>-<16 hex>`. Each field is hashed with its length before it, so that no two lists of fields run together.
fn signal_id(kind: SignalKind, fields: &[&str]) -> String {
    let mut hash = Sha256::new();
    for field in fields {
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field.as_bytes());
    }
    let mut id = format!("{}-", kind.as_str());
    for byte in &hash.finalize()[..HASH_BYTES] {
        // Writing to a String can not fail.
        let _ = write!(id, "{byte:02x}");
    }
    id
}

#[cfg(test)]
mod tests {
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
}
