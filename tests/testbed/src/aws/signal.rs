//! Wakes tasks that wait for a change, on whatever runtime they wait.

use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;

/// Tells waiting tasks that something they look at has changed.
#[derive(Debug)]
pub(crate) struct Signal(watch::Sender<()>);

impl Default for Signal {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl Signal {
    /// Wakes everyone who subscribed before.
    pub fn notify(&self) {
        self.0.send_replace(());
    }

    /// Subscribe before looking at the state, so that no change falls between the two.
    pub fn subscribe(&self) -> Watcher {
        Watcher(self.0.subscribe())
    }

    /// Looks again after every change until `look` finds something; fails after `timeout`.
    pub async fn until<T>(
        &self,
        timeout: Duration,
        what: &str,
        mut look: impl FnMut() -> Option<T>,
    ) -> anyhow::Result<T> {
        let mut changes = self.subscribe();
        let found = async {
            loop {
                if let Some(found) = look() {
                    return found;
                }
                changes.changed().await;
            }
        };
        tokio::time::timeout(timeout, found)
            .await
            .with_context(|| format!("after {timeout:?} still waiting for {what}"))
    }
}

/// One subscription to a [`Signal`].
pub(crate) struct Watcher(watch::Receiver<()>);

impl Watcher {
    /// Ends at the next change; never, once the signal is gone.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
