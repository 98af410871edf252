//! From a signal to its durable record: which node, which policy, which object.

use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;

use super::metrics::Metrics;
use crate::api::policy::{Action, TerminationPolicy};
use crate::cluster::nodes::Resolution;
use crate::cluster::record::{self, Answer, Identity, Recorded};
use crate::cluster::{Error, Gate, Nodes, Objects};
use crate::drain::Node;
use crate::event::{Heard, identity};
use crate::telemetry::Timeline;

/// Proof that a message may be deleted on account of one signal.
#[derive(Debug)]
pub enum Settled {
    /// The signal is in etcd.
    Recorded(Recorded),
    /// There is nothing to record; why.
    Nothing(&'static str),
}

/// What became of one signal.
#[derive(Debug)]
pub enum Verdict {
    /// The message may go.
    Settled(Settled),
    /// The instance is no node of this cluster.
    UnknownInstance,
    /// The instance may yet turn out to be a node: not all nodes are known, or one does not say which instance it is.
    MaybeUnknown,
    /// The message must come again; why.
    Later(&'static str),
}

/// Records signals; cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    /// The client of the control path.
    pub client: Client,
    /// Records go before everything else.
    pub gate: Gate,
    /// Which node an instance is.
    pub nodes: Arc<Nodes>,
    /// Which policy speaks for it.
    pub policies: Objects<TerminationPolicy>,
    /// How long each step takes.
    pub timeline: Timeline,
    /// What is counted.
    pub metrics: Metrics,
}

impl Recorder {
    /// Records one signal, or says why not.
    pub async fn record(&self, heard: &Heard) -> Verdict {
        let verdict = self.resolve_and_record(heard).await;
        let outcome = match &verdict {
            Verdict::Settled(Settled::Recorded(_)) => "Recorded",
            Verdict::Settled(Settled::Nothing(reason)) | Verdict::Later(reason) => reason,
            Verdict::UnknownInstance => "UnknownInstance",
            Verdict::MaybeUnknown => "NodesNotKnown",
        };
        self.metrics.signal(heard.signal.kind, outcome);
        verdict
    }

    async fn resolve_and_record(&self, heard: &Heard) -> Verdict {
        let node = match self.nodes.resolve(&heard.instance_id) {
            Resolution::Node(node) => node,
            Resolution::Unknown => return Verdict::UnknownInstance,
            Resolution::NotYet => return Verdict::MaybeUnknown,
        };
        match self.policies.action_for(&node, heard.signal.kind) {
            None => Verdict::Settled(Settled::Nothing("NoPolicy")),
            Some(Action::Ignore) => Verdict::Settled(Settled::Nothing("Ignored")),
            Some(_) => self.record_on(&node, heard).await,
        }
    }

    /// Applies the signal to the instance's open object: the first of its names that takes it.
    async fn record_on(&self, node: &Node, heard: &Heard) -> Verdict {
        let signal = &heard.signal;
        let identity = Identity {
            node_name: node.name.clone(),
            node_uid: node.uid.clone(),
            instance_id: heard.instance_id.clone(),
        };
        let mut taken = false;
        for name in identity::object_names(&heard.instance_id, &node.uid) {
            let answer = match self.offer(&name, &identity, heard).await {
                Ok(Some(answer)) => answer,
                Ok(None) => return Verdict::Settled(Settled::Nothing("NothingToFollow")),
                Err(error) => return later(&name, &error),
            };
            match answer {
                Answer::Recorded(proof) => {
                    self.timeline.reached(&name, "recorded");
                    tracing::info!(
                        nodetermination = name,
                        node = node.name,
                        signal = signal.id,
                        "recorded"
                    );
                    return Verdict::Settled(Settled::Recorded(proof));
                }
                Answer::Finished if heard.only_follows() => {}
                Answer::Finished => match self.is_late(&name, heard).await {
                    Ok(true) => return Verdict::Settled(Settled::Nothing("LateDuplicate")),
                    Ok(false) => {}
                    Err(error) => return later(&name, &error),
                },
                Answer::Full if signal.lifecycle_hook.is_none() => {
                    tracing::warn!(
                        nodetermination = name,
                        signal = signal.id,
                        "the record is full: this signal adds nothing"
                    );
                    return Verdict::Settled(Settled::Nothing("SignalsTruncated"));
                }
                Answer::OtherIdentity => taken = true,
                Answer::Full => {}
                Answer::Dying => return Verdict::Later("BeingDeleted"),
                Answer::Invalid(message) => {
                    tracing::error!(
                        nodetermination = name,
                        signal = signal.id,
                        message,
                        "the API server will never take this signal"
                    );
                    return Verdict::Settled(Settled::Nothing("Invalid"));
                }
            }
        }
        out_of_names(&heard.instance_id, taken)
    }

    /// Offers the signal to the object of that name. `None`: the signal only follows others, and there are none.
    async fn offer(
        &self,
        name: &str,
        identity: &Identity,
        heard: &Heard,
    ) -> Result<Option<Answer>, Error> {
        let signal = &heard.signal;
        let manager = identity::field_manager(&signal.id);
        self.timeline.received(name);
        let turn = self.gate.record().await;
        let answer = if heard.only_follows() {
            record::follow(&self.client, name, &manager, identity, signal).await
        } else {
            let answer = record::apply(&self.client, name, &manager, identity, signal).await;
            answer.map(Some)
        };
        drop(turn);
        if !matches!(answer, Ok(Some(Answer::Recorded(_)))) {
            self.timeline.forget(name);
        }
        answer
    }

    /// Whether a signal for a finished object is a straggler of that incident. A lifecycle action never is: somebody
    /// must still complete it.
    async fn is_late(&self, name: &str, heard: &Heard) -> Result<bool, Error> {
        if heard.signal.lifecycle_hook.is_some() {
            return Ok(false);
        }
        let completed: Option<Timestamp> = record::completed_at(&self.client, name).await?;
        Ok(completed.is_some_and(|at| heard.signal.notice_time.0 <= at))
    }
}

/// No name is left for the signal. While others have taken names of the instance, its notices are never given up.
fn out_of_names(instance: &str, taken: bool) -> Verdict {
    if taken {
        tracing::error!(
            instance,
            "no name is left for a record, and some are taken by records of other nodes; the message comes again"
        );
        return Verdict::Later("NamesTaken");
    }
    tracing::error!(instance, "too many incidents of one instance");
    Verdict::Settled(Settled::Nothing("TooManyIncidents"))
}

fn later(name: &str, error: &Error) -> Verdict {
    tracing::warn!(nodetermination = name, %error, "a signal could not be recorded yet");
    Verdict::Later("APIUnavailable")
}
