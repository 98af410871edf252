//! EC2 instances, by the keys of their tags and by their capacity reservation.
//!
//! What was asked of tags is kept for a while, and while one call is under way the instances that are asked for meanwhile
//! gather for the next: a burst of notices costs a few calls.

mod found;
mod reservations;
mod seen;
mod states;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::{Error, Metrics};
use found::{filter, found, literal};
pub use reservations::Reservations;
use seen::Seen;
pub use states::States;

/// Instances of one call: half of what one filter takes (EC2 API reference, `DescribeInstances`).
const BATCH: usize = 100;

/// The instances of one account and region that carry one of some tags. Clones share what was seen.
#[derive(Clone, Debug)]
pub struct Instances {
    client: aws_sdk_ec2::Client,
    tag_keys: Arc<BTreeSet<String>>,
    seen: Arc<Mutex<Seen>>,
    /// One call at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
    metrics: Metrics,
}

impl Instances {
    pub(super) fn new(
        client: aws_sdk_ec2::Client,
        tag_keys: BTreeSet<String>,
        metrics: Metrics,
    ) -> Self {
        Self {
            client,
            tag_keys: Arc::new(tag_keys),
            seen: Arc::default(),
            turn: Arc::default(),
            metrics,
        }
    }

    /// Those of the instances that carry one of the tags, as of the last five minutes; that one carries none is believed
    /// for half a minute. Fails if EC2 did not tell of each of them.
    pub async fn carrying(&self, ids: &BTreeSet<String>) -> Result<BTreeSet<String>, Error> {
        self.seen().want(ids, Instant::now());
        let _turn = self.turn.lock().await;
        loop {
            let batch = {
                let mut seen = self.seen();
                let now = Instant::now();
                let batch = seen.batch(ids, BATCH, now)?;
                if batch.is_empty() {
                    return Ok(seen.carrying(ids));
                }
                batch
            };
            let answer = self.ask(&batch).await;
            self.seen().learn(batch, answer, Instant::now());
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, ids: &BTreeSet<String>) -> Result<BTreeSet<String>, Error> {
        // By filter: one instance that is gone makes a call fail that names it as an instance.
        let tag_keys = self.tag_keys.iter().map(|key| literal(key));
        let filters = vec![
            filter("instance-id", ids.iter().cloned()),
            filter("tag-key", tag_keys),
        ];
        found(&self.client, &self.metrics, filters).await
    }
}
