//! One queue's monitor: long polls, and batches of messages that are settled together.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::launch::Launches;
use super::managed::Managed;
use super::message::Disposition;
use super::pace::back_off;
use super::record::{Recorder, Settled};
use super::settings::Settings;
use super::supervisor::{MonitorState, QueueKey};
use super::trouble::Question;
use crate::api::policy::SourceState;
use crate::aws::{Aws, Instances, Message, Queue, ReceiptHandle};
use crate::clock;
use crate::event::{self, Malformed, Parsed};
use crate::telemetry::{Health, Pulse};

/// SQS's longest.
const LONG_POLL: Duration = Duration::from_secs(20);
/// Messages of one batch that are recorded at once; more only queue in the API server.
const AT_ONCE: usize = 8;
/// Batches that a receiver has in hand: while the last messages of one are recorded, and deleted, the next is begun.
const BATCHES: usize = 2;
/// A message that the API server did not take is tried again after these, while it is in hand.
const AGAIN: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];
/// The longest wait after failed calls: a queue that is repaired is heard within a minute.
pub(super) const BACK_OFF_LAST: Duration = Duration::from_mins(1);
/// A receiver that is silent for longer hangs: the longest poll, and the longest back-off, with room to settle.
pub(super) const SILENCE_MAX: Duration = Duration::from_mins(3);

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
    /// What EC2 did not answer, and when it last did not.
    pub troubles: Mutex<HashMap<Question, Instant>>,
}

/// What the receivers of a queue share.
pub(super) struct Open {
    pub(super) queue: Queue,
    /// Only if a tag is asked for.
    pub(super) instances: Option<Instances>,
    pub(super) launches: Launches,
}

/// Where a receiver is at work.
#[derive(Clone, Copy)]
pub(super) struct Receiver<'a> {
    pub(super) open: &'a Open,
    pub(super) pulse: &'a Pulse,
    pub(super) stop: &'a CancellationToken,
}

/// A message, and what it says.
type Received = (Result<Parsed, Malformed>, Message);

impl Monitor {
    /// Runs the receivers until `stop`; a batch in hand is settled first, and launches that are held are given back.
    pub async fn run(self, stop: CancellationToken) {
        let (aws, account) = (&self.aws, &self.key.account);
        let queue = aws.queue(account, &self.key.url).await;
        let instances = match &self.settings.managed_tags {
            None => None,
            Some(keys) => Some(aws.instances(account, keys.clone()).await),
        };
        let launches = Launches::new(
            queue.clone(),
            aws.clone(),
            self.recorder.clone(),
            self.visibility(),
            stop.clone(),
        );
        let open = Open {
            queue,
            instances,
            launches,
        };
        let receivers = (0..self.settings.receivers).map(|_| self.receive(&open, &stop));
        futures::future::join_all(receivers).await;
        open.launches.ended().await;
    }

    fn visibility(&self) -> Duration {
        Duration::from_secs(self.settings.visibility_timeout_seconds.into())
    }

    async fn receive(&self, open: &Open, stop: &CancellationToken) {
        let pulse = &self.health.pulse("queue receiver", SILENCE_MAX);
        let receiver = Receiver { open, pulse, stop };
        let mut failures = 0;
        // The first poll answers at once, so that the policy's state is known.
        let mut wait = Duration::ZERO;
        let mut in_hand = FuturesUnordered::new();
        loop {
            let next = stop.run_until_cancelled(open.queue.receive(wait, self.visibility()));
            let Some(batch) = Box::pin(beside(next, &mut in_hand)).await else {
                break;
            };
            pulse.beat();
            match batch {
                Ok(messages) => {
                    failures = 0;
                    wait = LONG_POLL;
                    if !self.is_troubled() {
                        let message = "the queue is read".to_owned();
                        self.tell(SourceState::Polling, "Polling", message);
                    }
                    if !messages.is_empty() {
                        in_hand.push(Box::pin(self.settle(receiver, messages)));
                    }
                    while in_hand.len() >= BATCHES {
                        in_hand.next().await;
                    }
                }
                Err(error) => {
                    // One failed poll among good ones is no news.
                    if failures > 0 || wait.is_zero() {
                        self.tell(SourceState::BackingOff, error.reason(), error.to_string());
                    }
                    let pause = back_off(failures, BACK_OFF_LAST);
                    failures += 1;
                    let pause = stop.run_until_cancelled(tokio::time::sleep(pause));
                    let _ = beside(pause, &mut in_hand).await;
                }
            }
        }
        while in_hand.next().await.is_some() {}
    }

    /// Settles what was received. Messages that EC2 must be asked about first hold up no other.
    async fn settle(&self, receiver: Receiver<'_>, messages: Vec<Message>) {
        let parsed = messages
            .into_iter()
            .map(|message| (event::parse(&message.body), message));
        let (asked, others): (Vec<_>, Vec<_>) =
            parsed.partition(|(parsed, _)| matches!(parsed, Ok(Parsed::Reservation(_))));
        tokio::join!(
            self.settle_batch(receiver, others),
            self.settle_batch(receiver, asked)
        );
    }

    /// Records a batch, then deletes or gives back its messages. What the API server did not take is tried again a few
    /// times, for as long as it is hidden anyway: a connection that was cut, or a server that has only just started,
    /// costs no visibility time-out.
    async fn settle_batch(&self, receiver: Receiver<'_>, mut batch: Vec<Received>) {
        let open = receiver.open;
        let end = Instant::now() + self.visibility() / 2;
        let mut pauses = AGAIN.into_iter();
        loop {
            let parsed = batch.iter().filter_map(|(parsed, _)| parsed.as_ref().ok());
            let concerned = parsed.flat_map(|parsed| self.concerned(parsed)).collect();
            let managed = self.managed(open.instances.as_ref(), concerned).await;
            batch = self.settle_once(receiver, batch, &managed).await;
            if batch.is_empty() {
                return;
            }
            let pause = pauses.next().filter(|p| Instant::now() + *p < end);
            let Some(pause) = pause else { return };
            let pause = receiver.stop.run_until_cancelled(tokio::time::sleep(pause));
            if pause.await.is_none() {
                // Whoever leads next need not wait for them.
                let back = batch.into_iter().map(|(_, m)| (m.receipt, Duration::ZERO));
                self.put_down(open, &[], &back.collect::<Vec<_>>()).await;
                return;
            }
            receiver.pulse.beat();
        }
    }

    /// Returns what the API server did not take.
    async fn settle_once(
        &self,
        receiver: Receiver<'_>,
        batch: Vec<Received>,
        managed: &Managed,
    ) -> Vec<Received> {
        let handled: Vec<_> = futures::stream::iter(batch)
            .map(|(parsed, message)| async move {
                let disposition = self.handle(&message, parsed, managed, receiver).await;
                receiver.pulse.beat();
                (message, disposition)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let (mut done, mut back) = (Vec::new(), Vec::new());
        let mut refused = Vec::new();
        for (message, disposition) in handled {
            match disposition {
                Disposition::Delete(proofs) => {
                    self.count(&proofs);
                    done.push(message.receipt);
                }
                Disposition::Release(after) => back.push((message.receipt, after)),
                Disposition::Leave => {}
                Disposition::Refused => refused.push((event::parse(&message.body), message)),
            }
        }
        self.put_down(receiver.open, &done, &back).await;
        refused
    }

    /// Deletes and gives back.
    async fn put_down(
        &self,
        open: &Open,
        done: &[ReceiptHandle],
        back: &[(ReceiptHandle, Duration)],
    ) {
        let (deleted, released) = tokio::join!(open.queue.delete(done), open.queue.release(back));
        for (_, error) in deleted.iter().chain(&released) {
            tracing::warn!(queue = self.key.url, %error, "a message could not be settled; it comes again and changes nothing");
        }
    }

    fn count(&self, proofs: &[Settled]) {
        for proof in proofs {
            if let Settled::Nothing(reason) = proof {
                self.recorder.metrics.discarded(reason);
            }
        }
    }

    pub(super) fn tell(&self, state: SourceState, reason: &str, message: String) {
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
                    since: clock::now(),
                };
            }
            changed
        });
    }
}

/// Waits for `first`, while what is in hand goes on.
async fn beside<T>(first: impl Future<Output = T>, in_hand: &mut (impl Stream + Unpin)) -> T {
    let mut first = std::pin::pin!(first);
    loop {
        tokio::select! {
            done = &mut first => return done,
            Some(_) = in_hand.next() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_batch_goes_on_while_the_next_is_received_and_no_receive_is_cut_off() {
        let second = Duration::from_secs(1);
        let mut in_hand = FuturesUnordered::new();
        in_hand.push(tokio::time::sleep(second));
        let start = tokio::time::Instant::now();
        let receive = async {
            tokio::time::sleep(second * 3).await;
            "message"
        };
        assert_eq!(beside(receive, &mut in_hand).await, "message");
        assert!(in_hand.is_empty());
        assert_eq!(start.elapsed(), second * 3);
    }
}
