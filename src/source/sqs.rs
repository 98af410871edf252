//! One queue's monitor: long polls, and what becomes of each message.

use std::time::Duration;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::pace::back_off;
use super::record::{Recorder, Settled, Verdict};
use super::supervisor::{MonitorState, QueueKey, Settings};
use crate::api::policy::{SourceState, UnknownInstances};
use crate::aws::{Aws, Message, Queue, ReceiptHandle};
use crate::event::{self, Heard, Parsed};
use crate::telemetry::{Health, Pulse};

/// SQS's longest.
const LONG_POLL: Duration = Duration::from_secs(20);
/// Messages of one batch that are recorded at once; more only queue in the API server.
const AT_ONCE: usize = 8;
/// A malformed message is left to a dead-letter queue this many times; then it is deleted.
const MALFORMED_RECEIVES: u32 = 5;
/// A message about an unknown instance that carries no deadline is kept this long.
const UNKNOWN_KEPT: SignedDuration = SignedDuration::from_mins(15);
/// The longest wait after failed calls: a queue that is repaired is heard within a minute.
const BACK_OFF_LAST: Duration = Duration::from_mins(1);
/// A receiver that is silent for longer hangs: the longest poll, and the longest back-off, with room to settle.
const SILENCE_MAX: Duration = Duration::from_mins(3);

/// A running monitor's parts.
pub struct Monitor {
    /// Which queue, as whom.
    pub key: QueueKey,
    /// How it is read.
    pub settings: Settings,
    /// The way into AWS.
    pub aws: Aws,
    /// Where signals go.
    pub recorder: Recorder,
    /// Where the monitor's state is told.
    pub state: watch::Sender<MonitorState>,
    /// Where its receivers show that they live.
    pub health: Health,
}

/// What becomes of one message.
enum Disposition {
    /// Delete it: for every signal that it may carry there is a proof that nothing is lost.
    Delete(Vec<Settled>),
    /// Give it back after this.
    Release(Duration),
    /// Leave it hidden until its visibility time-out.
    Leave,
}

impl Monitor {
    /// Runs the receivers until `stop`; a batch in hand is settled first.
    pub async fn run(self, stop: CancellationToken) {
        let queue = self.aws.queue(&self.key.account, &self.key.url).await;
        let receivers = (0..self.settings.receivers).map(|_| self.receive(&queue, &stop));
        futures::future::join_all(receivers).await;
    }

    async fn receive(&self, queue: &Queue, stop: &CancellationToken) {
        let pulse = self.health.pulse("queue receiver", SILENCE_MAX);
        let visibility = Duration::from_secs(self.settings.visibility_timeout_seconds.into());
        let mut failures = 0;
        // The first poll answers at once, so that the policy's state is known.
        let mut wait = Duration::ZERO;
        while let Some(received) = stop
            .run_until_cancelled(queue.receive(wait, visibility))
            .await
        {
            pulse.beat();
            match received {
                Ok(messages) => {
                    failures = 0;
                    wait = LONG_POLL;
                    self.tell(
                        SourceState::Polling,
                        "Polling",
                        "the queue is read".to_owned(),
                    );
                    self.settle(queue, messages, &pulse).await;
                }
                Err(error) => {
                    // One failed poll among good ones is no news.
                    if failures > 0 || wait.is_zero() {
                        self.tell(SourceState::BackingOff, error.reason(), error.to_string());
                    }
                    let pause = back_off(failures, BACK_OFF_LAST);
                    failures += 1;
                    let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
                }
            }
        }
    }

    /// Records a batch, then deletes or gives back its messages.
    async fn settle(&self, queue: &Queue, messages: Vec<Message>, pulse: &Pulse) {
        let settled: Vec<_> = futures::stream::iter(messages)
            .map(|m| self.handle(m))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        pulse.beat();
        let (mut done, mut back): (Vec<ReceiptHandle>, Vec<_>) = (Vec::new(), Vec::new());
        for (receipt, disposition) in settled {
            match disposition {
                Disposition::Delete(proofs) => {
                    self.count(&proofs);
                    done.push(receipt);
                }
                Disposition::Release(after) => back.push((receipt, after)),
                Disposition::Leave => {}
            }
        }
        let (deleted, released) = tokio::join!(queue.delete(&done), queue.release(&back));
        for (_, error) in deleted.iter().chain(&released) {
            tracing::warn!(queue = self.key.url, %error, "a message could not be settled; it comes again and changes nothing");
        }
    }

    async fn handle(&self, message: Message) -> (ReceiptHandle, Disposition) {
        let disposition = match event::parse(&message.body) {
            Ok(Parsed::Signals(heard)) => self.record_all(&message, heard).await,
            Ok(Parsed::Launch(_)) => Disposition::Leave,
            Ok(Parsed::Discarded(why)) => Disposition::Delete(vec![Settled::Nothing(why.as_str())]),
            Err(malformed) => {
                let last = message.receive_count >= MALFORMED_RECEIVES;
                tracing::warn!(queue = self.key.url, message = message.id, reason = malformed.reason(), error = %malformed, receives = message.receive_count, deleted = last, "malformed message");
                if last {
                    Disposition::Delete(vec![Settled::Nothing("Malformed")])
                } else {
                    Disposition::Leave
                }
            }
        };
        (message.receipt, disposition)
    }

    /// A message goes when every signal in it is settled.
    async fn record_all(&self, message: &Message, heard: Vec<Heard>) -> Disposition {
        let (mut proofs, mut again) = (Vec::new(), None);
        for mut heard in heard {
            if let Some(hook) = &mut heard.signal.lifecycle_hook {
                hook.role_arn.clone_from(&self.key.account.role_arn);
                hook.external_id.clone_from(&self.key.account.external_id);
            }
            match self.recorder.record(&heard).await {
                Verdict::Settled(proof) => proofs.push(proof),
                Verdict::UnknownInstance if self.deletes_unknown() => {
                    proofs.push(Settled::Nothing("UnknownInstance"));
                }
                Verdict::UnknownInstance | Verdict::MaybeUnknown if self.is_expired(&heard) => {
                    proofs.push(Settled::Nothing("Expired"));
                }
                Verdict::UnknownInstance | Verdict::MaybeUnknown => {
                    again = again.or(Some(Disposition::Release(patience(message.receive_count))));
                }
                // The object is about to go.
                Verdict::Later("BeingDeleted") => {
                    again = Some(Disposition::Release(patience(message.receive_count)));
                }
                // The API server is away. It is ours, and must neither wait long nor be received so often that a
                // dead-letter queue takes it: it comes again after its visibility time-out.
                Verdict::Later(_) => again = Some(Disposition::Leave),
            }
        }
        again.unwrap_or(Disposition::Delete(proofs))
    }

    fn deletes_unknown(&self) -> bool {
        self.settings.unknown_instances == UnknownInstances::Delete
    }

    /// No cluster has claimed the instance in its time.
    fn is_expired(&self, heard: &Heard) -> bool {
        let signal = &heard.signal;
        let deadline = signal.deadline.as_ref().map(|d| d.0);
        let kept_until = deadline.or_else(|| signal.notice_time.0.checked_add(UNKNOWN_KEPT).ok());
        let expired = kept_until.is_some_and(|until| until < Timestamp::now());
        if expired {
            tracing::info!(
                queue = self.key.url,
                instance = heard.instance_id,
                signal = signal.id,
                "expired: no cluster has claimed this instance"
            );
        }
        expired
    }

    fn count(&self, proofs: &[Settled]) {
        for proof in proofs {
            if let Settled::Nothing(reason) = proof {
                self.recorder.metrics.discarded(reason);
            }
        }
    }

    fn tell(&self, state: SourceState, reason: &str, message: String) {
        self.state.send_if_modified(|now| {
            let changed = now.state != state || now.reason != reason;
            if changed {
                tracing::info!(
                    queue = self.key.url,
                    ?state,
                    reason,
                    message,
                    "source state"
                );
                *now = MonitorState {
                    state,
                    reason: reason.to_owned(),
                    message,
                    since: Timestamp::now(),
                };
            }
            changed
        });
    }
}

/// Another cluster may be waiting for the message, so it is given back quickly at first, then ever more slowly.
fn patience(receives: u32) -> Duration {
    match receives {
        0 | 1 => Duration::ZERO,
        2 => Duration::from_secs(1),
        3 => Duration::from_secs(2),
        more => Duration::from_secs(1 << (more - 2).min(6)).min(BACK_OFF_LAST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_for_somebody_else_is_given_back_within_two_seconds_at_first_and_then_more_slowly()
    {
        let waits: Vec<u64> = [1, 2, 3, 4, 5, 6, 7, 8, 100]
            .into_iter()
            .map(|n| patience(n).as_secs())
            .collect();
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
