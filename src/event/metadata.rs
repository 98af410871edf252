//! The documents of instance metadata that announce the end of the instance they are read on.
//!
//! Shapes: "Instance metadata categories" and "View scheduled events" in the EC2 User Guide; "Retrieve the target
//! lifecycle state through instance metadata" in the EC2 Auto Scaling User Guide. A document that is not there (404)
//! says nothing, and is the caller's matter. However often a document is read, it gives the same IDs: the time of
//! the reading stands in a signal where the document has no time of its own, and is never hashed.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{Malformed, body, field, identity, signal};
use crate::api::Time;
use crate::api::termination::{MaintenanceEvent, MaintenanceState, Signal, SignalKind};

/// The target lifecycle state of an instance that its Auto Scaling group takes away. The others, Detached and the
/// Warmed ones among them, leave the node to whoever asked for them.
const TERMINATED: &str = "Terminated";

/// What one document of several entries says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// A signal of each entry that can be read, in the document's order.
    pub signals: Vec<Signal>,
    /// Why each of the others can not. They never cost the readable ones.
    pub malformed: Vec<Malformed>,
}

#[derive(Deserialize)]
struct InstanceAction {
    #[serde(default)]
    action: Option<String>,
    time: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rebalance {
    notice_time: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Maintenance {
    event_id: String,
    code: String,
    state: State,
    #[serde(default)]
    not_before: Option<String>,
    #[serde(default)]
    not_after: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Active,
    Canceled,
    Completed,
}

/// Reads `spot/instance-action`. AWS gives notice two minutes before the time that stands there: with that as its
/// notice time, the signal has the ID that the queue's event gives it.
pub fn spot_interruption(instance_id: &str, body: &str) -> Result<Vec<Signal>, Malformed> {
    let document: InstanceAction = body::read(body::sized(body)?)?;
    let deadline = field::time(&document.time)?;
    let notice = deadline
        .checked_sub(signal::SPOT_NOTICE)
        .ok()
        .filter(|notice| *notice >= Timestamp::UNIX_EPOCH)
        .ok_or(Malformed::Time)?;
    let action = field::instance_action(document.action)?;
    signal::spot_interruption(instance_id, notice, action).map(|signal| vec![signal])
}

/// Reads `events/recommendations/rebalance`.
pub fn rebalance_recommendation(instance_id: &str, body: &str) -> Result<Vec<Signal>, Malformed> {
    let document: Rebalance = body::read(body::sized(body)?)?;
    let notice = field::time(&document.notice_time)?;
    Ok(vec![signal::rebalance_recommendation(instance_id, notice)])
}

/// Reads `events/maintenance/scheduled`, a list that is empty when nothing is scheduled. Each entry stands for itself;
/// it fails as a whole only if it is no list.
pub fn scheduled_maintenance(
    instance_id: &str,
    body: &str,
    now: Timestamp,
) -> Result<Entries, Malformed> {
    let document: Vec<Value> = body::read(body::sized(body)?)?;
    let mut entries = Entries::default();
    for entry in document {
        match maintenance(instance_id, entry, now) {
            Ok(signal) => entries.signals.push(signal),
            Err(malformed) => entries.malformed.push(malformed),
        }
    }
    Ok(entries)
}

fn maintenance(instance_id: &str, entry: Value, now: Timestamp) -> Result<Signal, Malformed> {
    let entry: Maintenance = serde_json::from_value(entry).map_err(|e| body::malformed(&e))?;
    let date = |text: Option<String>| text.map(|text| field::date(&text)).transpose();
    let not_before = date(entry.not_before)?;
    let event = MaintenanceEvent {
        event_id: field::text("EventId", entry.event_id, 256)?,
        code: field::text("Code", entry.code, 128)?,
        state: match entry.state {
            State::Active => MaintenanceState::Scheduled,
            State::Canceled => MaintenanceState::Canceled,
            State::Completed => MaintenanceState::Completed,
        },
        not_before: not_before.map(Time),
        not_after: date(entry.not_after)?.map(Time),
    };
    let now = field::seconds(now);
    // The list goes on showing maintenance that is under way or done. What is read of it after the window opened is
    // no news to an incident that ended since.
    let notice = match (event.state, not_before) {
        (MaintenanceState::Scheduled, Some(window)) => now.min(window),
        _ => now,
    };
    Ok(signal::scheduled_maintenance(instance_id, event, notice))
}

/// Reads `autoscaling/target-lifecycle-state`, one word. It names no lifecycle action: which hooks wait is for the
/// controller to find out.
pub fn target_lifecycle_state(
    instance_id: &str,
    body: &str,
    now: Timestamp,
) -> Result<Vec<Signal>, Malformed> {
    let state = body::sized(body)?.trim();
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'-');
    if state.is_empty() || state.len() > 64 || !state.bytes().all(word) {
        return Err(Malformed::Shape("no lifecycle state".to_owned()));
    }
    if state != TERMINATED {
        return Ok(Vec::new());
    }
    let id = identity::target_lifecycle_state(instance_id);
    let kind = SignalKind::AutoScalingTermination;
    Ok(vec![Signal::new(id, kind, Time(field::seconds(now)))])
}

#[cfg(test)]
mod tests;
