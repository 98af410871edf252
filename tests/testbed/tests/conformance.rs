//! One script of SQS's semantics, driven through the real SDK: against the stand-in, and against an independent
//! implementation, so that the stand-in is not only checked against its own author's reading.

#[path = "conformance/checks.rs"]
mod checks;
#[path = "sdk/client.rs"]
mod client;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use aws_sdk_sqs::Client;
use testbed::aws::Aws;

/// Where the independent implementation (ministack 1.5) is known to differ from AWS, and how.
const MINISTACK_DEVIATIONS: &[(&str, &str)] = &[
    (
        "a stale receipt handle deletes nothing and is no error",
        "it answers an error to a stale handle, where a standard queue of AWS answers success",
    ),
    (
        "a message may be deleted twice",
        "it forgets the handle with the message and calls it invalid, where AWS answers success",
    ),
    (
        "only a message in flight can change visibility",
        "it hides a visible message and answers success, where AWS answers MessageNotInflight",
    ),
];

#[tokio::test]
async fn the_stand_in_behaves_as_sqs() -> anyhow::Result<()> {
    let aws = Aws::start()?;
    let config = client::config(&aws.endpoint(), client::credentials(&aws.env())).await;
    run(&Client::new(&config), &[]).await
}

#[tokio::test]
#[ignore = "needs SQS_CONFORMANCE_ENDPOINT: conformance.sh sets it"]
async fn an_independent_implementation_behaves_as_the_script_says() -> anyhow::Result<()> {
    let endpoint = std::env::var("SQS_CONFORMANCE_ENDPOINT")?;
    let config = client::config(&endpoint, client::credentials(&[])).await;
    run(&Client::new(&config), MINISTACK_DEVIATIONS).await
}

/// Runs every check at once, each on queues of its own. A known deviation must still be one.
async fn run(client: &Client, deviations: &[(&str, &str)]) -> anyhow::Result<()> {
    let stamp = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let checks = checks::all(client, &format!("conformance-{stamp}"));
    for (name, _) in deviations {
        ensure!(
            checks.iter().any(|(check, _)| check == name),
            "no check is named {name}"
        );
    }
    let results = checks
        .into_iter()
        .map(|(name, check)| async move { (name, check.await) });
    let mut failures = Vec::new();
    for (name, result) in futures::future::join_all(results).await {
        let known = deviations.iter().find(|(check, _)| *check == name);
        match (result, known) {
            (Ok(()), None) => println!("ok: {name}"),
            (Err(error), Some((_, how))) => println!("KNOWN DEVIATION: {name}: {how} ({error:#})"),
            (Ok(()), Some(_)) => failures.push(format!("{name}: deviates no more")),
            (Err(error), None) => failures.push(format!("{name}: {error:#}")),
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

/// The AWS error code of a call that must fail.
fn code<T, E>(result: Result<T, aws_sdk_sqs::error::SdkError<E>>) -> anyhow::Result<String>
where
    E: aws_sdk_sqs::error::ProvideErrorMetadata,
{
    let error = result.err().context("the call was expected to fail")?;
    let code = aws_sdk_sqs::error::ProvideErrorMetadata::code(&error);
    Ok(code.context("an error without a code")?.to_owned())
}
