//! Queues in bad times and in a hurry.

use std::time::{Duration, Instant};

use anyhow::ensure;
use aws_sdk_sqs::{error::SdkError, types::DeleteMessageBatchRequestEntry};
use serde_json::Value;
use testbed::aws::{Aws, Fault, FaultKind, events};

use super::{INSTANCE, PATIENCE, refusal, sqs};

#[tokio::test]
async fn sqs_faults_have_the_codes_of_sqs() -> anyhow::Result<()> {
    let aws = Aws::start()?;
    let client = sqs(&aws).await;
    let (queue, other) = (aws.create_queue("events")?, aws.create_queue("other")?);
    let cases = [
        (FaultKind::InternalError, "InternalFailure"),
        (FaultKind::ServiceUnavailable, "ServiceUnavailable"),
        (FaultKind::Throttling, "RequestThrottled"),
        (FaultKind::AccessDenied, "AccessDenied"),
        (
            FaultKind::NotFound,
            "AWS.SimpleQueueService.NonExistentQueue",
        ),
    ];
    for (kind, expected) in cases {
        let _guard = aws.inject(Fault::new("ReceiveMessage", kind).on_queue("events"));
        client
            .receive_message()
            .queue_url(other.url())
            .send()
            .await?;
        let (code, _) = refusal(client.receive_message().queue_url(queue.url()).send().await)?;
        ensure!(code == expected, "{kind:?}: {code}");
    }
    client
        .receive_message()
        .queue_url(queue.url())
        .send()
        .await?;
    ensure!(aws.violations().is_empty(), "{:?}", aws.violations());
    Ok(())
}

#[tokio::test]
async fn a_lost_reply_does_the_work_and_a_time_out_does_not() -> anyhow::Result<()> {
    let aws = Aws::start()?;
    let client = sqs(&aws).await;
    let queue = aws.create_queue("events")?;
    let held = FaultKind::TimeOut(Duration::from_millis(200));
    for (kind, sent) in [(held, 0), (FaultKind::LostReply, 1)] {
        let _guard = aws.inject(Fault::new("SendMessage", kind));
        let result = client
            .send_message()
            .queue_url(queue.url())
            .message_body("a")
            .send()
            .await;
        ensure!(
            matches!(result, Err(SdkError::DispatchFailure(_))),
            "{kind:?}: {result:?}"
        );
        ensure!(
            queue.depth().visible == sent,
            "{kind:?}: {:?}",
            queue.depth()
        );
    }
    ensure!(aws.calls().iter().all(|call| call.outcome.status == 0));
    Ok(())
}

#[tokio::test]
async fn a_duplicate_is_delivered_twice() -> anyhow::Result<()> {
    let aws = Aws::start()?;
    let client = sqs(&aws).await;
    let queue = aws.create_queue("events")?;
    queue.send(events::spot_interruption(INSTANCE, aws.now()))?;
    let _guard = aws.inject(Fault::new("ReceiveMessage", FaultKind::Duplicate).times(1));
    let mut bodies = Vec::new();
    for _ in 0..2 {
        let received = client
            .receive_message()
            .queue_url(queue.url())
            .send()
            .await?;
        bodies.extend(
            received
                .messages()
                .iter()
                .filter_map(|message| message.body().map(String::from)),
        );
    }
    ensure!(bodies.len() == 2 && bodies[0] == bodies[1]);
    let event: Value = serde_json::from_str(&bodies[0])?;
    ensure!(event["detail"]["instance-id"] == INSTANCE && event["source"] == "aws.ec2");
    Ok(())
}

#[tokio::test]
async fn a_burst_of_5000_messages_is_not_slow() -> anyhow::Result<()> {
    const MESSAGES: usize = 5_000;
    let aws = Aws::start()?;
    let client = sqs(&aws).await;
    let queue = aws.create_queue("events")?;
    queue.send_batch(
        (0..MESSAGES).map(|n| events::spot_interruption(&format!("i-{n:017x}"), aws.now())),
    )?;
    let start = Instant::now();
    let drain = || async {
        loop {
            let request = client
                .receive_message()
                .queue_url(queue.url())
                .max_number_of_messages(10);
            let messages = request.send().await?.messages.unwrap_or_default();
            if messages.is_empty() {
                return anyhow::Ok(());
            }
            let entry = |(id, message): (usize, &aws_sdk_sqs::types::Message)| {
                let builder = DeleteMessageBatchRequestEntry::builder();
                builder
                    .id(id.to_string())
                    .set_receipt_handle(message.receipt_handle.clone())
                    .build()
            };
            let entries = messages
                .iter()
                .enumerate()
                .map(entry)
                .collect::<Result<Vec<_>, _>>()?;
            let request = client.delete_message_batch().queue_url(queue.url());
            request.set_entries(Some(entries)).send().await?;
        }
    };
    tokio::try_join!(drain(), drain(), drain(), drain())?;
    queue.await_empty(PATIENCE).await?;
    let took = start.elapsed();
    println!("{MESSAGES} messages received and deleted in {took:?}");
    // A debug build on two busy cores takes about two seconds; a queue that costs O(n) a receive, minutes.
    ensure!(took < Duration::from_secs(20), "{took:?}");
    Ok(())
}

#[tokio::test]
async fn a_long_poll_wakes_when_time_is_advanced() -> anyhow::Result<()> {
    let aws = Aws::start()?;
    let client = sqs(&aws).await;
    let queue = aws.create_queue_with("events", Duration::from_mins(10))?;
    queue.send("a")?;
    let receive = client
        .receive_message()
        .queue_url(queue.url())
        .wait_time_seconds(20);
    receive.clone().send().await?;
    let start = Instant::now();
    let advance = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        aws.advance(Duration::from_mins(10));
    };
    let (received, ()) = tokio::join!(receive.send(), advance);
    ensure!(received?.messages().len() == 1 && start.elapsed() < PATIENCE);
    Ok(())
}

#[test]
fn a_stand_in_outlives_the_runtime_that_started_it() -> anyhow::Result<()> {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
    };
    let aws = runtime()?.block_on(async { Aws::start() })?;
    let queue = aws.create_queue("events")?;
    for _ in 0..2 {
        runtime()?.block_on(async {
            let client = sqs(&aws).await;
            client
                .send_message()
                .queue_url(queue.url())
                .message_body("a")
                .send()
                .await
        })?;
    }
    ensure!(queue.depth().visible == 2);
    Ok(())
}
