//! A queue as tests use it, past the wire.

use std::{sync::Arc, time::Duration};

use anyhow::Context;

use super::{
    World, lock,
    sqs::{self, Depth, QueueState},
};

/// A handle on a queue of the stand-in.
#[derive(Clone, Debug)]
pub struct Queue {
    pub(super) world: Arc<World>,
    pub(super) name: String,
}

impl Queue {
    /// The queue's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The queue's URL, a path of the stand-in's endpoint.
    #[must_use]
    pub fn url(&self) -> String {
        lock(&self.world.sqs).url(&self.name)
    }

    /// The queue's Amazon resource name.
    #[must_use]
    pub fn arn(&self) -> String {
        sqs::arn(&self.name)
    }

    /// Sends a message and returns its id; fails when the queue was deleted.
    pub fn send(&self, body: impl Into<String>) -> anyhow::Result<String> {
        let now = self.world.clock.now();
        self.with(|queue| queue.send(body.into(), None, now).0)
    }

    /// Sends any number of messages at once; fails when the queue was deleted.
    pub fn send_batch(&self, bodies: impl IntoIterator<Item = String>) -> anyhow::Result<()> {
        let now = self.world.clock.now();
        self.with(|queue| {
            for body in bodies {
                queue.send(body, None, now);
            }
        })
    }

    /// How many messages it holds now; none when it was deleted.
    #[must_use]
    pub fn depth(&self) -> Depth {
        let now = self.world.clock.now();
        let depth = self.with(|queue| {
            queue.settle(now);
            queue.messages.depth()
        });
        depth.unwrap_or_default()
    }

    /// The bodies of all messages it holds now, whatever their state; none when it was deleted.
    #[must_use]
    pub fn bodies(&self) -> Vec<String> {
        let now = self.world.clock.now();
        let bodies = self.with(|queue| {
            queue.settle(now);
            queue.messages.bodies()
        });
        bodies.unwrap_or_default()
    }

    /// Waits until every message is deleted; fails after `timeout`.
    pub async fn await_empty(&self, timeout: Duration) -> anyhow::Result<()> {
        let changed = self.with(|queue| Arc::clone(&queue.changed))?;
        let look = || (self.depth().total() == 0).then_some(());
        let what = format!("queue {} to be empty", self.name);
        let emptied = changed.until(timeout, &what, look).await;
        emptied.with_context(|| format!("it holds {:?}", self.depth()))
    }

    /// Deletes the queue: every later call about it finds no queue.
    pub fn delete(&self) {
        lock(&self.world.sqs).delete(&self.name);
    }

    fn with<T>(&self, act: impl FnOnce(&mut QueueState) -> T) -> anyhow::Result<T> {
        let mut sqs = lock(&self.world.sqs);
        let queue = sqs
            .named(&self.name)
            .with_context(|| format!("queue {} is gone", self.name))?;
        Ok(act(queue))
    }
}
