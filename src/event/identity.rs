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
mod tests;
