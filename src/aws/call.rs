//! One call: under a timeout, classified, counted.

use std::pin::Pin;
use std::time::{Duration, Instant};

use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use tokio::time::timeout;

use super::error::classify;
use super::{Error, Metrics, Operation, Reason};

/// How long a call may take that the service answers at once. The API answers in tens of milliseconds; five seconds
/// leave room for a new connection and new credentials, and are short beside the two minutes of a Spot notice.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Awaits `send` for at most `limit`. Credentials are loaded within it.
pub(super) async fn call<T, E>(
    metrics: &Metrics,
    operation: Operation,
    limit: Duration,
    send: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
) -> Result<T, Error>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let classify = |error| classify(operation, &error);
    observed(metrics, operation, limit, Box::pin(send), classify).await
}

/// Awaits `send` for at most `limit`, whatever its errors are.
pub(super) async fn observed<T, E>(
    metrics: &Metrics,
    operation: Operation,
    limit: Duration,
    send: Pin<Box<impl Future<Output = Result<T, E>>>>,
    classify: impl FnOnce(E) -> Error,
) -> Result<T, Error> {
    let started = Instant::now();
    let result = match timeout(limit, send).await {
        Ok(answer) => answer.map_err(classify),
        Err(_elapsed) => {
            let message = format!("no answer within {limit:?}");
            Err(Error::new(operation, Reason::TimedOut, &message))
        }
    };
    let reason = result.as_ref().err().map(|error| error.reason);
    metrics.observe(operation, reason, started.elapsed());
    result
}
