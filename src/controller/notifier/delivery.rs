//! One attempt to tell somebody of one stage.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Notifier;
use super::queue::{End, Task};
use super::settings::{Destination, Trouble};
use crate::api::termination::NotificationState;
use crate::clock;
use crate::controller::metrics;
use crate::notify::{Answer, Message};

/// What a person has to mend is looked at again after this: their edit, or the Secret's, wakes nobody.
const MENDED_AFTER: Duration = Duration::from_secs(15);

impl Notifier {
    /// Sends one notification once, and takes down what came of it.
    pub(super) async fn deliver(self: Arc<Self>, task: Task) {
        let end = self.attempt(&task).await;
        let (name, stage) = (task.row.name.as_str(), task.row.stage);
        let said = match &end {
            End::Settled(_, _, message) => message.clone(),
            End::Again(message, _) => Some(message.clone()),
        };
        let became = self.lock().end(&task, end, Instant::now(), clock::now());
        let result = match became {
            NotificationState::Pending => "Retried",
            NotificationState::Sent => "Sent",
            NotificationState::Skipped => "Skipped",
            NotificationState::Failed => metrics::FAILED,
        };
        self.metrics.notified(stage, result);
        if let Some(said) = said {
            tracing::warn!(nodetermination = %task.incident, notification = name, stage = stage.as_str(), said, result, "a notification was not accepted");
        } else {
            tracing::debug!(nodetermination = %task.incident, notification = name, stage = stage.as_str(), result, "notified");
        }
        self.more.notify_one();
        if became != NotificationState::Pending {
            self.tell_soon(task.incident).await;
        }
    }

    async fn attempt(&self, task: &Task) -> End {
        let destination = match self.destination(&task.policy, &task.row.name).await {
            Ok(Some(destination)) => destination,
            Ok(None) => return failed("the policy has no such notification any more"),
            Err(trouble) => return again(&trouble),
        };
        let Destination {
            notification,
            post,
            variables,
        } = destination;
        let message = Message::of(&task.object, &task.row, self.cluster.as_deref());
        let (id, object) = (message.id.clone(), task.object.clone());
        let body = self
            .templates
            .body(&notification, message, object, variables);
        let body = match body.await {
            Ok(body) => body,
            Err(fault) => return again(&Trouble::template(&notification.name, &fault.bare())),
        };
        if body.trim().is_empty() {
            return End::Settled(NotificationState::Skipped, None, None);
        }
        // The Secrets may have taken their time, and the process may have been frozen meanwhile.
        if self.term.is_over() {
            let said = "leadership ended before it was sent".to_owned();
            return End::Again(said, Duration::ZERO);
        }
        match self.sender.send(post, &id, body).await {
            Answer::Accepted => End::Settled(NotificationState::Sent, Some(clock::now()), None),
            // With a token that was replaced since, the last word of an incident would be lost.
            Answer::Refused(said) if self.secrets.doubt(&notification) => {
                End::Again(said, Duration::ZERO)
            }
            Answer::Refused(said) => failed(&said),
            Answer::Again(said, wait) => {
                self.secrets.doubt(&notification);
                End::Again(said, wait)
            }
        }
    }
}

fn failed(said: &str) -> End {
    End::Settled(NotificationState::Failed, None, Some(said.to_owned()))
}

fn again(trouble: &Trouble) -> End {
    End::Again(trouble.message.clone(), MENDED_AFTER)
}

#[cfg(test)]
mod tests;
