//! Which instances a queue is read for: all of them, or those that carry a tag.

use std::collections::{BTreeMap, BTreeSet};

use super::sqs::Monitor;
use super::trouble::Question;
use crate::aws::Instances;
use crate::cluster::nodes::Resolution;
use crate::event::{Heard, Parsed};

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
    /// Reads the tags of these instances in one go, if any policy asks for it.
    pub(super) async fn managed(
        &self,
        instances: Option<&Instances>,
        ids: BTreeSet<String>,
    ) -> Managed {
        let Some(instances) = instances else {
            return Managed::Every;
        };
        if ids.is_empty() {
            return Managed::Listed(BTreeMap::new());
        }
        match instances.carrying(&ids).await {
            Ok(carrying) => {
                self.answered(Question::Tags);
                let listed = ids.into_iter().map(|id| (carrying.contains(&id), id));
                Managed::Listed(listed.map(|(carries, id)| (id, carries)).collect())
            }
            Err(error) => {
                self.troubled(Question::Tags, &error);
                Managed::NotTold
            }
        }
    }

    /// The instances that it is worth asking about: nodes, and those that launch.
    pub(super) fn concerned(&self, parsed: &Parsed) -> Vec<String> {
        match parsed {
            Parsed::Signals(heard) => self.nodes_among(heard).collect(),
            Parsed::Launch(launch) if self.completes(launch) => vec![launch.instance_id.clone()],
            // The instances of a reservation are not known yet.
            Parsed::Launch(_) | Parsed::Reservation(_) | Parsed::Discarded(_) => Vec::new(),
        }
    }

    /// The instances that are nodes.
    pub(super) fn nodes_among(&self, heard: &[Heard]) -> impl Iterator<Item = String> {
        let ids = heard.iter().map(|h| &h.instance_id);
        ids.filter(|id| matches!(self.recorder.nodes.resolve(id), Resolution::Node(_)))
            .cloned()
    }
}
