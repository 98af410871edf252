//! Which instances a queue is read for: all of them, or those that carry a tag.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::Instant;

use super::sqs::Monitor;
use crate::api::policy::SourceState;
use crate::aws::{Error, Instances};
use crate::cluster::nodes::Resolution;
use crate::event::Parsed;

/// What is known of the instances that a batch of messages tells of.
pub(super) enum Managed {
    /// Nobody asks for a tag.
    Every,
    /// Whether each carries one. Of one that is not listed nothing was asked, for it is no node.
    Listed(BTreeMap<String, bool>),
    /// EC2 did not tell.
    NotTold,
}

/// Whether an instance is to be acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Management {
    /// It is.
    Managed,
    /// It is not: its messages are for somebody else.
    Unmanaged,
    /// It was no node when the tags were read.
    NotAsked,
    /// EC2 did not tell.
    NotTold,
}

impl Managed {
    pub(super) fn of(&self, instance_id: &str) -> Management {
        match self {
            Self::Every => Management::Managed,
            Self::NotTold => Management::NotTold,
            Self::Listed(listed) => match listed.get(instance_id) {
                Some(true) => Management::Managed,
                Some(false) => Management::Unmanaged,
                None => Management::NotAsked,
            },
        }
    }
}

impl Monitor {
    /// Reads the tags of the instances of a batch in one go, if any policy asks for it.
    pub(super) async fn managed<'a>(
        &self,
        instances: Option<&Instances>,
        batch: impl Iterator<Item = &'a Parsed>,
    ) -> Managed {
        let Some(instances) = instances else {
            return Managed::Every;
        };
        let ids: BTreeSet<String> = batch.flat_map(|parsed| self.concerned(parsed)).collect();
        if ids.is_empty() {
            return Managed::Listed(BTreeMap::new());
        }
        match instances.carrying(&ids).await {
            Ok(carrying) => {
                self.trouble(None);
                let listed = ids.into_iter().map(|id| (carrying.contains(&id), id));
                Managed::Listed(listed.map(|(carries, id)| (id, carries)).collect())
            }
            Err(error) => {
                tracing::warn!(queue = self.key.url, %error, "tags could not be read; the messages come again");
                self.trouble(Some(error));
                Managed::NotTold
            }
        }
    }

    /// The instances that it is worth asking about: nodes, and those that launch.
    fn concerned(&self, parsed: &Parsed) -> Vec<String> {
        match parsed {
            Parsed::Signals(heard) => heard
                .iter()
                .map(|h| &h.instance_id)
                .filter(|id| matches!(self.recorder.nodes.resolve(id), Resolution::Node(_)))
                .cloned()
                .collect(),
            Parsed::Launch(launch) if self.completes(launch) => vec![launch.instance_id.clone()],
            Parsed::Launch(_) | Parsed::Discarded(_) => Vec::new(),
        }
    }

    /// Remembers what keeps tags from being read, and tells of it: without them nothing is acted on.
    fn trouble(&self, error: Option<Error>) {
        if let Some(error) = &error {
            self.tell(SourceState::BackingOff, error.reason(), error.to_string());
        }
        *self.troubled.lock().unwrap_or_else(PoisonError::into_inner) =
            error.map(|_| Instant::now());
    }
}
