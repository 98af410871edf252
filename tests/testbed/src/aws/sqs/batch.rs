//! The batch operations: each entry succeeds or fails by itself.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    ApiError, Sqs,
    requests::{Batch, DeleteEntry, SendEntry, VisibilityEntry},
};

pub(super) fn send(
    sqs: &mut Sqs,
    batch: Batch<SendEntry>,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let queue = sqs.at(&batch.queue_url)?;
    each(batch.entries, |entry: SendEntry| {
        let (id, md5) = queue.send(entry.message_body, entry.delay_seconds, now);
        Ok(json!({ "Id": entry.id, "MessageId": id, "MD5OfMessageBody": md5 }))
    })
}

pub(super) fn delete(sqs: &mut Sqs, batch: Batch<DeleteEntry>) -> Result<Value, ApiError> {
    let queue = sqs.at(&batch.queue_url)?;
    each(batch.entries, |entry: DeleteEntry| {
        queue.delete(&entry.receipt_handle)?;
        Ok(json!({ "Id": entry.id }))
    })
}

pub(super) fn change_visibility(
    sqs: &mut Sqs,
    batch: Batch<VisibilityEntry>,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let queue = sqs.at(&batch.queue_url)?;
    each(batch.entries, |entry: VisibilityEntry| {
        queue.change_visibility(&entry.receipt_handle, entry.visibility_timeout, now)?;
        Ok(json!({ "Id": entry.id }))
    })
}

/// An entry of a batch.
trait Entry {
    fn id(&self) -> &str;
}

impl Entry for SendEntry {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Entry for DeleteEntry {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Entry for VisibilityEntry {
    fn id(&self) -> &str {
        &self.id
    }
}

/// Checks the batch as a whole, then does one entry after the other.
fn each<T: Entry>(
    entries: Vec<T>,
    mut act: impl FnMut(T) -> Result<Value, ApiError>,
) -> Result<Value, ApiError> {
    check(&entries).map_err(ApiError::broken_rule)?;
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for entry in entries {
        let id = entry.id().to_owned();
        match act(entry) {
            Ok(done) => successful.push(done),
            Err(error) => failed.push(failure(&id, &error)),
        }
    }
    let mut answer = json!({ "Successful": successful });
    if !failed.is_empty() {
        answer["Failed"] = Value::Array(failed);
    }
    Ok(answer)
}

fn failure(id: &str, error: &ApiError) -> Value {
    let code = error.code.rsplit('.').next();
    json!({
        "Id": id,
        "SenderFault": true,
        "Code": code,
        "Message": error.message,
    })
}

fn check<T: Entry>(entries: &[T]) -> Result<(), ApiError> {
    let refuse = |name: &str, message: &str| Err(ApiError::legacy_sqs(name, name, message));
    let ids: BTreeSet<&str> = entries.iter().map(Entry::id).collect();
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if entries.is_empty() {
        refuse(
            "EmptyBatchRequest",
            "There should be at least one entry in the request.",
        )
    } else if entries.len() > 10 {
        let message = "Maximum number of entries per request are 10.";
        refuse("TooManyEntriesInBatchRequest", message)
    } else if ids.len() < entries.len() {
        refuse(
            "BatchEntryIdsNotDistinct",
            "Ids of the entries in the request are not distinct.",
        )
    } else if ids
        .iter()
        .any(|id| id.is_empty() || id.len() > 80 || !id.chars().all(allowed))
    {
        let message = "The Id of a batch entry can only contain alphanumeric characters, hyphens \
                       and underscores.";
        refuse("InvalidBatchEntryId", message)
    } else {
        Ok(())
    }
}
