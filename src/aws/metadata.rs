//! The instance metadata service of the machine that we run on.
//!
//! Only version 2 of the service is used: a session token first, then the documents. The SDK's client keeps the token and
//! renews it before it expires, but holds on to one that the service no longer knows; so a refusal begins a new session.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::imds;
use aws_config::imds::client::error::{ImdsError, TokenError};
use aws_config::provider_config::ProviderConfig;
use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::SdkError;

use super::call::observed;
use super::error::{chain, describe, reason_of_status};
use super::{Error, Metrics, Operation, Reason};

/// How long the service may take to accept a connection: it is on the same machine.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// How long it may take to answer. An answer to a token request that must not leave the machine's own network namespace
/// (hop limit 1) never comes.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a document may take in all, a new token included; the shortest poll interval is a second, the default two.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The documents that are read (EC2 User Guide, "Instance metadata categories").
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Document {
    /// Which instance this is.
    InstanceId,
    /// The notice that a spot instance is taken back.
    SpotInstanceAction,
    /// The notice of a heightened risk of that.
    RebalanceRecommendation,
    /// Maintenance that AWS has scheduled.
    ScheduledMaintenance,
    /// Where the Auto Scaling group is taking the instance.
    TargetLifecycleState,
}

impl Document {
    /// Where the service has it.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::InstanceId => "/latest/meta-data/instance-id",
            Self::SpotInstanceAction => "/latest/meta-data/spot/instance-action",
            Self::RebalanceRecommendation => "/latest/meta-data/events/recommendations/rebalance",
            Self::ScheduledMaintenance => "/latest/meta-data/events/maintenance/scheduled",
            Self::TargetLifecycleState => "/latest/meta-data/autoscaling/target-lifecycle-state",
        }
    }
}

/// The metadata service. Clones share the session.
#[derive(Clone, Debug)]
pub struct Metadata {
    session: Arc<RwLock<Arc<imds::Client>>>,
    settings: imds::client::Builder,
    metrics: Metrics,
}

impl Metadata {
    /// The service that the standard environment names (`AWS_EC2_METADATA_SERVICE_ENDPOINT` and `_MODE`), else that of
    /// the instance. It is asked directly, never through a proxy. Nothing is sent yet.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self::with(settings(), metrics)
    }

    fn with(settings: imds::client::Builder, metrics: Metrics) -> Self {
        let session = Arc::new(settings.clone().build());
        Self {
            session: Arc::new(RwLock::new(session)),
            settings,
            metrics,
        }
    }

    /// The document's text; `None` if the service has none at the moment (404).
    ///
    /// # Errors
    /// `AccessDenied`: the service is disabled on this instance. `Credentials`: a new session was refused as well.
    pub async fn read(&self, document: Document) -> Result<Option<String>, Error> {
        let used = self.session();
        let mut read = self.read_in(&used, document).await;
        if read
            .as_ref()
            .is_err_and(|e| e.reason == Reason::Credentials)
        {
            self.renew(&used);
            read = self.read_in(&self.session(), document).await;
        }
        read
    }

    async fn read_in(
        &self,
        session: &imds::Client,
        document: Document,
    ) -> Result<Option<String>, Error> {
        let operation = Operation::ReadInstanceMetadata;
        let send = async {
            match session.get(document.path()).await {
                Ok(text) => Ok(Some(text.into())),
                Err(ImdsError::ErrorResponse(answer))
                    if answer.response().status().as_u16() == 404 =>
                {
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        };
        let classify = |error| classify(document, &error);
        observed(&self.metrics, operation, TIMEOUT, Box::pin(send), classify).await
    }

    fn session(&self) -> Arc<imds::Client> {
        let session = self.session.read().unwrap_or_else(PoisonError::into_inner);
        session.clone()
    }

    /// Begins a new session, unless another reader has done so since `used` was taken.
    fn renew(&self, used: &Arc<imds::Client>) {
        let mut current = self.session.write().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&current, used) {
            *current = Arc::new(self.settings.clone().build());
        }
    }
}

/// Without retries of the SDK's own: whoever polls asks again.
fn settings() -> imds::client::Builder {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = ProviderConfig::without_region()
        .with_http_client(http)
        .with_behavior_version(Some(BehaviorVersion::latest()));
    imds::Client::builder()
        .configure(&config)
        .max_attempts(1)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .operation_attempt_timeout(TIMEOUT)
        .operation_timeout(TIMEOUT)
}

/// The reason of a failure: what was answered tells, else what stands in the way.
fn classify(document: Document, error: &ImdsError) -> Error {
    let operation = Operation::ReadInstanceMetadata;
    let what = match error {
        ImdsError::FailedToLoadToken(_) => "the session token",
        _ => document.path(),
    };
    match status(error) {
        Some(403) => {
            let message = "the instance metadata service is disabled (403)";
            Error::new(operation, Reason::AccessDenied, message)
        }
        Some(401) => Error::new(operation, Reason::Credentials, &format!("{what}: 401")),
        Some(status) => {
            let reason = reason_of_status(status);
            Error::new(operation, reason, &format!("{what}: {status}"))
        }
        None => Error::new(operation, transport(error), &describe(error)),
    }
}

fn status(error: &ImdsError) -> Option<u16> {
    if let ImdsError::ErrorResponse(answer) = error {
        return Some(answer.response().status().as_u16());
    }
    let raw = chain(error).find_map(|cause| token_failure(cause)?.raw_response());
    raw.map(|response| response.status().as_u16())
}

/// The SDK wraps what went wrong below a request several times over, and differently for tokens and documents.
fn transport(error: &ImdsError) -> Reason {
    let timed_out = chain(error).any(|cause| {
        let token = token_failure(cause).is_some_and(|e| matches!(e, SdkError::TimeoutError(_)));
        let io = cause.downcast_ref::<std::io::Error>();
        let io = io.is_some_and(|e| e.kind() == std::io::ErrorKind::TimedOut);
        let text = cause.to_string();
        token || io || text.contains("timed out") || text.contains("timeout")
    });
    if timed_out {
        Reason::TimedOut
    } else {
        Reason::Unreachable
    }
}

fn token_failure<'a>(
    cause: &'a (dyn std::error::Error + 'static),
) -> Option<&'a SdkError<TokenError, HttpResponse>> {
    cause.downcast_ref()
}

#[cfg(test)]
mod tests;
