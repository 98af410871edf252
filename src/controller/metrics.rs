//! What the controllers count.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::api::policy::Stage;
use crate::api::termination::{Outcome, SignalKind};
use crate::drain::{Answer, Verb};

/// The controllers' metrics; cheap to clone.
#[derive(Clone, Default)]
pub struct Metrics {
    evictions: Family<EvictionLabels, Counter>,
    passes: Family<PassLabels, Counter>,
    finished: Family<FinishedLabels, Counter>,
    notifications: Family<NotificationLabels, Counter>,
    notifications_waiting: Gauge,
    waiting: Gauge,
    views: Gauge,
    open: Gauge,
    slots: Gauge<u64, AtomicU64>,
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
struct NotificationLabels {
    stage: &'static str,
    result: &'static str,
}

impl Metrics {
    /// Metrics in the registry.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
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
            "open_terminations",
            "Terminations that are not finished",
            metrics.open.clone(),
        );
        registry.register(
            "eviction_slots",
            "Evictions that may be in flight",
            metrics.slots.clone(),
        );
        metrics
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
            .get_or_create(&FinishedLabels {
                kind: kind.as_str(),
                outcome: outcome.as_str(),
            })
            .inc();
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

    /// We lead no more: the next leader tells.
    pub(super) fn clear(&self) {
        self.queue(0, 0);
        self.open(0, 0);
        self.notifications_waiting(0);
    }

    pub(super) fn open(&self, terminations: usize, views: usize) {
        self.open
            .set(i64::try_from(terminations).unwrap_or(i64::MAX));
        self.views.set(i64::try_from(views).unwrap_or(i64::MAX));
    }
}
