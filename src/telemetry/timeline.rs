//! How long each step of an incident takes, from the moment its notice was received by this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

/// From a few milliseconds (a cordon on an idle cluster) to the hours of a held lifecycle hook, in seconds.
const BUCKETS: [f64; 16] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0, 3600.0,
];
/// More incidents than this are not timed; a burst of a thousand fits.
const TIMED_MAX: usize = 10_000;

/// The stop-watches of all open incidents; cheap to clone.
#[derive(Clone)]
pub struct Timeline {
    started: Arc<Mutex<HashMap<String, Instant>>>,
    steps: Family<StepLabels, Histogram>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StepLabels {
    step: &'static str,
}

impl Timeline {
    /// Stop-watches that report to the registry.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let steps: Family<StepLabels, Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        registry.register_with_unit(
            "termination_step_duration",
            "Time from the receipt of a notice to each step: recorded, cordoned, drained, released",
            Unit::Seconds,
            steps.clone(),
        );
        Self {
            started: Arc::default(),
            steps,
        }
    }

    /// A notice was received. The first of an incident starts its stop-watch.
    pub fn received(&self, incident: &str) {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if started.len() < TIMED_MAX {
            started
                .entry(incident.to_owned())
                .or_insert_with(Instant::now);
        }
    }

    /// The incident reached a step. One that this process did not receive is not timed.
    pub fn reached(&self, incident: &str, step: &'static str) {
        let started = self
            .started
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(incident)
            .copied();
        if let Some(started) = started {
            self.steps
                .get_or_create(&StepLabels { step })
                .observe(started.elapsed().as_secs_f64());
        }
    }

    /// We lead no more: somebody else sees these incidents through.
    pub fn clear(&self) {
        self.started
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// The incident is over, or was none.
    pub fn forget(&self, incident: &str) {
        self.started
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(incident);
    }
}
