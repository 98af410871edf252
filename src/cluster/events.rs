//! Kubernetes Events: few, and never in the way. They are published from a queue; a full queue drops them.

mod series;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::CALL_TIMEOUT;
use crate::clock;
use series::Series;

/// How many wait at most: the events of a burst of 1,000 nodes.
const QUEUE: usize = 2048;

/// Where Events about objects without a namespace are.
const NAMESPACE: &str = "default";

/// Every reason of an Event, in order.
pub const REASONS: [&str; 21] = [
    "BackInService",
    "Blocked",
    "Canceled",
    "CordonLifted",
    "Cordoned",
    "DeadlineAtRisk",
    "DrainIncomplete",
    "Failed",
    "Forbidden",
    "Forced",
    "GraceCut",
    "HandsOver",
    "LimitReached",
    "MaintenanceWindow",
    "NodeNotFound",
    "NotificationFailed",
    "OutOfService",
    "RegisteredAnew",
    "Released",
    "Returned",
    "Uncordoned",
];

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
        tokio::spawn(publish(client, Series::new(instance), happenings, stop));
        Self { queue }
    }

    /// Hands one in. It is dropped when too many wait: the object's status says the same.
    pub fn emit(&self, happening: Happening) {
        debug_assert!(REASONS.contains(&happening.reason), "{}", happening.reason);
        if self.queue.try_send(happening).is_err() {
            tracing::debug!("an event was dropped: too many wait");
        }
    }
}

async fn publish(
    client: Client,
    mut series: Series,
    mut happenings: mpsc::Receiver<Happening>,
    stop: CancellationToken,
) {
    while let Some(Some(happening)) = stop.run_until_cancelled(happenings.recv()).await {
        let now = clock::now();
        let event = series.event(&happening, now);
        match tokio::time::timeout(CALL_TIMEOUT, write(&client, &event)).await {
            Ok(Ok(())) => series.published(&happening, &event, now),
            Ok(Err(error)) => {
                // One that has expired can not be counted up: the next one is new.
                series.forget(&happening);
                tracing::debug!(%error, reason = happening.reason, "an event could not be published");
            }
            Err(_) => series.forget(&happening),
        }
    }
}

/// Makes the Event, or counts up the one that it belongs to.
async fn write(client: &Client, event: &Event) -> kube::Result<()> {
    let namespace = event.metadata.namespace.as_deref();
    let api = Api::<Event>::namespaced(client.clone(), namespace.unwrap_or(NAMESPACE));
    match (&event.series, &event.metadata.name) {
        (Some(series), Some(name)) => {
            let patch = Patch::Merge(json!({"series": series}));
            api.patch(name, &PatchParams::default(), &patch).await
        }
        _ => api.create(&PostParams::default(), event).await,
    }
    .map(drop)
}
