//! EventBridge events: which of them mean something to us, and the parser of each.
//!
//! Shapes: "Events from AWS services" in the EventBridge User Guide, and the guides that each parser names. Fields
//! that we do not use are not looked at, so that AWS may add to them. The envelope's `id` identifies nothing: AWS
//! sends one notice more than once.

pub(super) mod auto_scaling;
mod ec2;
mod health;

use serde::Deserialize;
use serde_json::Value;

use super::body::read;
use super::{Discard, Heard, Malformed, Parsed};
use crate::api::termination::Signal;

/// What an event is parsed by: the whole body in, for the detail is read together with its envelope.
type Parser = fn(&str) -> Result<Parsed, Malformed>;

const EC2: &str = "aws.ec2";
const AUTO_SCALING: &str = "aws.autoscaling";
const HEALTH: &str = "aws.health";

/// The sources that a queue for node events may well carry other events of; they are no mistake of anybody.
const SOURCES: &[&str] = &[EC2, AUTO_SCALING, HEALTH];

/// The events that mean something to us, by source and detail type. Two are documented under two names each.
const EVENTS: &[(&str, &str, Parser)] = &[
    (
        EC2,
        "EC2 Spot Instance Interruption Warning",
        ec2::spot_interruption,
    ),
    (
        EC2,
        "EC2 Instance Rebalance Recommendation",
        ec2::rebalance_recommendation,
    ),
    (
        EC2,
        "EC2 Instance State-change Notification",
        ec2::state_change,
    ),
    (
        EC2,
        "EC2 Capacity Reservation Instance Interruption Warning",
        ec2::capacity_reservation,
    ),
    (
        EC2,
        "EC2 Interruptible Capacity Reservation Instance Interruption Warning",
        ec2::capacity_reservation,
    ),
    (
        EC2,
        "Capacity Block Expiration Warning",
        ec2::capacity_block,
    ),
    (
        EC2,
        "Capacity Block Reservation Expiration Warning",
        ec2::capacity_block,
    ),
    (
        AUTO_SCALING,
        "EC2 Instance-terminate Lifecycle Action",
        auto_scaling::event,
    ),
    (
        AUTO_SCALING,
        "EC2 Instance-launch Lifecycle Action",
        auto_scaling::event,
    ),
    (HEALTH, "AWS Health Event", health::scheduled_change),
];

/// What tells one event from another.
#[derive(Deserialize)]
struct Route {
    source: String,
    // The EC2 User Guide writes it with an underscore where it describes Capacity Blocks.
    #[serde(rename = "detail-type", alias = "detail_type")]
    detail_type: String,
}

/// What we use of every event.
#[derive(Deserialize)]
struct Envelope<D> {
    time: String,
    #[serde(default)]
    region: String,
    #[serde(default)]
    resources: Resources,
    detail: D,
}

/// The ARNs of what the event is about: a list, or one text alone, as the EC2 User Guide shows it for interruptible
/// capacity reservations.
#[derive(Default, Deserialize)]
#[serde(from = "Value")]
struct Resources(Vec<String>);

impl From<Value> for Resources {
    fn from(resources: Value) -> Self {
        let texts = match resources {
            Value::Array(list) => list,
            one => vec![one],
        };
        let arns = texts.iter().filter_map(Value::as_str);
        Self(arns.map(str::to_owned).collect())
    }
}

/// Reads an event by the parser of its source and detail type.
pub(super) fn parse(body: &str) -> Result<Parsed, Malformed> {
    let Route {
        source,
        detail_type,
    } = read(body)?;
    let parser = EVENTS
        .iter()
        .find(|(s, d, _)| *s == source && *d == detail_type);
    match parser {
        Some((_, _, parser)) => parser(body),
        None if SOURCES.contains(&source.as_str()) => {
            Ok(Parsed::Discarded(Discard::OtherDetailType))
        }
        None => Err(Malformed::UnknownSource),
    }
}

fn one(instance_id: String, signal: Signal) -> Parsed {
    Parsed::Signals(vec![Heard {
        instance_id,
        signal,
    }])
}
