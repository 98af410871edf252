//! The messages of one queue: what is visible, what is hidden and until when. Every step costs O(log n).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use md5::{Digest, Md5};
use uuid::Uuid;

use super::{
    ApiError, Redrive, invalid_value,
    receipt::{Receipt, hex},
};

/// The longest a message can stay invisible after a receive: 12 h (API reference, `ChangeMessageVisibility`).
const VISIBILITY_LIMIT: Duration = Duration::from_hours(12);

/// How many messages a queue holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Ready to be received.
    pub visible: usize,
    /// Received, neither deleted nor visible again.
    pub in_flight: usize,
    /// Sent with a delay that is not over.
    pub delayed: usize,
}

impl Depth {
    /// All messages, whatever their state.
    #[must_use]
    pub fn total(self) -> usize {
        self.visible + self.in_flight + self.delayed
    }
}

#[derive(Clone, Debug)]
pub(in crate::aws) struct Message {
    pub id: String,
    pub body: String,
    pub md5: String,
    pub sent: Timestamp,
    pub first_received: Option<Timestamp>,
    pub receive_count: u32,
    /// The queue that gave it up, by ARN, for one in a dead letter queue.
    pub source: Option<String>,
    last_received: Timestamp,
    hidden_until: Option<Timestamp>,
}

/// The messages of one queue.
#[derive(Debug)]
pub(in crate::aws) struct Messages {
    all: BTreeMap<u64, Message>,
    visible: BTreeSet<u64>,
    /// Received or delayed, by the time at which they become visible.
    hidden: BTreeSet<(Timestamp, u64)>,
    delayed: usize,
    next: u64,
    secret: Uuid,
}

impl Default for Messages {
    fn default() -> Self {
        Self {
            all: BTreeMap::new(),
            visible: BTreeSet::new(),
            hidden: BTreeSet::new(),
            delayed: 0,
            next: 0,
            secret: Uuid::new_v4(),
        }
    }
}

/// What one receive yields.
#[derive(Default)]
pub(in crate::aws) struct Haul {
    /// To be answered, with their new receipt handles.
    pub received: Vec<(Message, String)>,
    /// To be moved to the dead letter queue.
    pub dead: Vec<Message>,
}

impl Messages {
    pub fn depth(&self) -> Depth {
        Depth {
            visible: self.visible.len(),
            in_flight: self.hidden.len() - self.delayed,
            delayed: self.delayed,
        }
    }

    /// What the messages say, the oldest first.
    pub fn bodies(&self) -> Vec<String> {
        self.all.values().map(|m| m.body.clone()).collect()
    }

    /// When the next hidden message becomes visible.
    pub fn next_visible(&self) -> Option<Timestamp> {
        self.hidden.first().map(|(until, _)| *until)
    }

    /// Adds a message; returns its id and the MD5 of its body.
    pub fn send(&mut self, body: String, delay_seconds: u32, now: Timestamp) -> (String, String) {
        let message = Message {
            id: Uuid::new_v4().to_string(),
            md5: hex(&Md5::digest(&body)),
            body,
            sent: now,
            first_received: None,
            receive_count: 0,
            source: None,
            last_received: now,
            hidden_until: None,
        };
        let answer = (message.id.clone(), message.md5.clone());
        let number = self.add(message);
        if delay_seconds > 0 {
            self.delayed += 1;
            self.hide(number, now + Duration::from_secs(delay_seconds.into()));
        }
        answer
    }

    /// Takes in a message of another queue. Its age and receive count go with it.
    pub fn take_dead(&mut self, message: Message, source: &str) {
        let source = Some(source.into());
        self.add(Message { source, ..message });
    }

    fn add(&mut self, message: Message) -> u64 {
        let number = self.next;
        self.next += 1;
        self.all.insert(number, message);
        self.visible.insert(number);
        number
    }

    /// Receives up to `most` messages and hides them for a time.
    pub fn receive(
        &mut self,
        most: usize,
        visibility_seconds: u32,
        redrive: Option<&Redrive>,
        now: Timestamp,
    ) -> Haul {
        let mut haul = Haul::default();
        let until = now + Duration::from_secs(visibility_seconds.into());
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(number) = self.visible.pop_first()
            && let Some(message) = self.all.get_mut(&number)
        {
            if redrive.is_some_and(|redrive| message.receive_count >= redrive.max_receive_count) {
                haul.dead.extend(self.all.remove(&number));
                continue;
            }
            message.receive_count += 1;
            message.first_received.get_or_insert(now);
            message.last_received = now;
            let receive = message.receive_count;
            let handle = Receipt { number, receive }.write(self.secret);
            haul.received.push((message.clone(), handle));
            taken.push(number);
        }
        for number in taken {
            self.hide(number, until);
        }
        haul
    }

    /// Deletes a message. A receipt of an earlier receive succeeds and deletes nothing, and so does a second delete
    /// (developer guide, `DeleteMessage`).
    pub fn delete(&mut self, handle: &str) -> Result<(), ApiError> {
        let receipt = self.receipt(handle)?;
        if self.is_latest(receipt) {
            self.reveal(receipt.number);
            self.remove(receipt.number);
        }
        Ok(())
    }

    /// Hides a message in flight for so long from now; 0 makes it visible at once.
    pub fn change_visibility(
        &mut self,
        handle: &str,
        seconds: u32,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let receipt = self.receipt(handle)?;
        let message = self
            .all
            .get(&receipt.number)
            .filter(|_| self.is_latest(receipt));
        let Some(message) = message else {
            let reason =
                "Message does not exist or is not available for visibility timeout change.";
            return Err(invalid_value("ReceiptHandle", handle, reason));
        };
        if message.hidden_until.is_none() {
            let message = "The specified message is not in flight.";
            return Err(ApiError::legacy_sqs(
                "MessageNotInflight",
                "MessageNotInflight",
                message,
            ));
        }
        let until = now + Duration::from_secs(seconds.into());
        if seconds > 43_200 || until > message.last_received + VISIBILITY_LIMIT {
            let reason =
                "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]";
            return Err(invalid_value(
                "VisibilityTimeout",
                &seconds.to_string(),
                reason,
            ));
        }
        self.reveal(receipt.number);
        if seconds > 0 {
            self.hide(receipt.number, until);
        }
        Ok(())
    }

    /// Reveals what is hidden no longer, and drops what is older than the retention period.
    pub fn settle(&mut self, now: Timestamp, retention_seconds: u32) {
        while let Some((until, number)) = self.hidden.first().copied()
            && until <= now
        {
            self.reveal(number);
        }
        let retention = Duration::from_secs(retention_seconds.into());
        while let Some((&number, oldest)) = self.all.first_key_value()
            && oldest.sent + retention <= now
        {
            self.reveal(number);
            self.remove(number);
        }
    }

    fn receipt(&self, handle: &str) -> Result<Receipt, ApiError> {
        Receipt::read(handle, self.secret).ok_or_else(|| {
            let message =
                format!("The input receipt handle \"{handle}\" is not a valid receipt handle.");
            ApiError::sqs("ReceiptHandleIsInvalid", message)
        })
    }

    fn is_latest(&self, receipt: Receipt) -> bool {
        let message = self.all.get(&receipt.number);
        message.is_some_and(|message| message.receive_count == receipt.receive)
    }

    fn hide(&mut self, number: u64, until: Timestamp) {
        if let Some(message) = self.all.get_mut(&number) {
            message.hidden_until = Some(until);
            self.visible.remove(&number);
            self.hidden.insert((until, number));
        }
    }

    fn reveal(&mut self, number: u64) {
        if let Some(message) = self.all.get_mut(&number)
            && let Some(until) = message.hidden_until.take()
        {
            // Never received, so it was its delay that hid it.
            self.delayed -= usize::from(message.receive_count == 0);
            self.hidden.remove(&(until, number));
            self.visible.insert(number);
        }
    }

    fn remove(&mut self, number: u64) {
        self.all.remove(&number);
        self.visible.remove(&number);
    }
}
