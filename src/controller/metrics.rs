//! What the controllers count.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::api::Time;
use crate::api::policy::Stage;
use crate::api::termination::{NodeTermination, NodeTerminationStatus, Outcome, SignalKind};
use crate::drain::{Answer, Verb};

/// From a second, which is how exact the times in events are, to the hour of a held lifecycle hook, in seconds.
const SINCE_NOTICE: [f64; 12] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 90.0, 120.0, 300.0, 900.0, 3600.0,
];

/// What came of a notification that was refused or given up.
pub(super) const FAILED: &str = "Failed";

/// How a drain can end.
const ENDS: [Outcome; 3] = [
    Outcome::Drained,
    Outcome::DrainIncomplete,
    Outcome::NodeGone,
];

/// The controllers' metrics; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    evictions: Family<EvictionLabels, Counter>,
    passes: Family<PassLabels, Counter>,
    finished: Family<FinishedLabels, Counter>,
    drains: Family<FinishedLabels, Counter>,
    since_notice: Family<SinceNoticeLabels, Histogram>,
    notifications: Family<NotificationLabels, Counter>,
    notifications_waiting: Gauge,
    waiting: Gauge,
    views: Gauge,
    slots: Gauge<u64, AtomicU64>,
    uncovered: Gauge,
    leads: Arc<AtomicBool>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EvictionLabels {
    verb: &'static str,
    answer: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PassLabels {
    controller: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FinishedLabels {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SinceNoticeLabels {
    kind: &'static str,
    step: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct NotificationLabels {
    stage: &'static str,
    result: &'static str,
}

impl Metrics {
    fn new() -> Self {
        Self {
            evictions: Family::default(),
            passes: Family::default(),
            finished: Family::default(),
            drains: Family::default(),
            since_notice: Family::new_with_constructor(|| Histogram::new(SINCE_NOTICE)),
            waiting: Gauge::default(),
            views: Gauge::default(),
            slots: Gauge::default(),
            uncovered: Gauge::default(),
            notifications: Family::default(),
            notifications_waiting: Gauge::default(),
            leads: Arc::default(),
        }
    }

    /// Metrics in the registry.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::new();
        registry.register(
            "evictions",
            "Pods told to end, by verb and the API server's answer",
            metrics.evictions.clone(),
        );
        registry.register(
            "reconciliations",
            "Passes of the controllers, by result",
            metrics.passes.clone(),
        );
        registry.register(
            "terminations_finished",
            "Finished terminations, by the most urgent kind and the outcome",
            metrics.finished.clone(),
        );
        registry.register(
            "drains",
            "Drains that ended, by the most urgent kind and how",
            metrics.drains.clone(),
        );
        registry.register_with_unit(
            "since_notice",
            "Time from AWS's notice to the cordon, and to the end of the drain",
            Unit::Seconds,
            metrics.since_notice.clone(),
        );
        registry.register(
            "notifications",
            "Attempts to notify, by stage and what came of them",
            metrics.notifications.clone(),
        );
        registry.register(
            "notifications_waiting",
            "Notifications that are still to be sent",
            metrics.notifications_waiting.clone(),
        );
        registry.register(
            "budget_waiting_pods",
            "Pods that wait for room in their disruption budget",
            metrics.waiting.clone(),
        );
        registry.register(
            "open_pod_views",
            "Nodes whose pods are watched",
            metrics.views.clone(),
        );
        registry.register(
            "eviction_slots",
            "Evictions that may be in flight",
            metrics.slots.clone(),
        );
        registry.register(
            "uncovered_spot_nodes",
            "Spot nodes that neither a policy nor Karpenter nor EKS drains",
            metrics.uncovered.clone(),
        );
        metrics.begin_at_zero();
        metrics
    }

    /// A counter that appears with its first event shows no increase: those that somebody is woken for are there before.
    fn begin_at_zero(&self) {
        for kind in SignalKind::ALL {
            for outcome in ENDS {
                drop(
                    self.drains
                        .get_or_create(&FinishedLabels::of(kind, outcome)),
                );
            }
            let mismatch = FinishedLabels::of(kind, Outcome::IdentityMismatch);
            drop(self.finished.get_or_create(&mismatch));
        }
        for stage in Stage::ALL {
            let (stage, result) = (stage.as_str(), FAILED);
            let failed = NotificationLabels { stage, result };
            drop(self.notifications.get_or_create(&failed));
        }
        let (verb, answer) = ("Delete", Answer::Accepted.as_str());
        drop(
            self.evictions
                .get_or_create(&EvictionLabels { verb, answer }),
        );
    }

    pub(super) fn evicted(&self, verb: Verb, answer: &Answer) {
        let verb = match verb {
            Verb::Evict => "Evict",
            Verb::Delete => "Delete",
        };
        self.evictions
            .get_or_create(&EvictionLabels {
                verb,
                answer: answer.as_str(),
            })
            .inc();
    }

    pub(super) fn pass(&self, controller: &'static str, result: &'static str) {
        self.passes
            .get_or_create(&PassLabels { controller, result })
            .inc();
    }

    pub(super) fn finished(&self, kind: SignalKind, outcome: Outcome) {
        self.finished
            .get_or_create(&FinishedLabels::of(kind, outcome))
            .inc();
    }

    /// Counts the end of a drain, and times the steps that the record shows and did not show before.
    pub(super) fn progressed(
        &self,
        object: &NodeTermination,
        before: &NodeTerminationStatus,
        now: &NodeTerminationStatus,
    ) {
        let kind = now.reason.unwrap_or_default();
        let ended = now.outcome.filter(|o| ENDS.contains(o));
        if let Some(outcome) = ended.filter(|_| before.outcome.is_none()) {
            self.drains
                .get_or_create(&FinishedLabels::of(kind, outcome))
                .inc();
        }
        let Some(notice) = notice(object, kind) else {
            return;
        };
        for (step, then, at) in [
            ("cordoned", &before.cordoned_at, &now.cordoned_at),
            ("drained", &before.drained_at, &now.drained_at),
        ] {
            if let Some(at) = at.as_ref().filter(|_| then.is_none()) {
                let seconds = at.0.duration_since(notice.0).as_secs_f64().max(0.0);
                let kind = kind.as_str();
                self.since_notice
                    .get_or_create(&SinceNoticeLabels { kind, step })
                    .observe(seconds);
            }
        }
    }

    pub(super) fn notified(&self, stage: Stage, result: &'static str) {
        let stage = stage.as_str();
        self.notifications
            .get_or_create(&NotificationLabels { stage, result })
            .inc();
    }

    pub(super) fn notifications_waiting(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.notifications_waiting.set(count);
    }

    pub(super) fn queue(&self, waiting: usize, slots: usize) {
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.slots.set(slots as u64);
    }

    /// We lead: what the records show is ours to tell.
    pub(super) fn begin(&self) {
        self.leads.store(true, Ordering::Relaxed);
    }

    pub(super) fn leads(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    /// We lead no more: the next leader tells.
    pub(super) fn clear(&self) {
        self.leads.store(false, Ordering::Relaxed);
        self.queue(0, 0);
        self.views(0);
        self.uncovered(0);
        self.notifications_waiting(0);
    }

    /// So many spot nodes are drained by nobody.
    pub(super) fn uncovered(&self, nodes: usize) {
        self.uncovered.set(i64::try_from(nodes).unwrap_or(i64::MAX));
    }

    pub(super) fn views(&self, open: usize) {
        self.views.set(i64::try_from(open).unwrap_or(i64::MAX));
    }
}

impl FinishedLabels {
    fn of(kind: SignalKind, outcome: Outcome) -> Self {
        Self {
            kind: kind.as_str(),
            outcome: outcome.as_str(),
        }
    }
}

/// When AWS first gave notice of that kind.
fn notice(object: &NodeTermination, kind: SignalKind) -> Option<&Time> {
    let signals = object.spec.signals.iter();
    let times = signals.filter(|s| s.kind == kind).map(|s| &s.notice_time);
    times.min_by_key(|time| time.0)
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn what_somebody_is_woken_for_is_counted_from_zero_before_it_first_happens() {
        let mut registry = Registry::default();
        let _metrics = Metrics::register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for series in [
            r#"drains_total{kind="SpotInterruption",outcome="DrainIncomplete"}"#,
            r#"terminations_finished_total{kind="Manual",outcome="IdentityMismatch"}"#,
            r#"evictions_total{verb="Delete",answer="Accepted"}"#,
            r#"notifications_total{stage="Received",result="Failed"}"#,
            r#"notifications_total{stage="Canceled",result="Failed"}"#,
        ] {
            let zero = format!("{series} 0");
            assert!(text.lines().any(|line| line == zero), "{zero}\n{text}");
        }
    }
}
