//! Events of EC2: spot interruptions, rebalance recommendations, state changes, capacity reservations.
//!
//! Shapes: "Spot Instance interruption notices", "EC2 instance rebalance recommendations", "State change events for
//! your instances", "Monitor interruptible Capacity Reservations" and "Monitor Capacity Blocks using EventBridge" in
//! the EC2 User Guide.

use jiff::SignedDuration;
use serde::Deserialize;

use super::{Envelope, one};
use crate::api::Time;
use crate::api::termination::{RUNNING, Signal, SignalKind};
use crate::event::body::read;
use crate::event::{Discard, Heard, Malformed, Parsed, Reservation, field, identity, signal};

/// The states that an instance leaves its node in, and the one that brings a stopped one back. Of the others, only
/// pending is left, which says nothing about a node that there is.
const STATES: &[&str] = &[
    "stopping",
    "stopped",
    "shutting-down",
    "terminated",
    RUNNING,
];

/// EC2 begins to terminate a Capacity Block's instances this long before the block ends: it warns forty minutes before
/// the end, of a beginning ten minutes later (EC2 User Guide, "Monitor Capacity Blocks using EventBridge").
const BLOCK_TAIL: SignedDuration = SignedDuration::from_mins(30);

#[derive(Deserialize)]
struct Instance {
    #[serde(rename = "instance-id")]
    id: String,
    #[serde(rename = "instance-action", default)]
    action: Option<String>,
    #[serde(rename = "instance-termination-time", default)]
    termination_time: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct StateChange {
    instance_id: String,
    state: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct CapacityBlock {
    #[serde(default)]
    capacity_reservation_id: Option<String>,
    #[serde(default)]
    instance_id: Option<String>,
    end_date: String,
}

pub(super) fn spot_interruption(body: &str) -> Result<Parsed, Malformed> {
    let event: Envelope<Instance> = read(body)?;
    let instance_id = field::instance_id(event.detail.id)?;
    let notice = field::time(&event.time)?;
    let action = field::instance_action(event.detail.action)?;
    let signal = signal::spot_interruption(&instance_id, notice, action)?;
    Ok(one(instance_id, signal))
}

pub(super) fn rebalance_recommendation(body: &str) -> Result<Parsed, Malformed> {
    let event: Envelope<Instance> = read(body)?;
    let instance_id = field::instance_id(event.detail.id)?;
    let signal = signal::rebalance_recommendation(&instance_id, field::time(&event.time)?);
    Ok(one(instance_id, signal))
}

pub(super) fn state_change(body: &str) -> Result<Parsed, Malformed> {
    let event: Envelope<StateChange> = read(body)?;
    let StateChange { instance_id, state } = event.detail;
    if !STATES.contains(&state.as_str()) {
        return Ok(Parsed::Discarded(Discard::OtherState));
    }
    let instance_id = field::instance_id(instance_id)?;
    let notice = field::time(&event.time)?;
    let id = identity::instance_state_change(&instance_id, notice, &state);
    let signal = Signal {
        instance_state: Some(state),
        ..Signal::new(id, SignalKind::InstanceStateChange, Time(notice))
    };
    Ok(one(instance_id, signal))
}

pub(super) fn capacity_reservation(body: &str) -> Result<Parsed, Malformed> {
    let event: Envelope<Instance> = read(body)?;
    let instance_id = field::instance_id(event.detail.id)?;
    let notice = field::time(&event.time)?;
    let deadline = event.detail.termination_time;
    let deadline = deadline.map(|time| field::time(&time)).transpose()?;
    let action = field::instance_action(event.detail.action)?;
    let signal = signal::capacity_reservation(&instance_id, notice, deadline, action);
    Ok(one(instance_id, signal))
}

/// The warning is about a reservation. What it calls by name is heard of at once; if that is the reservation alone, the
/// instances are to be asked for. Each is warned about by an event of its own as well.
pub(super) fn capacity_block(body: &str) -> Result<Parsed, Malformed> {
    let event: Envelope<CapacityBlock> = read(body)?;
    let notice_time = field::time(&event.time)?;
    let end = field::date(&event.detail.end_date)?;
    let deadline = end.checked_sub(BLOCK_TAIL).map_err(|_| Malformed::Time)?;
    let resources = &event.resources.0;
    let instances = event.detail.instance_id.iter().chain(resources);
    let instances = instances.filter_map(|named| field::named_instance(named));
    let heard = instances.map(|instance_id| Heard {
        signal: signal::capacity_reservation(&instance_id, notice_time, Some(deadline), None),
        instance_id,
    });
    let heard: Vec<Heard> = heard.collect();
    if !heard.is_empty() {
        return Ok(Parsed::Signals(heard));
    }
    let reserved = &event.detail.capacity_reservation_id;
    let mut reservations = reserved.iter().chain(resources);
    match reservations.find_map(|named| field::named_reservation(named)) {
        Some(reservation_id) => Ok(Parsed::Reservation(Reservation {
            reservation_id,
            // The guide's example of this event has none.
            region: field::region(event.region).unwrap_or_default(),
            notice_time,
            deadline,
        })),
        None if reserved.is_some() => Err(Malformed::ReservationId),
        None => Ok(Parsed::Discarded(Discard::NoInstance)),
    }
}
