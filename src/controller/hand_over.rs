//! Giving up leadership by choice, once in the life of a process: before the operator's own pod is evicted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

/// Asks for leadership to be given up; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct HandOver {
    asked: CancellationToken,
    done: Arc<AtomicBool>,
}

impl HandOver {
    /// Whether nobody has asked yet. Where no other replica takes over, asking again would not help.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        !self.asked.is_cancelled()
    }

    /// Asks for it.
    pub fn ask(&self) {
        self.asked.cancel();
    }

    /// Waits until it is asked for; for ever once it was done.
    pub async fn asked(&self) {
        if self.done.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        self.asked.cancelled().await;
    }

    /// It was done.
    pub fn done(&self) {
        self.done.store(true, Ordering::Relaxed);
    }
}
