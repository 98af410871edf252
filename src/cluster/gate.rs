//! The write gate: records and cordons go before lists, status writes and evictions.
//!
//! Everything that runs before the last cordon of a burst delays it by what it costs the API server. So the lower
//! classes wait until no record and no cordon has been outstanding for a moment, or until their patience is over.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

/// More in flight only queue in the server: a cordon takes 4 ms alone and 60 ms among 16.
const CORDONS: usize = 16;
/// Two receivers with eight each.
const RECORDS: usize = 16;
/// A list is charged up to ten seats by the server's priority and fairness.
const LISTS: usize = 8;
/// Few steps wait for a status to be written.
const STATUSES: usize = 4;
/// From a recorded signal to its cordon a watch event passes by; the gate stays shut that long.
const QUIET: Duration = Duration::from_millis(30);
/// A steady trickle of notices must not stop drains. A burst of 1,000 notices is cordoned within this.
const PATIENCE: Duration = Duration::from_secs(8);

/// The gate; cheap to clone.
#[derive(Clone)]
pub struct Gate {
    urgent: Arc<watch::Sender<Urgency>>,
    cordons: Arc<Semaphore>,
    records: Arc<Semaphore>,
    lists: Arc<Semaphore>,
    statuses: Arc<Semaphore>,
}

#[derive(Clone, Copy, Default)]
struct Urgency {
    outstanding: usize,
    /// When the last one was done.
    since: Option<Instant>,
}

impl Urgency {
    /// From when on it is calm, if it stays as it is.
    fn opens(&self) -> Option<Instant> {
        self.since.map(|since| since + QUIET)
    }

    fn is_calm(&self) -> bool {
        self.outstanding == 0 && self.opens().is_none_or(|at| Instant::now() >= at)
    }
}

/// While it lives, the lower classes wait.
pub struct Urgent {
    urgent: Arc<watch::Sender<Urgency>>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Urgent {
    fn drop(&mut self) {
        self.permit = None;
        self.urgent.send_modify(|u| {
            *u = Urgency {
                outstanding: u.outstanding.saturating_sub(1),
                since: Some(Instant::now()),
            }
        });
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            urgent: Arc::default(),
            cordons: Arc::new(Semaphore::new(CORDONS)),
            records: Arc::new(Semaphore::new(RECORDS)),
            lists: Arc::new(Semaphore::new(LISTS)),
            statuses: Arc::new(Semaphore::new(STATUSES)),
        }
    }
}

impl Gate {
    /// The turn of a cordon; the lower classes wait from the moment of asking.
    pub async fn cordon(&self) -> Urgent {
        self.urgent(&self.cordons).await
    }

    /// The turn of a record; the lower classes wait from the moment of asking.
    pub async fn record(&self) -> Urgent {
        self.urgent(&self.records).await
    }

    /// The turn of a list of a node's pods.
    pub async fn list(&self) -> Option<OwnedSemaphorePermit> {
        let (permit, _) = self.lower(&self.lists, Instant::now() + PATIENCE).await;
        permit
    }

    /// The turn of a status write that was asked for at that time. Out of patience, one goes after the other until it is
    /// calm: each takes the API server as long as two records.
    pub async fn status(&self, asked: Instant) -> Option<OwnedSemaphorePermit> {
        let (permit, calm) = self.lower(&self.statuses, asked + PATIENCE).await;
        if calm {
            return permit;
        }
        drop(permit);
        let all = u32::try_from(STATUSES).unwrap_or(u32::MAX);
        let statuses = || self.statuses.clone();
        tokio::select! {
            all = statuses().acquire_many_owned(all) => all.ok(),
            () = self.wait_until_calm() => statuses().acquire_owned().await.ok(),
        }
    }

    /// The same, if it need not be waited for.
    #[must_use]
    pub fn status_at_once(&self) -> Option<OwnedSemaphorePermit> {
        let calm = self.urgent.borrow().is_calm();
        let permit = calm.then(|| self.statuses.clone().try_acquire_owned());
        permit?.ok()
    }

    /// Whether no record and no cordon is outstanding.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.urgent.borrow().outstanding == 0
    }

    async fn urgent(&self, permits: &Arc<Semaphore>) -> Urgent {
        self.urgent.send_modify(|u| u.outstanding += 1);
        let mut urgent = Urgent {
            urgent: self.urgent.clone(),
            permit: None,
        };
        urgent.permit = permits.clone().acquire_owned().await.ok();
        urgent
    }

    /// A place first, and calm then, or that time: each cordon of a burst wakes whoever waits for calm, which must not
    /// be thousands. Whether it is calm.
    async fn lower(
        &self,
        permits: &Arc<Semaphore>,
        until: Instant,
    ) -> (Option<OwnedSemaphorePermit>, bool) {
        let permit = permits.clone().acquire_owned().await.ok();
        let calm = tokio::time::timeout_at(until, self.wait_until_calm()).await;
        (permit, calm.is_ok())
    }

    async fn wait_until_calm(&self) {
        let mut urgency = self.urgent.subscribe();
        loop {
            let now = *urgency.borrow_and_update();
            if now.is_calm() {
                return;
            }
            let opens = now.opens().filter(|_| now.outstanding == 0);
            tokio::select! {
                changed = urgency.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(opens.unwrap_or_else(Instant::now)), if opens.is_some() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use futures::stream::FuturesUnordered;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lower_classes_wait_for_a_moment_of_quiet_but_not_for_ever() {
        let gate = Gate::default();
        let cordon = gate.cordon().await;
        let start = Instant::now();
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.list().await.is_some() }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished());
        drop(cordon);
        assert!(waiting.await.unwrap());
        assert!(
            start.elapsed() >= Duration::from_secs(1) + QUIET
                && start.elapsed() < Duration::from_secs(2)
        );

        let _cordon = gate.cordon().await;
        let start = Instant::now();
        let _turn = gate.status(start).await.unwrap();
        assert_eq!(start.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn statuses_that_are_out_of_patience_go_one_after_the_other_until_it_is_calm() {
        let gate = Gate::default();
        let cordon = gate.cordon().await;
        let start = Instant::now();
        let turns = (0..2 * STATUSES).map(|_| gate.status(start));
        let mut turns = turns.collect::<FuturesUnordered<_>>();
        let first = turns.next().await.flatten().unwrap();
        assert_eq!(start.elapsed(), PATIENCE);
        let second = Duration::from_secs(1);
        assert!(tokio::time::timeout(second, turns.next()).await.is_err());
        drop(first);
        let held = turns.next().await.flatten().unwrap();
        assert_eq!(start.elapsed(), PATIENCE + second, "not for calm anew");
        drop((cordon, held, turns));
        tokio::time::sleep(QUIET).await;
        let places = std::iter::from_fn(|| gate.status_at_once());
        assert_eq!(places.collect::<Vec<_>>().len(), STATUSES);
    }
}
