//! What a queue's message may be instead of an EventBridge event: a lifecycle notification that Auto Scaling sends by
//! itself, or an SNS notification around either.
//!
//! Shapes: "Receive the notification" in the EC2 Auto Scaling User Guide, "Parsing message formats" in the SNS
//! Developer Guide. A lifecycle notification names no region; the topic and the queue of a hook are in its group's
//! region, so the topic's stands for it, and else the region stays empty until the source fills in its queue's.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::body::read;
use super::eventbridge::auto_scaling::LifecycleAction;
use super::{Discard, Malformed, Parsed, eventbridge, field};

/// What Auto Scaling sends to see whether it may.
const TEST: &str = "autoscaling:TEST_NOTIFICATION";

/// Which sort of message a body is, by the fields that it has.
#[derive(Deserialize)]
struct Sort {
    #[serde(default)]
    source: Option<IgnoredAny>,
    #[serde(rename = "Type", default)]
    wrapped: Option<IgnoredAny>,
    #[serde(rename = "LifecycleTransition", default)]
    lifecycle_action: Option<IgnoredAny>,
    #[serde(rename = "Event", default)]
    scaling: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wrapped {
    r#type: String,
    #[serde(default)]
    topic_arn: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Scaling {
    event: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Lifecycle {
    time: String,
    #[serde(rename = "AutoScalingGroupARN", default)]
    group_arn: String,
    #[serde(flatten)]
    action: LifecycleAction,
}

/// Reads a message of any sort. An SNS notification is opened once: nobody wraps one in another.
pub(super) fn parse(body: &str) -> Result<Parsed, Malformed> {
    match read(body)? {
        Sort {
            source: None,
            wrapped: Some(_),
            ..
        } => unwrapped(body),
        sort => parse_as(&sort, body, ""),
    }
}

fn unwrapped(body: &str) -> Result<Parsed, Malformed> {
    let notification: Wrapped = read(body)?;
    if notification.r#type != "Notification" {
        // A subscription that is confirmed or ended.
        return Ok(Parsed::Discarded(Discard::OtherNotification));
    }
    let message = &notification.message;
    parse_as(&read(message)?, message, &notification.topic_arn)
}

fn parse_as(sort: &Sort, body: &str, topic_arn: &str) -> Result<Parsed, Malformed> {
    match sort {
        Sort {
            source: None,
            lifecycle_action: Some(_),
            ..
        } => lifecycle(body, topic_arn),
        Sort {
            source: None,
            scaling: Some(_),
            ..
        } => scaling(body),
        _ => eventbridge::parse(body),
    }
}

fn lifecycle(body: &str, topic_arn: &str) -> Result<Parsed, Malformed> {
    let notification: Lifecycle = read(body)?;
    let of_group = field::region_of_arn(&notification.group_arn);
    let region = of_group.or_else(|| field::region_of_arn(topic_arn));
    let region = region.unwrap_or_default();
    notification.action.parsed(&notification.time, Ok(region))
}

/// What has happened to a group already, or a test.
fn scaling(body: &str) -> Result<Parsed, Malformed> {
    let Scaling { event } = read(body)?;
    match event.as_str() {
        TEST => Ok(Parsed::Discarded(Discard::TestNotification)),
        other if other.starts_with("autoscaling:") => {
            Ok(Parsed::Discarded(Discard::OtherNotification))
        }
        _ => Err(Malformed::UnknownSource),
    }
}
