//! EC2 instances, by the keys of their tags.
//!
//! What was asked is kept for a while, and while one call is under way the instances that are asked for meanwhile
//! gather for the next: a burst of notices costs a few calls.

mod seen;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_sdk_ec2::types::Filter;
use tokio::time::Instant;

use super::call::{CALL_TIMEOUT, call};
use super::{Error, Metrics, Operation, Reason};
use seen::Seen;

/// Instances of one call: half of what one filter takes (EC2 API reference, `DescribeInstances`).
const BATCH: usize = 100;

/// EC2 may answer with less than was asked for, but hardly with less than one instance a page.
const PAGES_MAX: usize = BATCH;

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
        let request = self
            .client
            .describe_instances()
            .filters(filter("instance-id", ids.iter().cloned()))
            .filters(filter("tag-key", self.tag_keys.iter().map(|k| literal(k))));
        let operation = Operation::DescribeInstances;
        let (mut found, mut token) = (BTreeSet::new(), None);
        for _page in 0..PAGES_MAX {
            let request = request.clone().set_next_token(token);
            let answer = call(&self.metrics, operation, CALL_TIMEOUT, request.send()).await?;
            let reservations = answer.reservations.unwrap_or_default().into_iter();
            let instances = reservations.flat_map(|r| r.instances.unwrap_or_default());
            found.extend(instances.filter_map(|i| i.instance_id));
            token = answer.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(found);
            }
        }
        let message = "the answer has no end";
        Err(Error::new(operation, Reason::Unavailable, message))
    }
}

fn filter(name: &str, values: impl Iterator<Item = String>) -> Filter {
    Filter::builder()
        .name(name)
        .set_values(Some(values.collect()))
        .build()
}

/// A value that a filter takes as it is: `*` and `?` are wildcards otherwise (EC2 User Guide, "List and filter your
/// resources").
fn literal(value: &str) -> String {
    let mut literal = String::with_capacity(value.len());
    for character in value.chars() {
        if matches!(character, '*' | '?' | '\\') {
            literal.push('\\');
        }
        literal.push(character);
    }
    literal
}
