//! Leadership as metrics.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// `leader` and `leader_transitions_total`.
#[derive(Clone, Debug)]
pub struct Metrics {
    leader: Gauge,
    transitions: Counter,
}

impl Metrics {
    /// Registers the metrics.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let (leader, transitions) = (Gauge::default(), Counter::default());
        registry.register("leader", "1 while this process leads", leader.clone());
        registry.register(
            "leader_transitions",
            "How often this process began or ceased to lead",
            transitions.clone(),
        );
        Self {
            leader,
            transitions,
        }
    }

    pub(super) fn lead(&self, leads: bool) {
        self.leader.set(i64::from(leads));
        self.transitions.inc();
    }
}
