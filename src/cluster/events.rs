//! Kubernetes Events: few, and never in the way. They are published from a queue; a full queue drops them.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{CALL_TIMEOUT, FIELD_MANAGER};
use crate::api::bounded;

/// How many wait at most: the events of a burst of 1,000 nodes.
const QUEUE: usize = 2048;

/// The longest note that the API server takes, in bytes (events.k8s.io validation).
const NOTE_MAX: usize = 1024;

/// Something that happened, for `kubectl describe` and `kubectl get events`.
#[derive(Clone, Debug)]
pub struct Happening {
    /// The object it happened to.
    pub regarding: ObjectReference,
    /// The other object that it concerns.
    pub related: Option<ObjectReference>,
    /// It needs attention.
    pub warning: bool,
    /// In one CamelCase word.
    pub reason: &'static str,
    /// What was done, in one CamelCase word.
    pub action: &'static str,
    /// In a sentence.
    pub note: String,
}

/// Where happenings are handed in; cheap to clone.
#[derive(Clone)]
pub struct Events {
    queue: mpsc::Sender<Happening>,
}

impl Events {
    /// Starts publishing until `stop`.
    #[must_use]
    pub fn start(client: Client, instance: String, stop: CancellationToken) -> Self {
        let (queue, happenings) = mpsc::channel(QUEUE);
        let reporter = Reporter {
            controller: FIELD_MANAGER.to_owned(),
            instance: Some(instance),
        };
        tokio::spawn(publish(Recorder::new(client, reporter), happenings, stop));
        Self { queue }
    }

    /// Hands one in. It is dropped when too many wait: the object's status says the same.
    pub fn emit(&self, happening: Happening) {
        if self.queue.try_send(happening).is_err() {
            tracing::debug!("an event was dropped: too many wait");
        }
    }
}

async fn publish(
    recorder: Recorder,
    mut happenings: mpsc::Receiver<Happening>,
    stop: CancellationToken,
) {
    while let Some(Some(happening)) = stop.run_until_cancelled(happenings.recv()).await {
        let event = Event {
            type_: if happening.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: happening.reason.to_owned(),
            note: Some(bounded(happening.note, NOTE_MAX)),
            action: happening.action.to_owned(),
            secondary: happening.related,
        };
        let published =
            tokio::time::timeout(CALL_TIMEOUT, recorder.publish(&event, &happening.regarding))
                .await;
        if let Ok(Err(error)) = published {
            tracing::debug!(%error, reason = event.reason, "an event could not be published");
        }
    }
}
