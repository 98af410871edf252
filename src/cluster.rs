//! Effects on Kubernetes: each one request, bounded, timed out and idempotent; its answer is classified here, once.

pub mod agents;
pub mod attachments;
pub mod client;
pub mod denied;
pub mod events;
pub mod gate;
pub mod nodes;
pub mod objects;
pub mod outage;
pub mod own_node;
pub mod pods;
pub mod record;
mod requests;
pub mod secrets;
pub mod status;
pub mod views;
pub mod watch;

use std::time::Duration;

use prometheus_client::registry::Registry;

pub use agents::{AgentWatch, Agents};
pub use attachments::Attachments;
pub use client::Clients;
pub use gate::Gate;
pub use nodes::Nodes;
pub use objects::{Guarded, Objects};
pub use own_node::OwnNode;
pub use views::Views;

/// The field manager of everything but signals.
pub const FIELD_MANAGER: &str = "node-termination-operator";

/// How long a call of the control path may take. The API server answers a write in milliseconds, in a burst in
/// tenths of a second; after this the pass is over and the next one looks again.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Puts what the calls to the API server tell into the registry.
pub fn register(registry: &mut Registry) {
    outage::register(registry);
    denied::register(registry);
    requests::register(registry);
}

/// A call to the API server that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused it or could not be reached.
    #[error("{act}: {}", words(source))]
    Call {
        /// What was tried, as in "cordon node".
        act: &'static str,
        /// What came back.
        source: Box<kube::Error>,
    },
    /// It was not sent: the operator's roles do not allow it.
    #[error("{act}: the operator's roles do not let it {what}; asked again every few seconds")]
    Denied {
        /// What was tried.
        act: &'static str,
        /// Verb and resource.
        what: String,
    },
    /// It was not sent: somebody else wrote, and what they wrote has not been seen yet.
    #[error("{act}: somebody else wrote meanwhile")]
    Stale {
        /// What was tried.
        act: &'static str,
    },
    /// No answer within [`CALL_TIMEOUT`].
    #[error("{act}: no answer in time")]
    TimedOut {
        /// What was tried.
        act: &'static str,
    },
}

impl Error {
    /// The failure in one word, for metric labels, conditions and logs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TimedOut { .. } => "TimedOut",
            Self::Denied { .. } => "Forbidden",
            Self::Stale { .. } => "Conflict",
            Self::Call { source, .. } => match source.as_ref() {
                kube::Error::Api(s) if s.is_forbidden() => "Forbidden",
                kube::Error::Api(s) if s.is_conflict() => "Conflict",
                kube::Error::Api(s) if s.is_not_found() => "NotFound",
                kube::Error::Api(s) if s.is_invalid() => "Invalid",
                kube::Error::Api(s) if s.code == 429 => "Overloaded",
                kube::Error::Api(_) => "ServerError",
                _ => "Unreachable",
            },
        }
    }

    /// Somebody else wrote meanwhile, or the object is not the one that was seen: look again.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.reason() == "Conflict" || self.is_foreign_uid()
    }

    /// The object is gone.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.reason() == "NotFound"
    }

    /// A patch with another object's UID answers 422 "field is immutable" for `metadata.uid`.
    fn is_foreign_uid(&self) -> bool {
        let Self::Call { source, .. } = self else {
            return false;
        };
        matches!(source.as_ref(), kube::Error::Api(s) if s.is_invalid() && s.message.contains("metadata.uid"))
    }
}

/// The API server's own words, where there are any; kube's add the whole Status.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Runs one call under [`CALL_TIMEOUT`] and names it in its error.
async fn call<T>(
    act: &'static str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    if let Some(denied::Denied { what, .. }) = denied::is_denied(act, denied::CLUSTER) {
        return Err(Error::Denied { act, what });
    }
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(answer)) => {
            denied::allowed(act, denied::CLUSTER);
            Ok(answer)
        }
        Ok(Err(source)) => {
            match &source {
                kube::Error::Api(status) if status.is_forbidden() => {
                    denied::forbidden(act, denied::CLUSTER, &status.message);
                }
                kube::Error::Api(status) if denied::allows(status.code) => {
                    denied::allowed(act, denied::CLUSTER);
                }
                _ => {}
            }
            Err(Error::Call {
                act,
                source: Box::new(source),
            })
        }
        Err(_) => {
            outage::ended(false);
            Err(Error::TimedOut { act })
        }
    }
}
