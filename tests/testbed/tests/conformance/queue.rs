//! A queue under test, through the SDK.

use std::collections::HashMap;

use anyhow::{Context, ensure};
use aws_sdk_sqs::{
    Client,
    types::{Message, MessageSystemAttributeName, QueueAttributeName},
};

/// One queue under test.
pub struct Queue {
    pub client: Client,
    pub name: String,
    pub url: String,
}

impl Queue {
    pub fn new(client: &Client, name: String) -> Self {
        let client = client.clone();
        Self {
            client,
            name,
            url: String::new(),
        }
    }

    pub async fn create(
        mut self,
        attributes: &[(QueueAttributeName, &str)],
    ) -> anyhow::Result<Self> {
        let attributes = attributes
            .iter()
            .map(|(name, value)| (name.clone(), (*value).into()));
        let attributes: HashMap<_, String> = attributes.collect();
        let request = self.client.create_queue().queue_name(&self.name);
        let created = request.set_attributes(Some(attributes)).send().await?;
        self.url = created.queue_url.context("no queue URL")?;
        Ok(self)
    }

    pub async fn send(&self, body: &str) -> anyhow::Result<()> {
        let request = self.client.send_message().queue_url(&self.url);
        let sent = request.message_body(body).send().await?;
        ensure!(sent.md5_of_message_body().is_some(), "no MD5");
        Ok(())
    }

    pub async fn receive(&self, wait_seconds: i32) -> anyhow::Result<Vec<Message>> {
        let request = self.client.receive_message().queue_url(&self.url);
        let request = request
            .max_number_of_messages(10)
            .wait_time_seconds(wait_seconds);
        let request = request.message_system_attribute_names(MessageSystemAttributeName::All);
        Ok(request.send().await?.messages.unwrap_or_default())
    }

    pub async fn receive_one(&self, wait_seconds: i32) -> anyhow::Result<Message> {
        let mut messages = self.receive(wait_seconds).await?;
        ensure!(messages.len() == 1, "received {} messages", messages.len());
        messages.pop().context("no message")
    }

    pub async fn delete(&self, message: &Message) -> anyhow::Result<()> {
        let request = self.client.delete_message().queue_url(&self.url);
        request.receipt_handle(handle(message)).send().await?;
        Ok(())
    }

    pub async fn change(&self, message: &Message, seconds: i32) -> anyhow::Result<()> {
        let request = self.client.change_message_visibility().queue_url(&self.url);
        let request = request
            .receipt_handle(handle(message))
            .visibility_timeout(seconds);
        request.send().await?;
        Ok(())
    }
}

pub fn handle(message: &Message) -> &str {
    message.receipt_handle().unwrap_or_default()
}

pub fn count(message: &Message) -> &str {
    attribute(
        message,
        &MessageSystemAttributeName::ApproximateReceiveCount,
    )
}

pub fn attribute<'a>(message: &'a Message, name: &MessageSystemAttributeName) -> &'a str {
    let attributes = message.attributes();
    attributes
        .and_then(|all| all.get(name))
        .map_or("", String::as_str)
}
