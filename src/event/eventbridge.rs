//! EventBridge events: which of them announce a termination, and what they say.
//!
//! Shapes: "Events from AWS services" in the EventBridge User Guide; "EC2 Spot Instance interruption notices" in the
//! EC2 User Guide; "EventBridge event examples" in the EC2 Auto Scaling User Guide. Fields that we do not use are
//! not looked at, so that AWS may add to them.

use serde::Deserialize;

use super::body::read;
use super::{Discard, Heard, Malformed, Parsed, field, identity, signal};
use crate::api::Time;
use crate::api::termination::{LifecycleHook, Signal, SignalKind};

/// What an event is parsed by: the whole body in, for the detail is read together with its envelope.
type Parser = fn(&str) -> Result<Parsed, Malformed>;

/// The events that mean something to us, by source and detail type.
const EVENTS: &[(&str, &str, Parser)] = &[
    (
        "aws.ec2",
        "EC2 Spot Instance Interruption Warning",
        spot_interruption,
    ),
    (
        "aws.autoscaling",
        "EC2 Instance-terminate Lifecycle Action",
        auto_scaling_termination,
    ),
];

/// The sources that a queue for node events may well carry other events of; they are no mistake of anybody.
const SOURCES: &[&str] = &["aws.ec2", "aws.autoscaling", "aws.health"];

/// The transition of an instance that leaves its group ("Lifecycle hooks" in the EC2 Auto Scaling User Guide).
const TERMINATING: &str = "autoscaling:EC2_INSTANCE_TERMINATING";

/// What tells one event from another.
#[derive(Deserialize)]
struct Route {
    source: String,
    #[serde(rename = "detail-type")]
    detail_type: String,
}

/// What we use of every event.
#[derive(Deserialize)]
struct Envelope<D> {
    time: String,
    #[serde(default)]
    region: String,
    detail: D,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SpotDetail {
    instance_id: String,
    #[serde(default)]
    instance_action: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LifecycleDetail {
    #[serde(rename = "EC2InstanceId")]
    instance_id: String,
    auto_scaling_group_name: String,
    lifecycle_hook_name: String,
    lifecycle_action_token: String,
    lifecycle_transition: String,
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

fn spot_interruption(body: &str) -> Result<Parsed, Malformed> {
    let event: Envelope<SpotDetail> = read(body)?;
    let instance_id = field::instance_id(event.detail.instance_id)?;
    let notice = field::time(&event.time)?;
    let action = field::instance_action(event.detail.instance_action)?;
    let signal = signal::spot_interruption(&instance_id, notice, action)?;
    Ok(one(instance_id, signal))
}

fn auto_scaling_termination(body: &str) -> Result<Parsed, Malformed> {
    let event: Envelope<LifecycleDetail> = read(body)?;
    let detail = event.detail;
    if detail.lifecycle_transition != TERMINATING {
        return Ok(Parsed::Discarded(Discard::OtherTransition));
    }
    let instance_id = field::instance_id(detail.instance_id)?;
    let notice = field::time(&event.time)?;
    let hook = LifecycleHook {
        auto_scaling_group_name: field::text(
            "AutoScalingGroupName",
            detail.auto_scaling_group_name,
            255,
        )?,
        hook_name: field::text("LifecycleHookName", detail.lifecycle_hook_name, 255)?,
        action_token: field::text("LifecycleActionToken", detail.lifecycle_action_token, 64)?,
        transition: detail.lifecycle_transition,
        region: field::region(event.region)?,
        // Whose credentials complete it is a matter of the source that heard it.
        role_arn: None,
        external_id: None,
    };
    let id = identity::auto_scaling_termination(&instance_id, &hook);
    Ok(one(
        instance_id,
        // Its deadline follows from the hook's time-out, which the event does not tell.
        Signal {
            lifecycle_hook: Some(hook),
            ..Signal::new(id, SignalKind::AutoScalingTermination, Time(notice))
        },
    ))
}

fn one(instance_id: String, signal: Signal) -> Parsed {
    Parsed::Signals(vec![Heard {
        instance_id,
        signal,
    }])
}
