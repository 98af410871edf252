//! What the records and the policies show at the moment of a scrape: open incidents, what threatens them, and which
//! sources are read. Only the leader tells, so that no incident is counted twice.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use kube::ResourceExt;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Metrics;
use crate::api::policy::{SourceState, TerminationPolicy};
use crate::api::termination::{NodeTermination, NodeTerminationStatus, Phase};
use crate::clock;
use crate::cluster::Objects;
use crate::lifecycle;

/// Labels that name a source are bounded by this many series: a policy has at most 16 sources.
const SOURCES_MAX: usize = 256;
/// The phases of an incident that is not over.
const OPEN: [Phase; 5] = [
    Phase::Pending,
    Phase::Waiting,
    Phase::Draining,
    Phase::Releasing,
    Phase::Released,
];

/// The collector.
pub struct Standing {
    terminations: Objects<NodeTermination>,
    policies: Objects<TerminationPolicy>,
    metrics: Metrics,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PhaseLabels {
    phase: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BlockLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SourceLabels {
    policy: String,
    source: String,
}

/// What stands at one moment.
#[derive(Default)]
struct Found {
    open: Family<PhaseLabels, Gauge>,
    at_risk: Gauge,
    blocked: Family<BlockLabels, Gauge>,
    /// In seconds.
    blocked_longest: Gauge,
    /// In seconds.
    heartbeat_overdue: Gauge,
    sources: Family<SourceLabels, Gauge>,
}

impl Standing {
    /// Has these looked at whenever the registry is read, while `metrics` say that we lead.
    pub fn register(
        registry: &mut Registry,
        terminations: &Objects<NodeTermination>,
        policies: &Objects<TerminationPolicy>,
        metrics: &Metrics,
    ) {
        registry.register_collector(Box::new(Self {
            terminations: terminations.clone(),
            policies: policies.clone(),
            metrics: metrics.clone(),
        }));
    }

    fn look(&self) -> Found {
        let (found, now) = (Found::new(), clock::now());
        if !self.metrics.leads() {
            return found;
        }
        let untouched = NodeTerminationStatus::default();
        for object in self.terminations.all() {
            if let Ok(object) = &object.0 {
                found.take(object.status.as_ref().unwrap_or(&untouched), now);
            }
        }
        let mut up = BTreeMap::new();
        for policy in self.policies.all() {
            let Ok(policy) = &policy.0 else { continue };
            let sources = policy.status.iter().flat_map(|s| &s.sources);
            up.extend(sources.map(|s| {
                let polling = s.state == SourceState::Polling;
                ((policy.name_any(), s.name.clone()), polling)
            }));
        }
        for ((policy, source), polling) in up.into_iter().take(SOURCES_MAX) {
            let labels = SourceLabels { policy, source };
            found.sources.get_or_create(&labels).set(polling.into());
        }
        found
    }
}

impl Found {
    fn new() -> Self {
        let found = Self::default();
        for phase in OPEN {
            found.open_in(phase);
        }
        found
    }

    fn open_in(&self, phase: Phase) -> Gauge {
        let phase = phase.as_str();
        self.open.get_or_create_owned(&PhaseLabels { phase })
    }

    /// Takes one record in.
    fn take(&self, status: &NodeTerminationStatus, now: Timestamp) {
        let phase = status.phase.unwrap_or(Phase::Pending);
        if phase.is_finished() {
            return;
        }
        self.open_in(phase).inc();
        self.at_risk.inc_by(lifecycle::is_at_risk(status).into());
        if phase == Phase::Draining {
            for pod in &status.blocked {
                let reason = pod.reason.as_str();
                self.blocked.get_or_create(&BlockLabels { reason }).inc();
                raise(&self.blocked_longest, now, pod.since.0);
            }
        }
        let due = status
            .lifecycle_actions
            .iter()
            .filter(|a| !a.state.is_over());
        for due in due.filter_map(|a| a.next_heartbeat_time.as_ref()) {
            raise(&self.heartbeat_overdue, now, due.0);
        }
    }

    fn metrics(&self) -> [(&'static str, &'static str, &dyn EncodeMetric); 6] {
        [
            (
                "open_terminations",
                "Incidents that are not over, by phase",
                &self.open,
            ),
            (
                "deadlines_at_risk",
                "Open incidents whose drain does not fit its deadline as things stand",
                &self.at_risk,
            ),
            (
                "blocked_pods",
                "Pods that can not leave yet, at most ten of each incident, by what holds them",
                &self.blocked,
            ),
            (
                "drain_blocked_seconds",
                "How long the pod that has been held the longest is held",
                &self.blocked_longest,
            ),
            (
                "heartbeat_overdue_seconds",
                "How long the heartbeat that is the most overdue has been due",
                &self.heartbeat_overdue,
            ),
            (
                "source_up",
                "1 while the source of the policy is read",
                &self.sources,
            ),
        ]
    }
}

impl Collector for Standing {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let found = self.look();
        for (name, help, metric) in found.metrics() {
            if !metric.is_empty() {
                let kind = metric.metric_type();
                metric.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Standing").finish_non_exhaustive()
    }
}

/// Raises the gauge to the seconds that have passed since then.
fn raise(gauge: &Gauge, now: Timestamp, since: Timestamp) {
    let seconds = now.duration_since(since).as_secs();
    gauge.set(gauge.get().max(seconds));
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::json;

    use super::*;

    fn status(status: serde_json::Value) -> NodeTerminationStatus {
        serde_json::from_value(status).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn risk(reason: &str) -> serde_json::Value {
        json!([{
            "type": "DeadlineAtRisk", "status": "True", "reason": reason, "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }])
    }

    fn blocked(since: i64) -> serde_json::Value {
        json!([{
            "pod": "shop/web-1", "uid": "u", "reason": "Budget", "since": at(since), "message": "",
        }])
    }

    #[test]
    fn open_incidents_are_counted_by_phase_and_the_longest_wait_is_told() {
        let found = Found::new();
        let draining = |since| json!({"phase": "Draining", "blocked": blocked(since)});
        for one in [
            json!({}),
            draining(40),
            draining(70),
            json!({"phase": "Released", "blocked": blocked(0)}),
            json!({"phase": "Completed"}),
        ] {
            found.take(&status(one), at(100));
        }
        let open = |phase| found.open_in(phase).get();
        assert_eq!(OPEN.map(open), [1, 0, 2, 0, 1]);
        assert_eq!(found.blocked_longest.get(), 60);
        let labels = BlockLabels { reason: "Budget" };
        assert_eq!(found.blocked.get_or_create(&labels).get(), 2);
    }

    #[test]
    fn a_deadline_is_at_risk_while_it_is_foreseen_and_not_when_it_was_missed() {
        let found = Found::new();
        for (phase, reason) in [
            ("Draining", "Stuck"),
            ("Draining", "Missed"),
            ("Failed", "Stuck"),
        ] {
            let one = json!({"phase": phase, "conditions": risk(reason)});
            found.take(&status(one), at(0));
        }
        assert_eq!(found.at_risk.get(), 1);
    }

    #[test]
    fn a_heartbeat_is_overdue_from_its_time_until_its_action_is_over() {
        let action = |state: &str, due: i64| json!({"signalID": "s", "hookName": "h", "state": state, "nextHeartbeatTime": at(due)});
        let now = at(1000);
        for (actions, overdue) in [
            (json!([action("Pending", 1010)]), 0),
            (json!([action("Pending", 990), action("Pending", 970)]), 30),
            (json!([action("Completed", 10)]), 0),
        ] {
            let found = Found::new();
            let one = json!({"phase": "Draining", "lifecycleActions": actions});
            found.take(&status(one), now);
            assert_eq!(found.heartbeat_overdue.get(), overdue, "{actions}");
        }
        let later = now + SignedDuration::from_secs(10);
        let found = Found::new();
        let one = json!({"phase": "Waiting", "lifecycleActions": [action("Pending", 1005)]});
        found.take(&status(one), later);
        assert_eq!(found.heartbeat_overdue.get(), 5);
    }
}
