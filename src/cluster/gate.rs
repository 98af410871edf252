//! The write gate: records and cordons go before lists, status writes and evictions.
//!
//! Everything that runs before the last cordon of a burst delays it by what it costs the API server. So the lower
//! classes wait until no record and no cordon has been outstanding for a moment, but never for long.

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
/// Nobody waits for a status.
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

#[derive(Clone, Copy)]
struct Urgency {
    outstanding: usize,
    since: Instant,
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
                since: Instant::now(),
            }
        });
    }
}

impl Default for Gate {
    fn default() -> Self {
        let calm = Urgency {
            outstanding: 0,
            since: Instant::now(),
        };
        Self {
            urgent: Arc::new(watch::Sender::new(calm)),
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
        self.calm().await;
        self.lists.clone().acquire_owned().await.ok()
    }

    /// The turn of a status write.
    pub async fn status(&self) -> Option<OwnedSemaphorePermit> {
        self.calm().await;
        self.statuses.clone().acquire_owned().await.ok()
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

    async fn calm(&self) {
        let _ = tokio::time::timeout(PATIENCE, self.wait_until_calm()).await;
    }

    async fn wait_until_calm(&self) {
        let mut urgency = self.urgent.subscribe();
        loop {
            let now = *urgency.borrow_and_update();
            let opens = now.since + QUIET;
            if now.outstanding == 0 && Instant::now() >= opens {
                return;
            }
            tokio::select! {
                changed = urgency.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(opens), if now.outstanding == 0 => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
        let _turn = gate.status().await.unwrap();
        assert_eq!(start.elapsed(), PATIENCE);
    }
}
