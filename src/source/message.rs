//! What becomes of one message: deleted with proofs, given back, or left.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::launch::Launches;
use super::managed::{Managed, Management};
use super::record::{Settled, Verdict};
use super::sqs::{BACK_OFF_LAST, Monitor, Receiver};
use crate::api::policy::UnknownInstances;
use crate::api::termination::LifecycleHook;
use crate::aws::Message;
use crate::clock;
use crate::cluster::nodes::Resolution;
use crate::event::{Heard, Launch, Malformed, Parsed};

/// A malformed message is left to a dead-letter queue this many times; then it is deleted.
const MALFORMED_RECEIVES: u32 = 5;
/// A message about an unknown instance that carries no deadline is kept this long.
const UNKNOWN_KEPT: SignedDuration = SignedDuration::from_mins(15);

/// What becomes of one message.
pub(super) enum Disposition {
    /// Delete it: for every signal that it may carry there is a proof that nothing is lost.
    Delete(Vec<Settled>),
    /// Give it back after this.
    Release(Duration),
    /// Leave it hidden until its visibility time-out.
    Leave,
    /// The API server did not take it: try again while it is in hand, then leave it hidden.
    Refused,
}

impl Monitor {
    pub(super) async fn handle(
        &self,
        message: &Message,
        parsed: Result<Parsed, Malformed>,
        managed: &Managed,
        receiver: Receiver<'_>,
    ) -> Disposition {
        match parsed {
            Ok(Parsed::Signals(heard)) => self.record_all(message, heard, managed, receiver).await,
            Ok(Parsed::Launch(launch)) => {
                self.launch(message, launch, managed, &receiver.open.launches)
            }
            Ok(Parsed::Reservation(ends)) => self.reservation(message, &ends, receiver).await,
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
        }
    }

    /// A message goes when every signal in it is settled. It may carry many; none is begun once the receiver is told to
    /// stop, or while the API server is away.
    pub(super) async fn record_all(
        &self,
        message: &Message,
        heard: Vec<Heard>,
        managed: &Managed,
        receiver: Receiver<'_>,
    ) -> Disposition {
        let (mut proofs, mut again) = (Vec::new(), None);
        for (number, mut heard) in heard.into_iter().enumerate() {
            if number > 0 && receiver.stop.is_cancelled() {
                return Disposition::Release(Duration::ZERO);
            }
            receiver.pulse.beat();
            if let Some(hook) = &mut heard.signal.lifecycle_hook {
                self.fill(hook);
            }
            match self.verdict(&heard, managed).await {
                Verdict::Settled(proof) => proofs.push(proof),
                Verdict::UnknownInstance if self.deletes_unknown() => {
                    proofs.push(Settled::Nothing("UnknownInstance"));
                }
                Verdict::UnknownInstance if self.is_expired(&heard, Some(UNKNOWN_KEPT)) => {
                    proofs.push(Settled::Nothing("Expired"));
                }
                Verdict::MaybeUnknown if self.is_expired(&heard, None) => {
                    proofs.push(Settled::Nothing("Expired"));
                }
                Verdict::UnknownInstance | Verdict::MaybeUnknown => {
                    again = again.or(Some(Disposition::Release(patience(message.receive_count))));
                }
                // The object is about to go.
                Verdict::Later("BeingDeleted") => {
                    again = Some(Disposition::Release(patience(message.receive_count)));
                }
                // The API server, or EC2, is away. It is ours, and must neither wait long nor be received so often that
                // a dead-letter queue takes it: it is tried again in hand, or comes after its visibility time-out.
                Verdict::Later("APIUnavailable") => return Disposition::Refused,
                Verdict::Later(_) => again = Some(Disposition::Leave),
            }
        }
        again.unwrap_or(Disposition::Delete(proofs))
    }

    /// Records the signal, if its instance is managed.
    async fn verdict(&self, heard: &Heard, managed: &Managed) -> Verdict {
        let (verdict, outcome) = match managed.of(&heard.instance_id) {
            Management::Managed => return self.recorder.record(heard).await,
            Management::Unmanaged => (Verdict::UnknownInstance, "Unmanaged"),
            Management::NotTold => (Verdict::Later("TagsUnknown"), "TagsUnknown"),
            Management::NotAsked => match self.recorder.nodes.resolve(&heard.instance_id) {
                Resolution::Unknown => (Verdict::UnknownInstance, "UnknownInstance"),
                // It has become a node meanwhile, or may yet.
                Resolution::Node(_) | Resolution::NotYet => {
                    (Verdict::MaybeUnknown, "NodesNotKnown")
                }
            },
        };
        self.recorder.metrics.signal(heard.signal.kind, outcome);
        verdict
    }

    /// What the source knows of a lifecycle action and the event does not tell: whose credentials complete it, and of a
    /// notification that Auto Scaling sent by itself, where.
    fn fill(&self, hook: &mut LifecycleHook) {
        let account = &self.key.account;
        hook.role_arn.clone_from(&account.role_arn);
        hook.external_id.clone_from(&account.external_id);
        if hook.region.is_empty() {
            hook.region.clone_from(&account.region);
        }
    }

    /// Whether it is for us to complete the hook of such a launch.
    pub(super) fn completes(&self, launch: &Launch) -> bool {
        let group = &launch.hook.auto_scaling_group_name;
        self.settings.launches.groups.include(group)
    }

    /// A launch that is ours is held until its Node is Ready; any other is a message about an unknown instance.
    fn launch(
        &self,
        message: &Message,
        mut launch: Launch,
        managed: &Managed,
        launches: &Launches,
    ) -> Disposition {
        let management = managed.of(&launch.instance_id);
        let again = Disposition::Release(patience(message.receive_count));
        if self.completes(&launch) && management == Management::NotTold {
            return Disposition::Leave;
        }
        if self.completes(&launch) && management == Management::Managed {
            if launches.is_left_alone(&launch) {
                return again;
            }
            self.fill(&mut launch.hook);
            launches.hold(message, launch);
            return Disposition::Leave;
        }
        if self.settings.launches.observed {
            return again;
        }
        let end = launch.notice_time.checked_add(UNKNOWN_KEPT).ok();
        // EC2 shows neither a new instance nor its tags at once.
        if self.completes(&launch) && management == Management::Unmanaged && !is_past(end) {
            return again;
        }
        self.unknown(message, end)
    }

    /// A message that is about nothing of ours, until then.
    pub(super) fn unknown(&self, message: &Message, end: Option<Timestamp>) -> Disposition {
        if self.deletes_unknown() {
            Disposition::Delete(vec![Settled::Nothing("UnknownInstance")])
        } else if is_past(end) {
            Disposition::Delete(vec![Settled::Nothing("Expired")])
        } else {
            Disposition::Release(patience(message.receive_count))
        }
    }

    fn deletes_unknown(&self) -> bool {
        self.settings.unknown_instances == UnknownInstances::Delete
    }

    /// No cluster has claimed the instance in its time: until the deadline, or for so long if there is none.
    fn is_expired(&self, heard: &Heard, kept: Option<SignedDuration>) -> bool {
        let signal = &heard.signal;
        let deadline = signal.deadline.as_ref().map(|d| d.0);
        let end = deadline.or_else(|| signal.notice_time.0.checked_add(kept?).ok());
        let expired = is_past(end);
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
}

pub(super) fn is_past(time: Option<Timestamp>) -> bool {
    time.is_some_and(|time| time < clock::now())
}

/// Another cluster may be waiting for the message, so it is given back quickly at first, then ever more slowly.
pub(super) fn patience(receives: u32) -> Duration {
    match receives {
        0 | 1 => Duration::ZERO,
        2 => Duration::from_secs(1),
        3 => Duration::from_secs(2),
        more => Duration::from_secs(1 << (more - 2).min(6)).min(BACK_OFF_LAST),
    }
}

#[cfg(test)]
mod tests;
