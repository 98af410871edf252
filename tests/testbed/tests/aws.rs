//! The stand-in as the SDK meets it: lifecycle actions, roles, refusals and faults.

#[path = "sdk/client.rs"]
mod client;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use aws_config::sts::AssumeRoleProvider;
use aws_sdk_autoscaling::error::{ProvideErrorMetadata, SdkError};
use serde_json::Value;
use testbed::aws::{
    ActionState, Aws, EndedBy, Fault, FaultKind, LifecycleAction, LifecycleResult, Outcome, events,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Real time that nothing here should need.
const PATIENCE: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);
const INSTANCE: &str = "i-0aaa111122223333b";

async fn autoscaling(aws: &Aws) -> aws_sdk_autoscaling::Client {
    let credentials = client::credentials(&aws.env());
    aws_sdk_autoscaling::Client::new(&client::config(&aws.endpoint(), credentials).await)
}

async fn sqs(aws: &Aws) -> aws_sdk_sqs::Client {
    let credentials = client::credentials(&aws.env());
    aws_sdk_sqs::Client::new(&client::config(&aws.endpoint(), credentials).await)
}

/// Starts a termination in a group with one hook of one hour.
fn terminate(aws: &Aws, default_result: LifecycleResult) -> anyhow::Result<LifecycleAction> {
    aws.put_hook("workers", "drain", HOUR, default_result);
    let mut actions = aws.start_termination("workers", INSTANCE, None)?;
    actions.pop().context("no action")
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

async fn complete(
    client: &aws_sdk_autoscaling::Client,
    token: Option<&str>,
    instance_id: Option<&str>,
) -> Result<
    (),
    SdkError<
        aws_sdk_autoscaling::operation::complete_lifecycle_action::CompleteLifecycleActionError,
    >,
> {
    let request = client
        .complete_lifecycle_action()
        .auto_scaling_group_name("workers");
    let request = request
        .lifecycle_hook_name("drain")
        .lifecycle_action_result("CONTINUE");
    let request = request.set_lifecycle_action_token(token.map(Into::into));
    request
        .set_instance_id(instance_id.map(Into::into))
        .send()
        .await
        .map(drop)
}

async fn beat(
    client: &aws_sdk_autoscaling::Client,
    hook: &str,
    token: &str,
) -> Result<
    (),
    SdkError<aws_sdk_autoscaling::operation::record_lifecycle_action_heartbeat::RecordLifecycleActionHeartbeatError>,
>{
    let request = client
        .record_lifecycle_action_heartbeat()
        .auto_scaling_group_name("workers");
    let request = request
        .lifecycle_hook_name(hook)
        .lifecycle_action_token(token);
    request.send().await.map(drop)
}

#[tokio::test]
async fn an_action_is_completed_once() -> anyhow::Result<()> {
    let aws = Aws::start()?;
    let client = autoscaling(&aws).await;
    let action = terminate(&aws, LifecycleResult::Abandon)?;
    let described = client
        .describe_auto_scaling_instances()
        .instance_ids(INSTANCE)
        .send()
        .await?;
    ensure!(described.auto_scaling_instances()[0].lifecycle_state() == Some("Terminating:Wait"));

    complete(&client, Some(&action.token), None).await?;
    let done = aws.await_action_done(&action.token, PATIENCE).await?;
    let expected = (LifecycleResult::Continue, EndedBy::Completion);
    ensure!(matches!(done, ActionState::Ended { result, by, .. } if (result, by) == expected));
    aws.await_terminated(INSTANCE, PATIENCE).await?;
    let described = client
        .describe_auto_scaling_instances()
        .instance_ids(INSTANCE)
        .send()
        .await?;
    ensure!(
        described.auto_scaling_instances().is_empty(),
        "a terminated instance is described"
    );

    let (code, message) = refusal(complete(&client, Some(&action.token), None).await)?;
    let expected = format!(
        "No active Lifecycle Action found with token {}",
        action.token
    );
    ensure!((code, message) == ("ValidationError".into(), expected));
    let (_, message) = refusal(complete(&client, None, Some(INSTANCE)).await)?;
    ensure!(message == format!("No active Lifecycle Action found with instance ID {INSTANCE}"));
    ensure!(aws.violations().is_empty(), "{:?}", aws.violations());
    Ok(())
}

#[tokio::test]
async fn an_action_may_be_named_by_its_instance() -> anyhow::Result<()> {
    let aws = Aws::start()?;
    let action = terminate(&aws, LifecycleResult::Abandon)?;
    complete(&autoscaling(&aws).await, None, Some(INSTANCE)).await?;
    aws.await_action_done(&action.token, PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn heartbeats_move_the_deadline_and_silence_applies_the_default() -> anyhow::Result<()> {
    let aws = Aws::start()?;
    let client = autoscaling(&aws).await;
    let action = terminate(&aws, LifecycleResult::Abandon)?;
    aws.advance(HOUR / 2);
    beat(&client, "drain", &action.token).await?;
    aws.advance(HOUR * 3 / 4);
    let state = aws.action_state(&action.token).context("no such action")?;
    ensure!(
        matches!(state, ActionState::Waiting { heartbeats: 1, .. }),
        "{state:?}"
    );

    aws.advance(HOUR / 4);
    let done = aws.await_action_done(&action.token, PATIENCE).await?;
    let expected = (LifecycleResult::Abandon, EndedBy::TimeOut);
    ensure!(matches!(done, ActionState::Ended { result, by, .. } if (result, by) == expected));
    let (code, message) = refusal(beat(&client, "drain", &action.token).await)?;
    ensure!(code == "ValidationError" && message.starts_with("No active Lifecycle Action"));
    Ok(())
}

#[tokio::test]
async fn no_heartbeat_outlasts_the_global_timeout() -> anyhow::Result<()> {
    let aws = Aws::start()?;
    let client = autoscaling(&aws).await;
    let action = terminate(&aws, LifecycleResult::Continue)?;
    // 48 h is less than 100 hours of heartbeat timeouts.
    for _ in 0..53 {
        beat(&client, "drain", &action.token).await?;
        aws.advance(HOUR * 9 / 10);
    }
    beat(&client, "drain", &action.token).await?;
    aws.advance(HOUR / 2);
    let done = aws.action_state(&action.token).context("no such action")?;
    ensure!(
        matches!(
            done,
            ActionState::Ended {
                by: EndedBy::TimeOut,
                ..
            }
        ),
        "{done:?}"
    );
    Ok(())
}

#[tokio::test]
async fn an_action_times_out_by_itself() -> anyhow::Result<()> {
    let aws = Aws::start()?;
    let short = Duration::from_millis(300);
    aws.put_hook("workers", "drain", short, LifecycleResult::Continue);
    aws.start_termination("workers", INSTANCE, None)?;
    aws.await_terminated(INSTANCE, PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn each_hook_holds_the_instance_until_one_is_abandoned() -> anyhow::Result<()> {
    let aws = Aws::start()?;
    let client = autoscaling(&aws).await;
    let queue = aws.create_queue("events")?;
    for hook in ["drain", "logs", "metrics"] {
        aws.put_hook("workers", hook, HOUR, LifecycleResult::Continue);
    }
    let hooks = client
        .describe_lifecycle_hooks()
        .auto_scaling_group_name("workers")
        .send()
        .await?;
    ensure!(
        hooks.lifecycle_hooks().len() == 3
            && hooks.lifecycle_hooks()[0].heartbeat_timeout() == Some(3600)
    );
    let actions = aws.start_termination("workers", INSTANCE, Some(&queue))?;
    ensure!(actions.len() == 3 && queue.depth().visible == 3);
    ensure!(aws.start_termination("workers", INSTANCE, Some(&queue))? == actions);
    ensure!(
        queue.depth().visible == 3,
        "a second termination sent events"
    );

    complete(&client, Some(&actions[0].token), None).await?;
    ensure!(aws.terminated(INSTANCE).is_none(), "two hooks still wait");
    let request = client
        .complete_lifecycle_action()
        .auto_scaling_group_name("workers");
    let request = request
        .lifecycle_hook_name("logs")
        .lifecycle_action_token(&actions[1].token);
    request.lifecycle_action_result("ABANDON").send().await?;
    let third = aws
        .action_state(&actions[2].token)
        .context("no such action")?;
    ensure!(
        matches!(
            third,
            ActionState::Ended {
                by: EndedBy::Abandonment,
                ..
            }
        ),
        "{third:?}"
    );
    ensure!(aws.terminated(INSTANCE).is_some());
    Ok(())
}

#[tokio::test]
async fn unknown_groups_and_hooks_are_validation_errors() -> anyhow::Result<()> {
    let aws = Aws::start()?;
    let client = autoscaling(&aws).await;
    let (code, message) = refusal(beat(&client, "drain", INSTANCE).await)?;
    ensure!(
        code == "ValidationError" && message.contains("'workers' not found"),
        "{message}"
    );
    terminate(&aws, LifecycleResult::Continue)?;
    let (code, message) = refusal(beat(&client, "other", INSTANCE).await)?;
    ensure!(
        code == "ValidationError" && message.contains("other"),
        "{message}"
    );
    Ok(())
}

#[tokio::test]
async fn calls_of_an_assumed_role_are_told_apart() -> anyhow::Result<()> {
    let aws = Aws::start()?;
    let role = "arn:aws:iam::210987654321:role/drain";
    aws.demand_external_id(role, "tenant-1");
    let queue = aws.create_queue("events")?;
    let base = client::config(&aws.endpoint(), client::credentials(&aws.env())).await;
    for (external_id, allowed) in [("tenant-1", true), ("tenant-2", false)] {
        let provider = AssumeRoleProvider::builder(role)
            .external_id(external_id)
            .session_name("test");
        let provider = provider.configure(&base).build().await;
        let config = aws_sdk_sqs::config::Builder::from(&base).credentials_provider(provider);
        let client = aws_sdk_sqs::Client::from_conf(config.build());
        let request = client.receive_message().queue_url(queue.url());
        ensure!(request.send().await.is_ok() == allowed, "{external_id}");
    }
    let call = aws
        .await_call(PATIENCE, |call| call.operation == "ReceiveMessage")
        .await?;
    ensure!(
        call.role_arn.as_deref() == Some(role) && call.external_id.as_deref() == Some("tenant-1")
    );
    ensure!(call.region.as_deref() == Some("eu-central-1"));
    ensure!(aws.violations().is_empty(), "{:?}", aws.violations());
    Ok(())
}

#[tokio::test]
async fn faults_strike_as_often_as_told() -> anyhow::Result<()> {
    let aws = Aws::start()?;
    let client = autoscaling(&aws).await;
    let action = terminate(&aws, LifecycleResult::Continue)?;
    let fault = Fault::new("RecordLifecycleActionHeartbeat", FaultKind::Throttling).times(2);
    let guard = aws.inject(fault);
    for _ in 0..2 {
        let (code, _) = refusal(beat(&client, "drain", &action.token).await)?;
        ensure!(code == "Throttling", "{code}");
    }
    beat(&client, "drain", &action.token).await?;
    ensure!(guard.struck() == 2);
    let expected = Outcome {
        status: 400,
        code: Some("Throttling".into()),
    };
    ensure!(aws.calls()[0].outcome == expected);
    Ok(())
}

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
async fn malformed_requests_are_refused_and_listed() -> anyhow::Result<()> {
    let aws = Aws::start()?;
    aws.create_queue("events")?;
    let url = r#""QueueUrl":"http://x/123456789012/events""#;
    let signed = |service: &str| {
        format!(
            "Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/eu-central-1/\
             {service}/aws4_request, SignedHeaders=host, Signature=00\r\n"
        )
    };
    let json = "Content-Type: application/x-amz-json-1.0\r\nX-Amz-Target: AmazonSQS.";
    let receive = format!("{json}ReceiveMessage\r\n");
    let cases = [
        (
            receive.clone(),
            format!("{{{url}}}"),
            403,
            "MissingAuthenticationToken",
        ),
        (
            signed("autoscaling") + &receive,
            format!("{{{url}}}"),
            403,
            "MissingAuthenticationToken",
        ),
        (
            signed("sqs") + &receive,
            format!("{{{url},\"Odd\":1}}"),
            400,
            "unknown field",
        ),
        (
            signed("sqs") + &receive,
            format!("{{{url},\"WaitTimeSeconds\":\"1\"}}"),
            400,
            "invalid type",
        ),
        (
            signed("sqs") + &receive,
            "{}".into(),
            400,
            "MissingParameter",
        ),
        (
            signed("sqs") + json + "TagQueue\r\n",
            format!("{{{url}}}"),
            400,
            "UnknownOperation",
        ),
        (
            signed("autoscaling"),
            "Action=Odd&Version=2011-01-01".into(),
            400,
            "InvalidAction",
        ),
        (
            signed("autoscaling"),
            "Action=DescribeAutoScalingInstances&Version=2011-01-01&Odd=1".into(),
            400,
            "ValidationError",
        ),
    ];
    let expected = cases.len();
    for (headers, body, status, text) in cases {
        let answer = post(&aws, &headers, &body).await?;
        ensure!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{body}: {answer}"
        );
        ensure!(answer.contains(text), "{body}: {answer}");
    }
    ensure!(aws.violations().len() == expected, "{:?}", aws.violations());
    Ok(())
}

/// Posts without an SDK, which would not let such requests out.
async fn post(aws: &Aws, headers: &str, body: &str) -> anyhow::Result<String> {
    let endpoint = aws.endpoint();
    let host = endpoint.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).await?;
    let length = body.len();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
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
                let builder = aws_sdk_sqs::types::DeleteMessageBatchRequestEntry::builder();
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
