//! Signals that more than one way leads to. The queue's event and the metadata document of one notice are built by
//! the same function here, so that they are one signal wherever AWS's times agree.

use jiff::{SignedDuration, Timestamp};

use super::{Malformed, identity};
use crate::api::Time;
use crate::api::termination::{MaintenanceEvent, MaintenanceState, Signal, SignalKind};

/// The time from a spot notice to the interruption: two minutes (EC2 User Guide, "Spot Instance interruption
/// notices").
pub(super) const SPOT_NOTICE: SignedDuration = SignedDuration::from_secs(120);

/// A spot interruption. An instance that is hibernated gets no two minutes: hibernation begins with the notice (EC2
/// User Guide, "Hibernate interrupted Spot Instances"). What can still be done in that time is the same, so is the
/// deadline.
pub(super) fn spot_interruption(
    instance_id: &str,
    notice: Timestamp,
    action: Option<String>,
) -> Result<Signal, Malformed> {
    let deadline = notice
        .checked_add(SPOT_NOTICE)
        .map_err(|_| Malformed::Time)?;
    let id = identity::spot_interruption(instance_id, notice, action.as_deref());
    Ok(Signal {
        deadline: Some(Time(deadline)),
        instance_action: action,
        ..Signal::new(id, SignalKind::SpotInterruption, Time(notice))
    })
}

/// A rebalance recommendation. It has no deadline: it may be followed by an interruption, or by nothing.
pub(super) fn rebalance_recommendation(instance_id: &str, notice: Timestamp) -> Signal {
    let id = identity::rebalance_recommendation(instance_id, notice);
    Signal::new(id, SignalKind::RebalanceRecommendation, Time(notice))
}

/// The end of a capacity reservation, or of the use that was lent of one.
pub(super) fn capacity_reservation(
    instance_id: &str,
    notice: Timestamp,
    deadline: Option<Timestamp>,
    action: Option<String>,
) -> Signal {
    let deadline = deadline.map(Time);
    let id = identity::capacity_reservation(instance_id, deadline.as_ref());
    Signal {
        deadline,
        instance_action: action,
        ..Signal::new(id, SignalKind::CapacityReservation, Time(notice))
    }
}

/// A maintenance, or what became of it. From its window on, AWS may take the machine at any moment.
pub(super) fn scheduled_maintenance(
    instance_id: &str,
    event: MaintenanceEvent,
    notice: Timestamp,
) -> Signal {
    let id = identity::scheduled_maintenance(instance_id, &event);
    let window = event.not_before.clone();
    Signal {
        deadline: window.filter(|_| event.state == MaintenanceState::Scheduled),
        maintenance: Some(event),
        ..Signal::new(id, SignalKind::ScheduledMaintenance, Time(notice))
    }
}
