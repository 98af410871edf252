//! Queue attributes.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{ApiError, invalid_value};

/// What a queue can be made with; the defaults are AWS's (API reference, `CreateQueue`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::aws) struct Attributes {
    pub visibility_timeout_seconds: u32,
    pub retention_seconds: u32,
    pub wait_time_seconds: u32,
    pub delay_seconds: u32,
    pub redrive: Option<Redrive>,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            visibility_timeout_seconds: 30,
            retention_seconds: 345_600,
            wait_time_seconds: 0,
            delay_seconds: 0,
            redrive: None,
        }
    }
}

/// Where a message goes that was received too often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::aws) struct Redrive {
    /// The dead letter queue's ARN.
    pub target_arn: String,
    /// After so many receives the next one moves the message instead.
    pub max_receive_count: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RedrivePolicy {
    dead_letter_target_arn: String,
    /// AWS takes it as a number and as a string.
    max_receive_count: Value,
}

impl Attributes {
    pub fn read(given: &BTreeMap<String, String>) -> Result<Self, ApiError> {
        let mut read = Self::default();
        for (name, value) in given {
            let number = |least, most| number(name, value, least, most);
            match name.as_str() {
                "VisibilityTimeout" => read.visibility_timeout_seconds = number(0, 43_200)?,
                "MessageRetentionPeriod" => read.retention_seconds = number(60, 1_209_600)?,
                "ReceiveMessageWaitTimeSeconds" => read.wait_time_seconds = number(0, 20)?,
                "DelaySeconds" => read.delay_seconds = number(0, 900)?,
                "RedrivePolicy" => read.redrive = Some(redrive(value)?),
                _ => {
                    let message = format!("Unknown Attribute {name}.");
                    return Err(ApiError::sqs("InvalidAttributeName", message).broken_rule());
                }
            }
        }
        Ok(read)
    }

    pub fn write(&self) -> BTreeMap<&'static str, String> {
        let mut written = BTreeMap::from([
            (
                "VisibilityTimeout",
                self.visibility_timeout_seconds.to_string(),
            ),
            ("MessageRetentionPeriod", self.retention_seconds.to_string()),
            (
                "ReceiveMessageWaitTimeSeconds",
                self.wait_time_seconds.to_string(),
            ),
            ("DelaySeconds", self.delay_seconds.to_string()),
        ]);
        if let Some(redrive) = &self.redrive {
            let policy = json!({
                "deadLetterTargetArn": redrive.target_arn,
                "maxReceiveCount": redrive.max_receive_count,
            });
            written.insert("RedrivePolicy", policy.to_string());
        }
        written
    }
}

fn number(name: &str, value: &str, least: u32, most: u32) -> Result<u32, ApiError> {
    let number = value
        .parse()
        .ok()
        .filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| invalid_value(name, value, "out of range").broken_rule())
}

fn redrive(value: &str) -> Result<Redrive, ApiError> {
    let invalid = || invalid_value("RedrivePolicy", value, "not a valid policy").broken_rule();
    let policy: RedrivePolicy = serde_json::from_str(value).map_err(|_| invalid())?;
    let count = policy.max_receive_count;
    let count = count
        .as_str()
        .map_or_else(|| count.to_string(), String::from);
    Ok(Redrive {
        target_arn: policy.dead_letter_target_arn,
        max_receive_count: number("maxReceiveCount", &count, 1, 1_000)?,
    })
}
