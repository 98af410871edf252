//! An SQS queue of notices.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use aws_sdk_sqs::error::BuildError;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry,
    DeleteMessageBatchRequestEntry, Message as SdkMessage, MessageSystemAttributeName,
};
use jiff::Timestamp;

use super::call::{CALL_TIMEOUT, call};
use super::error::refused;
use super::{Error, Metrics, Operation, Reason};

/// The most messages of one receive, and the most entries of one batch (SQS quotas).
const BATCH: usize = 10;

/// The longest wait of one receive (SQS, `WaitTimeSeconds`).
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// The longest visibility timeout (SQS, `VisibilityTimeout`: 12 hours).
const LONGEST_VISIBILITY: Duration = Duration::from_hours(12);

/// One queue. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Queue {
    client: aws_sdk_sqs::Client,
    url: String,
    metrics: Metrics,
}

/// A message, hidden from others for the visibility timeout it was received with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The message ID: the same at every receive.
    pub id: String,
    /// What to delete or release it with; new at every receive.
    pub receipt: ReceiptHandle,
    /// The text.
    pub body: String,
    /// How often it was received, this time included (SQS `ApproximateReceiveCount`).
    pub receive_count: u32,
    /// When it was sent (SQS `SentTimestamp`, milliseconds).
    pub sent_at: Option<Timestamp>,
}

/// The right to delete or release a received message. A secret of sorts: `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ReceiptHandle(String);

impl Queue {
    pub(super) fn new(client: aws_sdk_sqs::Client, url: &str, metrics: Metrics) -> Self {
        let url = url.to_owned();
        Self {
            client,
            url,
            metrics,
        }
    }

    /// Receives up to 10 messages; none within `wait` (at most 20 s) is an empty answer. They stay hidden from other
    /// receivers for `visibility`, in whole seconds, at most 12 h.
    pub async fn receive(
        &self,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Message>, Error> {
        let wait = wait.min(LONGEST_WAIT);
        let request = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(10)
            .wait_time_seconds(whole_seconds(wait))
            .visibility_timeout(whole_seconds(visibility))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp);
        let limit = wait + CALL_TIMEOUT;
        let operation = Operation::ReceiveMessage;
        let answer = call(&self.metrics, operation, limit, request.send()).await?;
        let messages = answer.messages.unwrap_or_default();
        Ok(messages.into_iter().filter_map(Message::read).collect())
    }

    /// Deletes the messages, ten to a call. Returns those that were not deleted, each with why.
    pub async fn delete(&self, receipts: &[ReceiptHandle]) -> Vec<(ReceiptHandle, Error)> {
        let mut failed = Vec::new();
        for batch in receipts.chunks(BATCH) {
            let result = self.delete_batch(batch).await;
            failed.extend(failures(batch.iter(), &result));
        }
        failed
    }

    /// Sets for how long each message stays hidden from now, in whole seconds: zero gives it back at once. Ten to a
    /// call. Returns those that were not changed, each with why.
    pub async fn release(
        &self,
        messages: &[(ReceiptHandle, Duration)],
    ) -> Vec<(ReceiptHandle, Error)> {
        let mut failed = Vec::new();
        for batch in messages.chunks(BATCH) {
            let receipts = batch.iter().map(|(receipt, _)| receipt);
            let result = self.release_batch(batch).await;
            failed.extend(failures(receipts, &result));
        }
        failed
    }

    async fn delete_batch(&self, batch: &[ReceiptHandle]) -> Result<Failures, Error> {
        let operation = Operation::DeleteMessageBatch;
        let entry = |(id, receipt): (usize, &ReceiptHandle)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(id.to_string())
                .receipt_handle(&receipt.0)
                .build()
        };
        let entries = entries(operation, batch.iter().enumerate().map(entry))?;
        let request = self
            .client
            .delete_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries));
        let answer = call(&self.metrics, operation, CALL_TIMEOUT, request.send()).await?;
        Ok(Failures::read(operation, &answer.failed))
    }

    async fn release_batch(&self, batch: &[(ReceiptHandle, Duration)]) -> Result<Failures, Error> {
        let operation = Operation::ChangeMessageVisibilityBatch;
        let entry = |(id, (receipt, visibility)): (usize, &(ReceiptHandle, Duration))| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(id.to_string())
                .receipt_handle(&receipt.0)
                .visibility_timeout(whole_seconds(*visibility))
                .build()
        };
        let entries = entries(operation, batch.iter().enumerate().map(entry))?;
        let request = self
            .client
            .change_message_visibility_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries));
        let answer = call(&self.metrics, operation, CALL_TIMEOUT, request.send()).await?;
        Ok(Failures::read(operation, &answer.failed))
    }
}

/// The entries of one batch that the service refused, by their place in it.
struct Failures(HashMap<usize, Error>);

impl Failures {
    fn read(operation: Operation, refusals: &[BatchResultErrorEntry]) -> Self {
        let read = |entry: &BatchResultErrorEntry| {
            let status = if entry.sender_fault { 400 } else { 500 };
            let message = entry.message.as_deref().unwrap_or_default();
            let error = refused(operation, &entry.code, message, status);
            Some((entry.id.parse().ok()?, error))
        };
        Self(refusals.iter().filter_map(read).collect())
    }
}

/// The messages of a batch that failed when its call ended in `result`: all of them, if it was the call that failed.
fn failures<'a>(
    receipts: impl Iterator<Item = &'a ReceiptHandle>,
    result: &Result<Failures, Error>,
) -> Vec<(ReceiptHandle, Error)> {
    let failure = |id: usize| match result {
        Ok(Failures(refused)) => refused.get(&id).cloned(),
        Err(error) => Some(error.clone()),
    };
    receipts
        .enumerate()
        .filter_map(|(id, receipt)| Some((receipt.clone(), failure(id)?)))
        .collect()
}

fn entries<T>(
    operation: Operation,
    entries: impl Iterator<Item = Result<T, BuildError>>,
) -> Result<Vec<T>, Error> {
    let entries: Result<Vec<T>, BuildError> = entries.collect();
    entries.map_err(|error| Error::new(operation, Reason::InvalidRequest, &error.to_string()))
}

/// Seconds as SQS takes them: rounded up, so that a message is never seen again early; at most 12 hours.
fn whole_seconds(duration: Duration) -> i32 {
    let duration = duration.min(LONGEST_VISIBILITY);
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

impl Message {
    fn read(message: SdkMessage) -> Option<Self> {
        let attributes = message.attributes.unwrap_or_default();
        let receives = attributes.get(&MessageSystemAttributeName::ApproximateReceiveCount);
        let sent = attributes.get(&MessageSystemAttributeName::SentTimestamp);
        Some(Self {
            id: message.message_id.unwrap_or_default(),
            receipt: ReceiptHandle(message.receipt_handle?),
            body: message.body.unwrap_or_default(),
            receive_count: receives.and_then(|count| count.parse().ok()).unwrap_or(1),
            sent_at: sent.and_then(|at| Timestamp::from_millisecond(at.parse().ok()?).ok()),
        })
    }
}

impl From<String> for ReceiptHandle {
    fn from(handle: String) -> Self {
        Self(handle)
    }
}

impl fmt::Debug for ReceiptHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReceiptHandle(…)")
    }
}
