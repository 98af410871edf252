//! The states of instances. Nothing is kept: whoever asks wants to know how it is now.

use std::collections::{BTreeMap, BTreeSet};

use super::BATCH;
use super::found::{described, filter};
use crate::aws::{Error, Metrics};

/// The states of the instances of one account and region.
#[derive(Clone, Debug)]
pub struct States {
    client: aws_sdk_ec2::Client,
    metrics: Metrics,
}

impl States {
    pub(in crate::aws) fn new(client: aws_sdk_ec2::Client, metrics: Metrics) -> Self {
        Self { client, metrics }
    }

    /// The state of each of the instances that EC2 knows, as EC2 writes it, by ID; a hundred in a call. Fails if any call
    /// does.
    pub async fn of(&self, ids: &BTreeSet<String>) -> Result<BTreeMap<String, String>, Error> {
        let mut states = BTreeMap::new();
        let ids: Vec<String> = ids.iter().cloned().collect();
        for batch in ids.chunks(BATCH) {
            // By filter: one instance that is gone makes a call fail that names it as an instance.
            let filters = vec![filter("instance-id", batch.iter().cloned())];
            let described = described(&self.client, &self.metrics, filters).await?;
            states.extend(described.into_iter().filter_map(|instance| {
                let state = instance.state?.name?;
                Some((instance.instance_id?, state.as_str().to_owned()))
            }));
        }
        Ok(states)
    }
}
