//! The stand-in as the SDK meets it: lifecycle actions, instances, roles, refusals and faults.

#[path = "aws/callers.rs"]
mod callers;
#[path = "sdk/client.rs"]
mod client;
#[path = "aws/instances.rs"]
mod instances;
#[path = "aws/launches.rs"]
mod launches;
#[path = "aws/lifecycle.rs"]
mod lifecycle;
#[path = "aws/queues.rs"]
mod queues;

use std::time::Duration;

use anyhow::Context;
use aws_sdk_autoscaling::error::{ProvideErrorMetadata, SdkError};
use testbed::aws::Aws;

/// Real time that nothing here should need.
const PATIENCE: Duration = Duration::from_secs(10);
const INSTANCE: &str = "i-0aaa111122223333b";

async fn autoscaling(aws: &Aws) -> aws_sdk_autoscaling::Client {
    let credentials = client::credentials(&aws.env());
    aws_sdk_autoscaling::Client::new(&client::config(&aws.endpoint(), credentials).await)
}

async fn sqs(aws: &Aws) -> aws_sdk_sqs::Client {
    let credentials = client::credentials(&aws.env());
    aws_sdk_sqs::Client::new(&client::config(&aws.endpoint(), credentials).await)
}

/// Code and message of the error that a call must have met.
fn refusal<T, E: ProvideErrorMetadata>(
    result: Result<T, SdkError<E>>,
) -> anyhow::Result<(String, String)> {
    let error = result.err().context("the call was expected to fail")?;
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    Ok((
        text(ProvideErrorMetadata::code(&error)),
        text(ProvideErrorMetadata::message(&error)),
    ))
}
