//! Lifecycle actions on launch.

use anyhow::{Context, ensure};
use testbed::aws::{ActionState, Aws, EndedBy, LifecycleResult};

use super::{INSTANCE, PATIENCE, autoscaling};

#[tokio::test]
async fn a_launch_waits_for_its_own_hooks_and_is_in_service_when_they_are_completed()
-> anyhow::Result<()> {
    let aws = Aws::start()?;
    let client = autoscaling(&aws).await;
    aws.put_hook("workers", "drain", PATIENCE, LifecycleResult::Continue);
    aws.put_launch_hook("workers", "ready", PATIENCE);
    let queue = aws.create_queue("events")?;
    let actions = aws.start_launch("workers", INSTANCE, Some(&queue))?;
    let [action] = actions.as_slice() else {
        anyhow::bail!("the hook on termination is not asked: {actions:?}")
    };
    ensure!(queue.depth().visible == 1);
    let state = async || {
        let answer = client.describe_auto_scaling_instances().send().await?;
        let instances = answer.auto_scaling_instances.unwrap_or_default();
        let first = instances.into_iter().next();
        let state = first.and_then(|i| i.lifecycle_state);
        anyhow::Ok(state.unwrap_or_default())
    };
    ensure!(state().await? == "Pending:Wait");
    let complete = client
        .complete_lifecycle_action()
        .auto_scaling_group_name("workers")
        .lifecycle_hook_name("ready")
        .lifecycle_action_token(&action.token)
        .lifecycle_action_result("CONTINUE");
    complete.send().await?;
    ensure!(state().await? == "InService");
    let ended = aws.action_state(&action.token).context("no action")?;
    let by = EndedBy::Completion;
    ensure!(matches!(ended, ActionState::Ended { by: b, .. } if b == by));
    let leaving = aws.start_termination("workers", INSTANCE, None)?;
    ensure!(leaving.len() == 1 && state().await? == "Terminating:Wait");
    Ok(())
}

#[tokio::test]
async fn a_launch_that_nobody_completes_is_given_up() -> anyhow::Result<()> {
    let aws = Aws::start()?;
    aws.put_launch_hook("workers", "ready", PATIENCE);
    aws.start_launch("workers", INSTANCE, None)?;
    aws.advance(PATIENCE);
    aws.await_terminated(INSTANCE, PATIENCE).await?;
    Ok(())
}
