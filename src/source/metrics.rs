//! What the sources count.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::api::termination::SignalKind;

/// Why a message may be deleted without a record.
const DISCARD_REASONS: [&str; 17] = [
    "OtherDetailType",
    "OtherTransition",
    "OtherState",
    "OtherHealthEvent",
    "NoInstance",
    "TestNotification",
    "OtherNotification",
    "Malformed",
    "UnknownInstance",
    "Expired",
    "NoPolicy",
    "Ignored",
    "LateDuplicate",
    "NothingToFollow",
    "SignalsTruncated",
    "Invalid",
    "TooManyIncidents",
];

/// How a launch ends whose hook nobody completes.
const LAUNCHES_LOST: [&str; 4] = ["Expired", "Overdue", "LeaseLost", "TooMany"];

/// The sources' metrics; cheap to clone.
#[derive(Clone, Default)]
pub struct Metrics {
    signals: Family<SignalLabels, Counter>,
    discarded: Family<DiscardLabels, Counter>,
    launches: Family<LaunchLabels, Counter>,
    launches_held: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SignalLabels {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DiscardLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LaunchLabels {
    outcome: &'static str,
}

impl Metrics {
    /// Metrics in the registry.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "signals",
            "Signals heard, by kind and what became of them",
            metrics.signals.clone(),
        );
        registry.register(
            "messages_discarded",
            "Messages deleted without a record, by reason",
            metrics.discarded.clone(),
        );
        registry.register(
            "launches",
            "Launches whose messages were leased, and what became of each",
            metrics.launches.clone(),
        );
        registry.register(
            "launches_held",
            "Launches whose messages are leased until their Nodes are Ready",
            metrics.launches_held.clone(),
        );
        metrics
    }

    /// A counter that appears with its first event shows no increase: those that somebody is woken for are there before.
    /// Not for agents, of which there are many: they read no queue.
    #[must_use]
    pub fn begun_at_zero(self) -> Self {
        for outcome in LAUNCHES_LOST {
            drop(self.launches.get_or_create(&LaunchLabels { outcome }));
        }
        for reason in DISCARD_REASONS {
            drop(self.discarded.get_or_create(&DiscardLabels { reason }));
        }
        self
    }

    pub(super) fn signal(&self, kind: SignalKind, outcome: &'static str) {
        self.signals
            .get_or_create(&SignalLabels {
                kind: kind.as_str(),
                outcome,
            })
            .inc();
    }

    pub(super) fn discarded(&self, reason: &'static str) {
        debug_assert!(DISCARD_REASONS.contains(&reason), "{reason}");
        self.discarded
            .get_or_create(&DiscardLabels { reason })
            .inc();
    }

    pub(super) fn launch(&self, outcome: &'static str) {
        self.launches.get_or_create(&LaunchLabels { outcome }).inc();
    }

    pub(super) fn launches_held(&self, more: i64) {
        self.launches_held.inc_by(more);
    }
}
