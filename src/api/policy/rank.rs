//! Which policy speaks for a node, and what it says there.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};

use super::TerminationPolicy;
use crate::api::termination::{AwsAccess, EffectiveNotification, EffectivePolicy};

/// All policies in the order in which they speak, their selectors read: a node is looked up often, a policy edited seldom.
#[derive(Debug, Default)]
pub struct Ranking(Vec<(Selector, Arc<EffectivePolicy>)>);

impl Ranking {
    /// The order of these policies: the highest priority first, then by name. A selector that can not be read selects
    /// nothing.
    pub fn of<'a>(policies: impl IntoIterator<Item = &'a TerminationPolicy>) -> Self {
        let mut policies: Vec<&TerminationPolicy> = policies.into_iter().collect();
        policies.sort_by_key(|p| (Reverse(p.spec.priority), p.name_any()));
        let ranked = policies.into_iter().filter_map(|policy| {
            let selector = policy.spec.node_selector.clone().unwrap_or_default();
            let selector = Selector::try_from(selector).ok()?;
            Some((selector, Arc::new(policy.effective())))
        });
        Self(ranked.collect())
    }

    /// The one policy that speaks for a node with these labels.
    #[must_use]
    pub fn speaks_for(&self, labels: &BTreeMap<String, String>) -> Option<&Arc<EffectivePolicy>> {
        let mut selecting = self.0.iter().filter(|(s, _)| s.matches(labels));
        selecting.next().map(|(_, policy)| policy)
    }

    /// The policy to go by for a node whose labels nobody knows any more: the first, if all of them would act, or none.
    #[must_use]
    pub fn agreed(&self, acts: impl Fn(&EffectivePolicy) -> bool) -> Option<&Arc<EffectivePolicy>> {
        let acting = self.0.iter().filter(|(_, policy)| acts(policy)).count();
        let one_mind = acting == 0 || acting == self.0.len();
        self.0
            .first()
            .map(|(_, policy)| policy)
            .filter(|_| one_mind)
    }
}

impl TerminationPolicy {
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

    /// Who is told of what.
    fn told(&self) -> Vec<EffectiveNotification> {
        let notifications = self.spec.notifications.iter();
        let told = notifications.map(|n| EffectiveNotification {
            name: n.name.clone(),
            stages: n.stages.clone(),
        });
        told.collect()
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
            notifications: self.told(),
            ttl_seconds_after_finished: self.spec.ttl_seconds_after_finished,
            history_limit: self.spec.history_limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::policy::TerminationPolicySpec;

    fn policy(name: &str, priority: i32, selector: serde_json::Value) -> TerminationPolicy {
        let spec = TerminationPolicySpec {
            priority,
            node_selector: serde_json::from_value(selector).unwrap(),
            ..TerminationPolicySpec::default()
        };
        TerminationPolicy::new(name, spec)
    }

    #[test]
    fn the_highest_priority_speaks_then_the_first_by_name_and_an_unreadable_selector_never() {
        let web = serde_json::json!({"matchLabels": {"team": "web"}});
        let broken = serde_json::json!({"matchExpressions": [{"key": "a", "operator": "Like"}]});
        let policies = [
            policy("z-all", 0, serde_json::Value::Null),
            policy("b-web", 5, web.clone()),
            policy("a-web", 5, web),
            policy("broken", 9, broken),
        ];
        let ranking = Ranking::of(&policies);
        for (team, speaks) in [("web", "a-web"), ("db", "z-all")] {
            let labels = std::iter::once(("team".to_owned(), team.to_owned())).collect();
            let policy = ranking.speaks_for(&labels).unwrap();
            assert_eq!(policy.name, speaks, "{team}");
        }
        assert!(
            Ranking::of(&policies[1..])
                .speaks_for(&BTreeMap::new())
                .is_none()
        );
    }
}
