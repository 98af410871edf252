//! Calls to AWS as metrics.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::{Operation, Reason};

/// `aws_calls_total` and `aws_call_duration_seconds`. Clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    calls: Family<CallLabels, Counter>,
    duration: Family<OperationLabels, Histogram>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct CallLabels {
    operation: Operation,
    result: CallResult,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OperationLabels {
    operation: Operation,
}

/// `Success`, or the reason of the failure.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct CallResult(Option<Reason>);

impl Metrics {
    /// Registers the metrics.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let calls = Family::<CallLabels, Counter>::default();
        // 5 ms to 20 s: from an answer at once to the longest poll of a queue.
        let duration: Family<OperationLabels, Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.005, 2.0, 13)));
        registry.register("aws_calls", "Calls to AWS by result", calls.clone());
        registry.register_with_unit(
            "aws_call_duration",
            "How long calls to AWS took; ReceiveMessage includes the wait for messages",
            Unit::Seconds,
            duration.clone(),
        );
        Self { calls, duration }
    }

    pub(super) fn observe(&self, operation: Operation, failure: Option<Reason>, took: Duration) {
        let result = CallResult(failure);
        self.calls
            .get_or_create(&CallLabels { operation, result })
            .inc();
        self.duration
            .get_or_create(&OperationLabels { operation })
            .observe(took.as_secs_f64());
    }
}

impl EncodeLabelValue for Operation {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), fmt::Error> {
        self.as_str().encode(encoder)
    }
}

impl EncodeLabelValue for CallResult {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), fmt::Error> {
        self.0.map_or("Success", Reason::as_str).encode(encoder)
    }
}
