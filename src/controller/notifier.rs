//! Notifications: what the records say is still to be sent is sent, and nobody waits for it.
//!
//! Passes hand in the rows of what they have written, and fetch what became of them; between the two a receiver may
//! take all the time that it wants. Everything here is lost with the process, and handed in again by the next leader.

mod delivery;
mod queue;
mod settings;
mod templates;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::ResourceExt;
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::metrics::{self, Metrics};
use super::term::Term;
use crate::api::policy::TerminationPolicy;
use crate::api::termination::{NodeTermination, NodeTerminationStatus};
use crate::clock;
use crate::cluster::Objects;
use crate::lifecycle::{Notified, notices};
use crate::notify;
use queue::{Next, Queue};
use settings::Secrets;
pub use settings::Trouble;
use templates::Templates;

/// What becomes of several notifications of an incident within this is one write of its record.
const TOGETHER: Duration = Duration::from_millis(200);
/// While another may lead already nothing is sent, and it is looked at again after this: our own end comes meanwhile.
const OVER_AGAIN: Duration = Duration::from_secs(1);
/// A subscriber that falls further behind than this looks at everything again.
const CHANGES: usize = 1024;

/// How the process may notify, as its command line has it.
#[derive(Clone, Debug, Default)]
pub struct NotifyOptions {
    /// The namespace that Secrets are read from.
    pub namespace: String,
    /// http URLs are posted to as well.
    pub allow_http: bool,
    /// What this cluster is called in bodies.
    pub cluster: Option<String>,
}

/// Whoever sends notifications.
pub struct Notifier {
    queue: Mutex<Queue>,
    more: Notify,
    changes: broadcast::Sender<Arc<str>>,
    sender: notify::Sender,
    secrets: Secrets,
    templates: Templates,
    cluster: Option<String>,
    policies: Objects<TerminationPolicy>,
    metrics: Metrics,
    term: Term,
}

impl Notifier {
    /// One with nothing to send.
    #[must_use]
    pub fn new(
        client: kube::Client,
        options: NotifyOptions,
        policies: Objects<TerminationPolicy>,
        metrics: Metrics,
        term: Term,
    ) -> Self {
        Self {
            queue: Mutex::default(),
            more: Notify::new(),
            changes: broadcast::Sender::new(CHANGES),
            sender: notify::Sender::new(options.allow_http),
            secrets: Secrets::new(client, options.namespace),
            templates: Templates::default(),
            cluster: options.cluster,
            policies,
            metrics,
            term,
        }
    }

    /// Hands in what this record, which is stored, still has to tell. `false`: there was no room for all of it.
    pub(super) fn offer(&self, object: &NodeTermination, stored: &NodeTerminationStatus) -> bool {
        if notices::pending(stored).next().is_none() {
            return true;
        }
        let taken = self.lock().offer(object, stored);
        self.more.notify_one();
        taken
    }

    /// What became of the incident's notifications, as far as its stored record does not show it yet.
    pub(super) fn settled(&self, stored: &NodeTermination) -> Vec<Notified> {
        let uid = stored.uid().unwrap_or_default();
        self.lock().settled(&uid, stored.status.as_ref())
    }

    /// Names of incidents of whose notifications something has become.
    pub(super) fn changes(&self) -> broadcast::Receiver<Arc<str>> {
        self.changes.subscribe()
    }

    /// Forgets what has become of notifications of incidents whose objects are gone.
    pub(super) fn forget_gone(&self, there: impl FnOnce() -> HashSet<String>) {
        let mut queue = self.lock();
        if !queue.is_empty() {
            let there = there();
            queue.forget_gone(|uid| there.contains(uid));
        }
    }

    /// Sends what is due until `stop`.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut sending = JoinSet::new();
        loop {
            let wake = self.start_all(&mut sending);
            let forever = wake.is_none();
            let wake = wake.unwrap_or_else(Instant::now);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.more.notified() => {}
                Some(_) = sending.join_next() => {}
                () = tokio::time::sleep_until(wake), if !forever => {}
            }
        }
    }

    /// Starts whatever may be sent now. Returns when to look again by time alone.
    fn start_all(self: &Arc<Self>, sending: &mut JoinSet<()>) -> Option<Instant> {
        loop {
            if self.term.is_over() {
                return Some(Instant::now() + OVER_AGAIN);
            }
            let mut queue = self.lock();
            let expired = queue.expire(Instant::now(), clock::now());
            let next = queue.next(Instant::now());
            self.metrics.notifications_waiting(queue.waiting());
            drop(queue);
            for (stage, incident) in expired {
                self.metrics.notified(stage, metrics::FAILED);
                sending.spawn(self.clone().tell_soon(incident));
            }
            match next {
                Next::Send(task) => drop(sending.spawn(self.clone().deliver(*task))),
                Next::At(wake) => return wake,
            }
        }
    }

    /// Wakes the incident's pass, when others of its notifications may have been answered too.
    async fn tell_soon(self: Arc<Self>, incident: Arc<str>) {
        tokio::time::sleep(TOGETHER).await;
        // Nobody listens when we are about to end.
        let _ = self.changes.send(incident);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
