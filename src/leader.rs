//! One leader among the replicas, by a `Lease`.
//!
//! The lease is written under its resourceVersion: of two writers one is told 409 and has lost. No clock is compared
//! with another's: a candidate takes over when the record has not changed for the lease's duration by its own monotonic
//! clock, and the leader believes itself leader only until the lease it last wrote is about to run out by its own,
//! whatever hangs meanwhile: it looks at that time before each act. (The clock stands still while a machine is suspended:
//! a leader that wakes up may act for the moment until its next look, so what it does has to be safe to do twice.)

mod decide;
mod lease;
mod metrics;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use decide::{Observed, Step};
use lease::Leases;

pub use lease::Error;
pub use metrics::Metrics;

/// The shortest pause between two looks at the lease, so that a short lease does not become a load on the API server.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);

/// What is contended for, and by whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The namespace of the lease.
    pub namespace: String,
    /// The name of the lease.
    pub name: String,
    /// This candidate: unique among all processes, such as the pod's name.
    pub identity: String,
    /// How long leadership outlives the last renewal. Renewed every fifth of it; the lease's own field has whole seconds.
    pub lease_duration: Duration,
}

impl Config {
    /// Between two renewals of the leader.
    fn renew_every(&self) -> Duration {
        self.lease_duration / 5
    }

    /// Between two looks of a candidate, and of a leader whose renewal failed.
    fn look_every(&self) -> Duration {
        (self.lease_duration / 15).max(SHORTEST_PAUSE)
    }

    /// The longest that one look, and the write that may follow it, take together.
    fn attempt_timeout(&self) -> Duration {
        self.lease_duration / 5
    }

    /// How long a leader that has stepped down lets the others go first: five of their looks.
    fn abstain_for(&self) -> Duration {
        self.look_every() * 5
    }

    /// How long after the start of a renewal we call ourselves leader. A fifth less than others wait: for clocks that do
    /// not run alike, and for the work that is under way when leadership ends.
    fn leader_for(&self) -> Duration {
        self.lease_duration * 4 / 5
    }
}

/// A candidate for leadership.
#[derive(Debug)]
pub struct Elector {
    config: Config,
    leases: Leases,
    metrics: Metrics,
    leading: watch::Sender<bool>,
    /// When leadership ends unless renewed; set exactly while we lead.
    expiry: watch::Sender<Option<Instant>>,
    observed: Observed,
    next_look: Instant,
    step_down: Arc<Notify>,
    /// The reason of the last failure, while looks fail: it is told and logged when it changes.
    failing: watch::Sender<Option<&'static str>>,
}

/// What came of one look at the lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// We hold the lease, written just now.
    Held,
    /// Somebody else holds it, or was faster.
    NotHeld,
}

impl Elector {
    /// A candidate that stands for election once it [runs](Self::run).
    #[must_use]
    pub fn new(client: Client, config: Config, metrics: Metrics) -> Self {
        let now = Instant::now();
        Self {
            leases: Leases::new(client, &config),
            config,
            metrics,
            leading: watch::Sender::new(false),
            expiry: watch::Sender::new(None),
            observed: Observed::nothing(now),
            next_look: now,
            step_down: Arc::default(),
            failing: watch::Sender::new(Some("NotAsked")),
        }
    }

    /// Whether this process leads, from now on.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.leading.subscribe()
    }

    /// When leadership ends unless it is renewed, from now on; `None` while we do not lead. Whoever was frozen finds it
    /// over before [`Self::subscribe`] says so.
    #[must_use]
    pub fn until(&self) -> watch::Receiver<Option<Instant>> {
        self.expiry.subscribe()
    }

    /// Why the API server does not serve the lease, from now on; `None` while it does. The lease is asked for every few
    /// seconds anyway, so this is also how a process knows that the API server can be reached.
    #[must_use]
    pub fn failing(&self) -> watch::Receiver<Option<&'static str>> {
        self.failing.subscribe()
    }

    /// Notified, the elector gives the lease up and lets the others go first. What only a leader may do has to have
    /// ended before.
    #[must_use]
    pub fn step_down(&self) -> Arc<Notify> {
        self.step_down.clone()
    }

    /// Stands for election until `stop`, then gives the lease up if we hold it, so that the next leader need not wait for
    /// it to run out. What only a leader may do has to have ended before `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let step_down = self.step_down.clone();
        loop {
            let expiry = *self.expiry.borrow();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = at(expiry) => self.follow("expired"),
                () = step_down.notified() => self.hand_over().await,
                (started, result) = self.look() => self.conclude(started, result),
            }
        }
        self.follow("stopped");
        self.release().await;
    }

    /// Waits for the next look and takes it. Returns when it started.
    async fn look(&mut self) -> (Instant, Result<Outcome, Error>) {
        sleep_until(self.next_look).await;
        let started = Instant::now();
        // Also holds if this look is cut short by the expiry.
        self.next_look = started + self.config.look_every();
        let limit = self.config.attempt_timeout();
        let result = timeout(limit, self.attempt()).await;
        (started, result.unwrap_or(Err(Error::TimedOut(limit))))
    }

    async fn attempt(&mut self) -> Result<Outcome, Error> {
        let lease = self.leases.get().await?;
        let now = Instant::now();
        self.observed.update(lease.as_ref().map(Into::into), now);
        let step = self.observed.decide(&self.config, now);
        let written = match (step, lease) {
            (Step::Wait, _) => return Ok(Outcome::NotHeld),
            (Step::Hold, Some(lease)) => self.leases.hold(lease).await?,
            (Step::Hold, None) => self.leases.create().await?,
        };
        Ok(if written {
            Outcome::Held
        } else {
            Outcome::NotHeld
        })
    }

    fn conclude(&mut self, started: Instant, result: Result<Outcome, Error>) {
        match result {
            Ok(outcome) => self.reached(started, outcome),
            Err(error) => self.fail(&error),
        }
    }

    fn reached(&mut self, started: Instant, outcome: Outcome) {
        let failed = self.failing.send_replace(None);
        if failed.is_some_and(|reason| reason != "NotAsked") {
            info!(lease = self.config.name, "lease reachable again");
        }
        match outcome {
            Outcome::Held => self.lead(started),
            // Changed by somebody who did not take it, or did: the next look tells, and the expiry holds meanwhile.
            Outcome::NotHeld if self.observed.is_held_by(&self.config.identity) => {}
            Outcome::NotHeld => self.follow("lost"),
        }
    }

    fn lead(&mut self, started: Instant) {
        self.next_look = started + self.config.renew_every();
        let expiry = started + self.config.leader_for();
        self.expiry.send_replace(Some(expiry));
        if self
            .leading
            .send_if_modified(|leading| !std::mem::replace(leading, true))
        {
            self.metrics.lead(true);
            info!(
                lease = self.config.name,
                identity = self.config.identity,
                "leading"
            );
        }
    }

    fn follow(&mut self, why: &'static str) {
        self.expiry.send_replace(None);
        if self.leading.send_if_modified(std::mem::take) {
            self.metrics.lead(false);
            let holder = self.observed.holder();
            info!(
                lease = self.config.name,
                identity = self.config.identity,
                why,
                holder,
                "not leading any more"
            );
        }
    }

    fn fail(&mut self, error: &Error) {
        let reason = error.reason();
        if self.failing.send_replace(Some(reason)) != Some(reason) {
            warn!(lease = self.config.name, reason, %error, "lease not reachable");
        }
    }

    /// Lets go of the lease, and stands for election again once the others have had their chance.
    async fn hand_over(&mut self) {
        self.follow("handed over");
        self.release().await;
        self.next_look = Instant::now() + self.config.abstain_for();
    }

    async fn release(&self) {
        let limit = self.config.attempt_timeout();
        let released = timeout(limit, self.leases.release()).await;
        match released.unwrap_or(Err(Error::TimedOut(limit))) {
            Ok(true) => info!(lease = self.config.name, "lease released"),
            Ok(false) => {}
            Err(error) => {
                let reason = error.reason();
                warn!(lease = self.config.name, reason, %error, "lease not released");
            }
        }
    }
}

/// Nobody leads through an elector that is gone, however its task ended.
impl Drop for Elector {
    fn drop(&mut self) {
        self.follow("gone");
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
