//! Every request to the API server as a metric: what the operator costs it, and how it answers.

use std::fmt;
use std::sync::LazyLock;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

static REQUESTS: LazyLock<Family<Labels, Counter>> = LazyLock::new(Family::default);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    client: &'static str,
    code: Code,
}

/// The HTTP status of the answer; `None`: there was none.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Code(Option<u16>);

impl EncodeLabelValue for Code {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), fmt::Error> {
        match self.0 {
            Some(code) => u64::from(code).encode(encoder),
            None => "none".encode(encoder),
        }
    }
}

/// Puts the metric into the registry.
pub(super) fn register(registry: &mut Registry) {
    registry.register(
        "api_requests",
        "Requests to the API server, by connection pool and HTTP status",
        REQUESTS.clone(),
    );
}

/// A request was answered with that status, or not at all. A watch is answered when it begins.
pub(super) fn answered(client: &'static str, code: Option<u16>) {
    let code = Code(code);
    REQUESTS.get_or_create(&Labels { client, code }).inc();
}
