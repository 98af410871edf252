//! What the sources count.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::api::termination::SignalKind;

/// The sources' metrics; cheap to clone.
#[derive(Clone, Default)]
pub struct Metrics {
    signals: Family<SignalLabels, Counter>,
    discarded: Family<DiscardLabels, Counter>,
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
        metrics
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
        self.discarded
            .get_or_create(&DiscardLabels { reason })
            .inc();
    }
}
