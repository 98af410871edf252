//! How an agent is doing, told in one place: readiness, metric and log.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::telemetry::{Check, Health};

/// What is told of an agent.
pub struct State {
    check: Check,
    gauge: Family<Labels, Gauge<i64, AtomicI64>>,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    reason: &'static str,
}

impl State {
    /// A state in the registry and in the readiness of the process; not ready yet.
    #[must_use]
    pub fn register(registry: &mut Registry, health: &Health) -> Self {
        let gauge = Family::default();
        registry.register(
            "agent_state",
            "How the agent is doing: 1 for the reason that holds",
            gauge.clone(),
        );
        let mut state = Self {
            check: health.check("instance metadata"),
            gauge,
            reason: "",
        };
        let message =
            "the policies are not listed yet: are the custom resource definitions installed?";
        state.missing("Starting", message);
        state
    }

    /// All is well.
    pub(super) fn ready(&mut self, reason: &'static str, message: &str) {
        self.check.set_ready();
        if self.is_new(reason) {
            tracing::info!(reason, message, "agent state");
        }
    }

    /// Something is missing.
    pub(super) fn missing(&mut self, reason: &'static str, message: &str) {
        self.check.set_missing(format!("{reason}: {message}"));
        if self.is_new(reason) {
            tracing::warn!(reason, message, "agent state");
        }
    }

    fn is_new(&mut self, reason: &'static str) -> bool {
        if self.reason == reason {
            return false;
        }
        self.reason = reason;
        self.gauge.clear();
        self.gauge.get_or_create(&Labels { reason }).set(1);
        true
    }
}
