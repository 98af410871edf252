//! What keeps a queue's messages waiting though the queue itself is read: EC2 does not answer a question about them.

use std::sync::PoisonError;
use std::time::Instant;

use super::sqs::{Monitor, SILENCE_MAX};
use crate::api::policy::SourceState;
use crate::aws::Error;

/// What EC2 is asked about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// Which instances carry a tag.
    Tags,
    /// Which instances are in a capacity reservation.
    Reservation,
}

impl Monitor {
    /// Tells of it and remembers it. The messages come again.
    pub(super) fn troubled(&self, question: Question, error: &Error) {
        tracing::warn!(queue = self.key.url, ?question, %error, "EC2 does not tell; the messages come again");
        self.tell(SourceState::BackingOff, error.reason(), error.to_string());
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.insert(question, Instant::now());
    }

    /// EC2 has answered such a question.
    pub(super) fn answered(&self, question: Question) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.remove(&question);
    }

    /// Whether a question was not answered lately. A message that waits for an answer is received again within two
    /// minutes.
    pub(super) fn is_troubled(&self) -> bool {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.values().any(|since| since.elapsed() < SILENCE_MAX)
    }
}
