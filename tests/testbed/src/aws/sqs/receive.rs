//! `ReceiveMessage`: the long poll and the move to the dead letter queue.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Sqs, arn, invalid_value, messages::Message, named_by, requests::ReceiveMessage};
use crate::aws::{REGION, World, answer::ApiError, lock};

/// The longest pause between two looks at a queue with nothing hidden.
const IDLE: Duration = Duration::from_secs(20);

/// The attribute names that AWS knows beside those that are answered (API reference, `ReceiveMessage`).
const NEVER_SET: [&str; 5] = [
    "All",
    "AWSTraceHeader",
    "MessageDeduplicationId",
    "MessageGroupId",
    "SequenceNumber",
];

/// Answers as soon as there is a message, or empty when the wait time is over.
pub(super) async fn receive(
    world: &World,
    input: ReceiveMessage,
    duplicate: bool,
) -> Result<Value, ApiError> {
    check(&input)?;
    let signal = lock(&world.sqs).at(&input.queue_url)?.changed.clone();
    let mut end = None;
    loop {
        let mut changes = signal.subscribe();
        let look = look(&mut lock(&world.sqs), world, &input, duplicate)?;
        let end = *end.get_or_insert_with(|| Instant::now() + look.wait);
        if !look.found.is_empty() {
            return Ok(json!({ "Messages": look.found }));
        }
        if Instant::now() >= end {
            return Ok(json!({}));
        }
        let again = end.min(Instant::now() + look.pause);
        tokio::select! {
            () = changes.changed() => {}
            () = tokio::time::sleep_until(again) => {}
        }
    }
}

fn check(input: &ReceiveMessage) -> Result<(), ApiError> {
    let out_of_range = |name, value: u32, reason| {
        Err(invalid_value(name, &value.to_string(), reason).broken_rule())
    };
    match (
        input.max_number_of_messages,
        input.wait_time_seconds,
        input.visibility_timeout,
    ) {
        (Some(most), ..) if !(1..=10).contains(&most) => {
            let value = u32::try_from(most).unwrap_or(u32::MAX);
            out_of_range(
                "MaxNumberOfMessages",
                value,
                "Must be between 1 and 10, if provided.",
            )
        }
        (_, Some(wait), _) if wait > 20 => out_of_range(
            "WaitTimeSeconds",
            wait,
            "Must be >= 0 and <= 20, if provided.",
        ),
        (.., Some(seconds)) if seconds > 43_200 => {
            out_of_range("VisibilityTimeout", seconds, "Must be between 0 and 43200.")
        }
        _ => Ok(()),
    }
}

/// What one look at the queue came to.
struct Look {
    found: Vec<Value>,
    /// The wait time of the whole request.
    wait: Duration,
    /// How long until a message becomes visible by itself.
    pause: Duration,
}

fn look(
    sqs: &mut Sqs,
    world: &World,
    input: &ReceiveMessage,
    duplicate: bool,
) -> Result<Look, ApiError> {
    let now = world.clock.now();
    let queue = sqs.at(&input.queue_url)?;
    queue.settle(now);
    let attributes = &queue.attributes;
    let visibility = input
        .visibility_timeout
        .unwrap_or(attributes.visibility_timeout_seconds);
    let wait = input
        .wait_time_seconds
        .unwrap_or(attributes.wait_time_seconds);
    let redrive = attributes.redrive.clone();
    let haul = queue.messages.receive(
        input.max_number_of_messages.unwrap_or(1),
        if duplicate { 0 } else { visibility },
        redrive.as_ref(),
        now,
    );
    if !haul.received.is_empty() || !haul.dead.is_empty() {
        queue.changed.notify();
    }
    let next = queue.messages.next_visible();
    if let Some(redrive) = redrive {
        bury(sqs, &input.queue_url, &redrive.target_arn, haul.dead);
    }
    let found = haul
        .received
        .iter()
        .map(|(message, handle)| answer(input, message, handle));
    Ok(Look {
        found: found.collect::<Result<_, _>>()?,
        wait: Duration::from_secs(wait.into()),
        pause: next.map_or(IDLE, |next| world.clock.until(next)),
    })
}

/// Moves messages to the dead letter queue; without one they stay lost, as nothing else can be done with them.
fn bury(sqs: &mut Sqs, source_url: &str, target_arn: &str, dead: Vec<Message>) {
    let source = arn(source_url.rsplit('/').next().unwrap_or_default());
    if let Some(target) = sqs.named(named_by(target_arn)) {
        for message in dead {
            target.messages.take_dead(message, &source);
        }
        target.changed.notify();
    }
}

fn answer(input: &ReceiveMessage, message: &Message, handle: &str) -> Result<Value, ApiError> {
    let mut answer = json!({
        "MessageId": message.id,
        "ReceiptHandle": handle,
        "MD5OfBody": message.md5,
        "Body": message.body,
    });
    let attributes = attributes(input, message)?;
    if !attributes.is_empty() {
        answer["Attributes"] = json!(attributes);
    }
    Ok(answer)
}

fn attributes(
    input: &ReceiveMessage,
    message: &Message,
) -> Result<BTreeMap<&'static str, String>, ApiError> {
    let milliseconds = |time: jiff::Timestamp| time.as_millisecond().to_string();
    let first_received = message.first_received.map(milliseconds).unwrap_or_default();
    let mut known = BTreeMap::from([
        ("ApproximateReceiveCount", message.receive_count.to_string()),
        ("ApproximateFirstReceiveTimestamp", first_received),
        ("SentTimestamp", milliseconds(message.sent)),
        ("SenderId", format!("AIDAIENQZJOLO23YVJ4VO:{REGION}")),
        (
            "DeadLetterQueueSourceArn",
            message.source.clone().unwrap_or_default(),
        ),
    ]);
    let asked = [
        &input.attribute_names,
        &input.message_system_attribute_names,
    ];
    let asked: Vec<&str> = asked.into_iter().flatten().map(String::as_str).collect();
    if let Some(odd) = asked
        .iter()
        .find(|n| !known.contains_key(*n) && !NEVER_SET.contains(n))
    {
        let message = format!("Unknown Attribute {odd}.");
        return Err(ApiError::sqs("InvalidAttributeName", message).broken_rule());
    }
    known.retain(|name, value| {
        !value.is_empty() && (asked.contains(&"All") || asked.contains(name))
    });
    Ok(known)
}
