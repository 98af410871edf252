//! Lifecycle actions through the Auto Scaling SDK.

use std::time::Duration;

use anyhow::{Context, ensure};
use aws_sdk_autoscaling::{
    Client,
    error::SdkError,
    operation::{
        complete_lifecycle_action::CompleteLifecycleActionError,
        record_lifecycle_action_heartbeat::RecordLifecycleActionHeartbeatError,
    },
};
use testbed::aws::{
    ActionState, Aws, EndedBy, Fault, FaultKind, LifecycleAction, LifecycleResult, Outcome,
};

use super::{INSTANCE, PATIENCE, autoscaling, refusal};

const HOUR: Duration = Duration::from_hours(1);
/// Starts a termination in a group with one hook of one hour.
fn terminate(aws: &Aws, default_result: LifecycleResult) -> anyhow::Result<LifecycleAction> {
    aws.put_hook("workers", "drain", HOUR, default_result);
    let mut actions = aws.start_termination("workers", INSTANCE, None)?;
    actions.pop().context("no action")
}

async fn complete(
    client: &Client,
    token: Option<&str>,
    instance_id: Option<&str>,
) -> Result<(), SdkError<CompleteLifecycleActionError>> {
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
    client: &Client,
    hook: &str,
    token: &str,
) -> Result<(), SdkError<RecordLifecycleActionHeartbeatError>> {
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
