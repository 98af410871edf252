//! What can be done with receipt handles, one by one and in batches.

use anyhow::ensure;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, QueueAttributeName,
    SendMessageBatchRequestEntry,
};

use super::{
    code,
    queue::{Queue, count, handle},
};

pub async fn keeps_on_stale(queue: Queue) -> anyhow::Result<()> {
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

pub async fn deletes_twice(queue: Queue) -> anyhow::Result<()> {
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

pub async fn refuses_garbage(queue: Queue) -> anyhow::Result<()> {
    let queue = queue.create(&[]).await?;
    let request = queue.client.delete_message().queue_url(&queue.url);
    let code = code(request.receipt_handle("garbage").send().await)?;
    ensure!(code == "ReceiptHandleIsInvalid", "code {code}");
    Ok(())
}

pub async fn gives_back(queue: Queue) -> anyhow::Result<()> {
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

pub async fn extends(queue: Queue) -> anyhow::Result<()> {
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

pub async fn needs_flight(queue: Queue) -> anyhow::Result<()> {
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

pub async fn fails_by_entry(queue: Queue) -> anyhow::Result<()> {
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

pub async fn fails_whole(queue: Queue) -> anyhow::Result<()> {
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
