//! The checks. Each names the sentence that it proves.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use aws_sdk_sqs::{
    Client,
    types::{
        ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message,
        MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry,
    },
};
use futures::future::{BoxFuture, FutureExt};

use super::code;

/// A check's sentence and its run.
pub type Check = (&'static str, BoxFuture<'static, anyhow::Result<()>>);

/// All checks, on queues with names that start with `prefix`.
pub fn all(client: &Client, prefix: &str) -> Vec<Check> {
    let queue = |name: &str| Queue {
        client: client.clone(),
        name: format!("{prefix}-{name}"),
        url: String::new(),
    };
    vec![
        (
            "a long poll wakes on a send",
            wakes_on_send(queue("send")).boxed(),
        ),
        (
            "a long poll wakes when a message becomes visible",
            wakes_on_visible(queue("wake")).boxed(),
        ),
        (
            "an empty long poll lasts its wait time",
            lasts_wait_time(queue("wait")).boxed(),
        ),
        (
            "a received message is hidden, then comes again with a new handle",
            hides(queue("hide")).boxed(),
        ),
        (
            "a receive tells count and times",
            tells_attributes(queue("told")).boxed(),
        ),
        (
            "a stale receipt handle deletes nothing and is no error",
            keeps_on_stale(queue("stale")).boxed(),
        ),
        (
            "a message may be deleted twice",
            deletes_twice(queue("twice")).boxed(),
        ),
        (
            "a garbage receipt handle is invalid",
            refuses_garbage(queue("garbage")).boxed(),
        ),
        (
            "visibility 0 gives a message back at once",
            gives_back(queue("back")).boxed(),
        ),
        (
            "a changed visibility counts from now",
            extends(queue("extend")).boxed(),
        ),
        (
            "only a message in flight can change visibility",
            needs_flight(queue("flight")).boxed(),
        ),
        (
            "a batch fails by entry",
            fails_by_entry(queue("entry")).boxed(),
        ),
        (
            "a malformed batch fails whole",
            fails_whole(queue("whole")).boxed(),
        ),
        (
            "a message received too often goes to the dead letter queue",
            redrives(queue("live"), queue("dead")).boxed(),
        ),
        (
            "the attributes count messages",
            counts(queue("count")).boxed(),
        ),
        (
            "a missing queue is told by its code",
            misses(queue("missing")).boxed(),
        ),
    ]
}

/// One queue under test.
struct Queue {
    client: Client,
    name: String,
    url: String,
}

impl Queue {
    async fn create(mut self, attributes: &[(QueueAttributeName, &str)]) -> anyhow::Result<Self> {
        let attributes = attributes
            .iter()
            .map(|(name, value)| (name.clone(), (*value).into()));
        let attributes: HashMap<_, String> = attributes.collect();
        let request = self.client.create_queue().queue_name(&self.name);
        let created = request.set_attributes(Some(attributes)).send().await?;
        self.url = created.queue_url.context("no queue URL")?;
        Ok(self)
    }

    async fn send(&self, body: &str) -> anyhow::Result<()> {
        let request = self.client.send_message().queue_url(&self.url);
        let sent = request.message_body(body).send().await?;
        ensure!(sent.md5_of_message_body().is_some(), "no MD5");
        Ok(())
    }

    async fn receive(&self, wait_seconds: i32) -> anyhow::Result<Vec<Message>> {
        let request = self.client.receive_message().queue_url(&self.url);
        let request = request
            .max_number_of_messages(10)
            .wait_time_seconds(wait_seconds);
        let request = request.message_system_attribute_names(MessageSystemAttributeName::All);
        Ok(request.send().await?.messages.unwrap_or_default())
    }

    async fn receive_one(&self, wait_seconds: i32) -> anyhow::Result<Message> {
        let mut messages = self.receive(wait_seconds).await?;
        ensure!(messages.len() == 1, "received {} messages", messages.len());
        messages.pop().context("no message")
    }

    async fn delete(&self, message: &Message) -> anyhow::Result<()> {
        let request = self.client.delete_message().queue_url(&self.url);
        request.receipt_handle(handle(message)).send().await?;
        Ok(())
    }

    async fn change(&self, message: &Message, seconds: i32) -> anyhow::Result<()> {
        let request = self.client.change_message_visibility().queue_url(&self.url);
        let request = request
            .receipt_handle(handle(message))
            .visibility_timeout(seconds);
        request.send().await?;
        Ok(())
    }
}

fn handle(message: &Message) -> &str {
    message.receipt_handle().unwrap_or_default()
}

fn count(message: &Message) -> &str {
    attribute(
        message,
        &MessageSystemAttributeName::ApproximateReceiveCount,
    )
}

fn attribute<'a>(message: &'a Message, name: &MessageSystemAttributeName) -> &'a str {
    let attributes = message.attributes();
    attributes
        .and_then(|all| all.get(name))
        .map_or("", String::as_str)
}

async fn wakes_on_send(queue: Queue) -> anyhow::Result<()> {
    let queue = queue.create(&[]).await?;
    let start = Instant::now();
    let send = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        queue.send("hello <&> \"world\"").await
    };
    let (message, sent) = tokio::join!(queue.receive_one(15), send);
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

async fn wakes_on_visible(queue: Queue) -> anyhow::Result<()> {
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

async fn lasts_wait_time(queue: Queue) -> anyhow::Result<()> {
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

async fn hides(queue: Queue) -> anyhow::Result<()> {
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

async fn tells_attributes(queue: Queue) -> anyhow::Result<()> {
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

async fn keeps_on_stale(queue: Queue) -> anyhow::Result<()> {
    let queue = queue
        .create(&[(QueueAttributeName::VisibilityTimeout, "1")])
        .await?;
    queue.send("a").await?;
    let first = queue.receive_one(1).await?;
    queue.receive_one(5).await?;
    queue.delete(&first).await?;
    queue.receive_one(5).await?;
    Ok(())
}

async fn deletes_twice(queue: Queue) -> anyhow::Result<()> {
    let queue = queue
        .create(&[(QueueAttributeName::VisibilityTimeout, "1")])
        .await?;
    queue.send("a").await?;
    let message = queue.receive_one(1).await?;
    queue.delete(&message).await?;
    queue.delete(&message).await?;
    ensure!(
        queue.receive(2).await?.is_empty(),
        "a deleted message came again"
    );
    Ok(())
}

async fn refuses_garbage(queue: Queue) -> anyhow::Result<()> {
    let queue = queue.create(&[]).await?;
    let request = queue.client.delete_message().queue_url(&queue.url);
    let code = code(request.receipt_handle("garbage").send().await)?;
    ensure!(code == "ReceiptHandleIsInvalid", "code {code}");
    Ok(())
}

async fn gives_back(queue: Queue) -> anyhow::Result<()> {
    let queue = queue.create(&[]).await?;
    queue.send("a").await?;
    let message = queue.receive_one(1).await?;
    queue.change(&message, 0).await?;
    ensure!(
        count(&queue.receive_one(1).await?) == "2",
        "wrong receive count"
    );
    Ok(())
}

async fn extends(queue: Queue) -> anyhow::Result<()> {
    let queue = queue
        .create(&[(QueueAttributeName::VisibilityTimeout, "1")])
        .await?;
    queue.send("a").await?;
    let message = queue.receive_one(1).await?;
    queue.change(&message, 4).await?;
    ensure!(
        queue.receive(2).await?.is_empty(),
        "visible before its time"
    );
    queue.receive_one(10).await?;
    Ok(())
}

async fn needs_flight(queue: Queue) -> anyhow::Result<()> {
    let queue = queue.create(&[]).await?;
    queue.send("a").await?;
    let message = queue.receive_one(1).await?;
    queue.change(&message, 0).await?;
    let request = queue
        .client
        .change_message_visibility()
        .queue_url(&queue.url);
    let request = request
        .receipt_handle(handle(&message))
        .visibility_timeout(5);
    let code = code(request.send().await)?;
    ensure!(
        code == "AWS.SimpleQueueService.MessageNotInflight",
        "code {code}"
    );
    Ok(())
}

async fn fails_by_entry(queue: Queue) -> anyhow::Result<()> {
    let queue = queue.create(&[]).await?;
    let entry = |id: &str| {
        SendMessageBatchRequestEntry::builder()
            .id(id)
            .message_body(id)
            .build()
    };
    let request = queue.client.send_message_batch().queue_url(&queue.url);
    let sent = request
        .entries(entry("a")?)
        .entries(entry("b")?)
        .send()
        .await?;
    ensure!(
        sent.successful().len() == 2 && sent.failed().is_empty(),
        "not all sent"
    );
    let messages = queue.receive(1).await?;
    ensure!(messages.len() == 2, "received {} messages", messages.len());

    let entry = |id, handle| {
        let builder = ChangeMessageVisibilityBatchRequestEntry::builder();
        builder
            .id(id)
            .receipt_handle(handle)
            .visibility_timeout(60)
            .build()
    };
    let request = queue
        .client
        .change_message_visibility_batch()
        .queue_url(&queue.url);
    let request = request.entries(entry("good", handle(&messages[0]))?);
    let changed = request.entries(entry("bad", "garbage")?).send().await?;
    ensure!(
        changed.successful().len() == 1 && changed.failed().len() == 1,
        "{changed:?}"
    );
    ensure!(changed.failed()[0].id() == "bad", "{changed:?}");

    let entry = |id, handle| {
        DeleteMessageBatchRequestEntry::builder()
            .id(id)
            .receipt_handle(handle)
            .build()
    };
    let request = queue.client.delete_message_batch().queue_url(&queue.url);
    let request = request.entries(entry("bad", "garbage")?);
    let request = request.entries(entry("good", handle(&messages[1]))?);
    let deleted = request.send().await?;
    ensure!(
        deleted.successful().len() == 1 && deleted.successful()[0].id() == "good",
        "{deleted:?}"
    );
    let failed = deleted.failed();
    ensure!(
        failed.len() == 1 && failed[0].id() == "bad" && failed[0].sender_fault(),
        "{deleted:?}"
    );
    ensure!(failed[0].code() == "ReceiptHandleIsInvalid", "{deleted:?}");
    Ok(())
}

async fn fails_whole(queue: Queue) -> anyhow::Result<()> {
    let queue = queue.create(&[]).await?;
    let batch = async |ids: &[&str]| -> anyhow::Result<String> {
        let entry = |id: &&str| {
            SendMessageBatchRequestEntry::builder()
                .id(*id)
                .message_body("a")
                .build()
        };
        let entries = ids.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let request = queue.client.send_message_batch().queue_url(&queue.url);
        code(request.set_entries(Some(entries)).send().await)
    };
    let expected = |name: &str| format!("AWS.SimpleQueueService.{name}");
    let eleven = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"];
    let found = batch(&eleven).await?;
    ensure!(
        found == expected("TooManyEntriesInBatchRequest"),
        "eleven: {found}"
    );
    let found = batch(&[]).await?;
    ensure!(found == expected("EmptyBatchRequest"), "none: {found}");
    let found = batch(&["a", "a"]).await?;
    ensure!(
        found == expected("BatchEntryIdsNotDistinct"),
        "same ids: {found}"
    );
    ensure!(
        queue.receive(0).await?.is_empty(),
        "some of a refused batch was sent"
    );
    Ok(())
}

async fn redrives(live: Queue, dead: Queue) -> anyhow::Result<()> {
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

async fn counts(queue: Queue) -> anyhow::Result<()> {
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

async fn misses(queue: Queue) -> anyhow::Result<()> {
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
