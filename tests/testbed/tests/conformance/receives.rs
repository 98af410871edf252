//! What a receive yields, and when.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};

use super::{
    code,
    queue::{Queue, attribute, count, handle},
};

pub async fn wakes_on_send(queue: Queue) -> anyhow::Result<()> {
    let queue = queue.create(&[]).await?;
    let start = Instant::now();
    let sender = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        queue.send("hello <&> \"world\"").await
    };
    let (message, sent) = tokio::join!(queue.receive_one(15), sender);
    sent?;
    ensure!(
        message?.body() == Some("hello <&> \"world\""),
        "another body"
    );
    ensure!(
        start.elapsed() < Duration::from_secs(4),
        "woke after {:?}",
        start.elapsed()
    );
    Ok(())
}

pub async fn wakes_on_visible(queue: Queue) -> anyhow::Result<()> {
    let queue = queue
        .create(&[(QueueAttributeName::VisibilityTimeout, "2")])
        .await?;
    queue.send("a").await?;
    queue.receive_one(1).await?;
    let start = Instant::now();
    queue.receive_one(15).await?;
    let waited = start.elapsed();
    ensure!(
        waited > Duration::from_millis(1500),
        "visible after {waited:?}"
    );
    ensure!(waited < Duration::from_secs(6), "woke after {waited:?}");
    Ok(())
}

pub async fn lasts_wait_time(queue: Queue) -> anyhow::Result<()> {
    let queue = queue.create(&[]).await?;
    let start = Instant::now();
    ensure!(
        queue.receive(1).await?.is_empty(),
        "a message in an empty queue"
    );
    let waited = start.elapsed();
    ensure!(waited > Duration::from_millis(900), "waited {waited:?}");
    ensure!(waited < Duration::from_secs(3), "waited {waited:?}");
    Ok(())
}

pub async fn hides(queue: Queue) -> anyhow::Result<()> {
    let queue = queue
        .create(&[(QueueAttributeName::VisibilityTimeout, "2")])
        .await?;
    queue.send("a").await?;
    let first = queue.receive_one(1).await?;
    ensure!(
        queue.receive(0).await?.is_empty(),
        "visible while in flight"
    );
    let second = queue.receive_one(5).await?;
    ensure!(first.message_id() == second.message_id(), "another message");
    ensure!(handle(&first) != handle(&second), "the same handle");
    ensure!(
        (count(&first), count(&second)) == ("1", "2"),
        "wrong receive counts"
    );
    Ok(())
}

pub async fn tells_attributes(queue: Queue) -> anyhow::Result<()> {
    let queue = queue.create(&[]).await?;
    queue.send("a").await?;
    let message = queue.receive_one(1).await?;
    let time = |name| attribute(&message, &name).parse::<u64>();
    let sent = time(MessageSystemAttributeName::SentTimestamp)?;
    let received = time(MessageSystemAttributeName::ApproximateFirstReceiveTimestamp)?;
    ensure!(
        sent > 1_700_000_000_000 && sent <= received,
        "sent {sent}, received {received}"
    );
    // That of "a", from RFC 1321.
    ensure!(
        message.md5_of_body() == Some("0cc175b9c0f1b6a831c399e269772661"),
        "wrong MD5"
    );
    Ok(())
}

pub async fn redrives(live: Queue, dead: Queue) -> anyhow::Result<()> {
    let dead = dead.create(&[]).await?;
    let request = dead.client.get_queue_attributes().queue_url(&dead.url);
    let attributes = request
        .attribute_names(QueueAttributeName::QueueArn)
        .send()
        .await?;
    let arn = attributes
        .attributes()
        .and_then(|all| all.get(&QueueAttributeName::QueueArn));
    let arn = arn.context("no ARN")?;
    let policy = format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":"2"}}"#);
    let timeout = (QueueAttributeName::VisibilityTimeout, "1");
    let live = live
        .create(&[timeout, (QueueAttributeName::RedrivePolicy, &policy)])
        .await?;
    live.send("poison").await?;
    live.receive_one(1).await?;
    live.receive_one(5).await?;
    ensure!(live.receive(3).await?.is_empty(), "received a third time");
    ensure!(
        dead.receive_one(3).await?.body() == Some("poison"),
        "another body"
    );
    Ok(())
}

pub async fn counts(queue: Queue) -> anyhow::Result<()> {
    let queue = queue.create(&[]).await?;
    for body in ["a", "b", "c"] {
        queue.send(body).await?;
    }
    let request = queue.client.receive_message().queue_url(&queue.url);
    request.max_number_of_messages(1).send().await?;
    let request = queue.client.get_queue_attributes().queue_url(&queue.url);
    let attributes = request
        .attribute_names(QueueAttributeName::All)
        .send()
        .await?;
    let attribute = |name| {
        attributes
            .attributes()
            .and_then(|all| all.get(&name).cloned())
    };
    let visible = attribute(QueueAttributeName::ApproximateNumberOfMessages);
    let in_flight = attribute(QueueAttributeName::ApproximateNumberOfMessagesNotVisible);
    ensure!(visible.as_deref() == Some("2"), "visible {visible:?}");
    ensure!(in_flight.as_deref() == Some("1"), "in flight {in_flight:?}");
    let timeout = attribute(QueueAttributeName::VisibilityTimeout);
    ensure!(
        timeout.as_deref() == Some("30"),
        "visibility timeout {timeout:?}"
    );
    Ok(())
}

pub async fn misses(queue: Queue) -> anyhow::Result<()> {
    let missing = "AWS.SimpleQueueService.NonExistentQueue";
    let url = queue
        .client
        .get_queue_url()
        .queue_name(&queue.name)
        .send()
        .await;
    let found = code(url)?;
    ensure!(found == missing, "GetQueueUrl: {found}");
    let url = format!("http://127.0.0.1/123456789012/{}", queue.name);
    let found = code(queue.client.receive_message().queue_url(url).send().await)?;
    ensure!(found == missing, "ReceiveMessage: {found}");
    Ok(())
}
