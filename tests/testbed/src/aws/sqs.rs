//! SQS standard queues over the JSON 1.0 protocol.
//!
//! Order is first in, first out where the real service promises none, and a receive finds every visible message where
//! the real one may miss some. Message attributes, FIFO queues and the limits on size and number are not modelled.

mod attributes;
mod batch;
mod messages;
mod receipt;
mod receive;
mod requests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use serde_json::{Value, json};

pub use self::messages::Depth;
use self::requests::{
    ChangeMessageVisibility, CreateQueue, DeleteMessage, GetQueueAttributes, GetQueueUrl,
    PurgeQueue, SendMessage,
};
pub(super) use self::{
    attributes::{Attributes, Redrive},
    messages::Messages,
};
use super::{
    ACCOUNT, REGION, World,
    answer::ApiError,
    lock,
    request::{self, Asked},
    signal::Signal,
};

/// All queues of the account.
#[derive(Debug)]
pub(super) struct Sqs {
    endpoint: String,
    queues: BTreeMap<String, QueueState>,
}

/// One queue.
#[derive(Debug)]
pub(super) struct QueueState {
    pub attributes: Attributes,
    pub messages: Messages,
    created: Timestamp,
    /// Notified when messages come, go or change visibility.
    pub changed: Arc<Signal>,
}

/// The answer for a queue that is not there, deleted ones included.
pub(super) fn no_such_queue() -> ApiError {
    let message = "The specified queue does not exist.";
    ApiError::legacy_sqs("QueueDoesNotExist", "NonExistentQueue", message)
}

fn invalid_value(name: &str, value: &str, reason: &str) -> ApiError {
    let message = format!("Value {value} for parameter {name} is invalid. Reason: {reason}");
    ApiError::coral(400, "InvalidParameterValue", message)
}

/// The Amazon resource name of a queue.
pub(super) fn arn(name: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
}

fn named_by(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or_default()
}

impl Sqs {
    pub fn new(endpoint: &str) -> Self {
        Self {
            endpoint: endpoint.into(),
            queues: BTreeMap::new(),
        }
    }

    pub fn url(&self, name: &str) -> String {
        format!("{}/{ACCOUNT}/{name}", self.endpoint)
    }

    /// Finds a queue by name.
    pub fn named(&mut self, name: &str) -> Option<&mut QueueState> {
        self.queues.get_mut(name)
    }

    /// Finds a queue by the path of its URL; the host is not looked at, as the client may know it by another name.
    fn at(&mut self, url: &str) -> Result<&mut QueueState, ApiError> {
        let mut path = url.rsplit('/');
        let (name, account) = (path.next(), path.next());
        name.filter(|_| account == Some(ACCOUNT))
            .and_then(|name| self.queues.get_mut(name))
            .ok_or_else(no_such_queue)
    }

    /// Makes a queue; making it again with the same attributes is fine.
    pub fn create(
        &mut self,
        name: &str,
        attributes: Attributes,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 80 || !name.chars().all(allowed) {
            return Err(
                invalid_value("QueueName", name, "standard queue names only").broken_rule(),
            );
        }
        match self.queues.get(name) {
            Some(queue) if queue.attributes == attributes => Ok(()),
            Some(_) => {
                let message = "A queue already exists with the same name and a different value";
                Err(ApiError::legacy_sqs(
                    "QueueNameExists",
                    "QueueAlreadyExists",
                    message,
                ))
            }
            None => {
                let queue = QueueState {
                    attributes,
                    messages: Messages::default(),
                    created: now,
                    changed: Arc::default(),
                };
                self.queues.insert(name.into(), queue);
                Ok(())
            }
        }
    }

    /// Lets everyone who waits for a queue look at it again, because time has jumped.
    pub fn wake(&self) {
        self.queues
            .values()
            .for_each(|queue| queue.changed.notify());
    }

    pub fn delete(&mut self, name: &str) {
        if let Some(queue) = self.queues.remove(name) {
            queue.changed.notify();
        }
    }
}

impl QueueState {
    pub fn send(&mut self, body: String, delay: Option<u32>, now: Timestamp) -> (String, String) {
        let delay = delay.unwrap_or(self.attributes.delay_seconds);
        let sent = self.messages.send(body, delay, now);
        self.changed.notify();
        sent
    }

    fn delete(&mut self, handle: &str) -> Result<(), ApiError> {
        self.messages.delete(handle)?;
        self.changed.notify();
        Ok(())
    }

    fn change_visibility(
        &mut self,
        handle: &str,
        seconds: u32,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        self.settle(now);
        self.messages.change_visibility(handle, seconds, now)?;
        self.changed.notify();
        Ok(())
    }

    /// Applies what the time that has passed does: expired visibility timeouts, delays and retention.
    pub fn settle(&mut self, now: Timestamp) {
        self.messages.settle(now, self.attributes.retention_seconds);
    }
}

pub(super) async fn perform(
    world: &World,
    asked: &Asked,
    duplicate: bool,
) -> Result<Value, ApiError> {
    let now = world.clock.now();
    if asked.operation == "ReceiveMessage" {
        return receive::receive(world, asked.input()?, duplicate).await;
    }
    let sqs = &mut lock(&world.sqs);
    match asked.operation.as_str() {
        "CreateQueue" => create_queue(sqs, &asked.input()?, now),
        "GetQueueUrl" => get_queue_url(sqs, &asked.input()?),
        "GetQueueAttributes" => get_queue_attributes(sqs, &asked.input()?, now),
        "PurgeQueue" => purge_queue(sqs, &asked.input()?),
        "SendMessage" => send_message(sqs, asked.input()?, now),
        "DeleteMessage" => delete_message(sqs, &asked.input()?),
        "ChangeMessageVisibility" => change_visibility(sqs, &asked.input()?, now),
        "SendMessageBatch" => batch::send(sqs, asked.input()?, now),
        "DeleteMessageBatch" => batch::delete(sqs, asked.input()?),
        "ChangeMessageVisibilityBatch" => batch::change_visibility(sqs, asked.input()?, now),
        _ => Err(request::unknown_operation(asked)),
    }
}

fn create_queue(sqs: &mut Sqs, input: &CreateQueue, now: Timestamp) -> Result<Value, ApiError> {
    let attributes = Attributes::read(&input.attributes)?;
    sqs.create(&input.queue_name, attributes, now)?;
    Ok(json!({ "QueueUrl": sqs.url(&input.queue_name) }))
}

fn get_queue_url(sqs: &mut Sqs, input: &GetQueueUrl) -> Result<Value, ApiError> {
    let owner = input
        .queue_owner_aws_account_id
        .as_deref()
        .unwrap_or(ACCOUNT);
    sqs.named(&input.queue_name)
        .filter(|_| owner == ACCOUNT)
        .ok_or_else(no_such_queue)?;
    Ok(json!({ "QueueUrl": sqs.url(&input.queue_name) }))
}

fn get_queue_attributes(
    sqs: &mut Sqs,
    input: &GetQueueAttributes,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let queue = sqs.at(&input.queue_url)?;
    queue.settle(now);
    let mut known = queue.attributes.write();
    let Depth {
        visible,
        in_flight,
        delayed,
    } = queue.messages.depth();
    let name = input.queue_url.rsplit('/').next().unwrap_or_default();
    known.extend([
        ("ApproximateNumberOfMessages", visible.to_string()),
        (
            "ApproximateNumberOfMessagesNotVisible",
            in_flight.to_string(),
        ),
        ("ApproximateNumberOfMessagesDelayed", delayed.to_string()),
        ("CreatedTimestamp", queue.created.as_second().to_string()),
        ("QueueArn", arn(name)),
    ]);
    let asked: BTreeSet<&str> = input.attribute_names.iter().map(String::as_str).collect();
    let optional = ["All", "RedrivePolicy"];
    if let Some(odd) = asked
        .iter()
        .find(|name| !known.contains_key(*name) && !optional.contains(name))
    {
        let message = format!("Unknown Attribute {odd}.");
        return Err(ApiError::sqs("InvalidAttributeName", message).broken_rule());
    }
    known.retain(|name, _| asked.contains("All") || asked.contains(name));
    Ok(json!({ "Attributes": known }))
}

fn purge_queue(sqs: &mut Sqs, input: &PurgeQueue) -> Result<Value, ApiError> {
    let queue = sqs.at(&input.queue_url)?;
    queue.messages = Messages::default();
    queue.changed.notify();
    Ok(json!({}))
}

fn send_message(sqs: &mut Sqs, input: SendMessage, now: Timestamp) -> Result<Value, ApiError> {
    let queue = sqs.at(&input.queue_url)?;
    let (id, md5) = queue.send(input.message_body, input.delay_seconds, now);
    Ok(json!({ "MessageId": id, "MD5OfMessageBody": md5 }))
}

fn delete_message(sqs: &mut Sqs, input: &DeleteMessage) -> Result<Value, ApiError> {
    sqs.at(&input.queue_url)?.delete(&input.receipt_handle)?;
    Ok(json!({}))
}

fn change_visibility(
    sqs: &mut Sqs,
    input: &ChangeMessageVisibility,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let queue = sqs.at(&input.queue_url)?;
    queue.change_visibility(&input.receipt_handle, input.visibility_timeout, now)?;
    Ok(json!({}))
}
