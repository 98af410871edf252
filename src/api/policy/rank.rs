//! Which policy speaks for a node, and what it says there.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};

use super::TerminationPolicy;
use crate::api::termination::{AwsAccess, EffectivePolicy};

impl TerminationPolicy {
    /// Whether the policy's nodeSelector selects these labels. A selector that can not be read selects nothing.
    #[must_use]
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let Some(selector) = self.spec.node_selector.clone() else {
            return true;
        };
        Selector::try_from(selector).is_ok_and(|s| s.matches(labels))
    }

    /// Its rank among the policies that select a node: the least speaks.
    #[must_use]
    pub fn rank(&self) -> (Reverse<i32>, String) {
        (Reverse(self.spec.priority), self.name_any())
    }

    /// How the first queue of the policy is reached.
    fn aws_access(&self) -> Option<AwsAccess> {
        let mut queues = self.spec.sources.iter().filter_map(|s| s.sqs.as_ref());
        queues.find_map(|queue| {
            Some(AwsAccess {
                region: queue.region()?.to_owned(),
                role_arn: queue.role_arn.clone(),
                external_id: queue.external_id.clone(),
            })
        })
    }

    /// What an incident copies when it starts.
    #[must_use]
    pub fn effective(&self) -> EffectivePolicy {
        EffectivePolicy {
            name: self.name_any(),
            generation: self.metadata.generation.unwrap_or_default(),
            mode: self.spec.mode,
            actions: self.spec.actions.clone(),
            cordon: self.spec.cordon.clone(),
            drain: self.spec.drain.clone(),
            lifecycle: self.spec.lifecycle.clone(),
            maintenance: self.spec.maintenance.clone(),
            limits: self.spec.limits.clone(),
            aws: self.aws_access(),
            ttl_seconds_after_finished: self.spec.ttl_seconds_after_finished,
            history_limit: self.spec.history_limit,
        }
    }
}
