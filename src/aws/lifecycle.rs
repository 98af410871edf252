//! Lifecycle hooks of Auto Scaling groups.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_autoscaling::types::LifecycleHook;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::call::{CALL_TIMEOUT, call};
use super::{Error, Metrics, Operation, Reason};

/// The Auto Scaling groups of one account and region. Clones share the connection and the limit on calls in flight.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    client: aws_sdk_autoscaling::Client,
    permits: Arc<Semaphore>,
    metrics: Metrics,
}

/// An instance that waits in a lifecycle hook.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LifecycleAction {
    /// The name of the Auto Scaling group.
    pub group: String,
    /// The name of the lifecycle hook.
    pub hook: String,
    /// The token of this action; without it Auto Scaling goes by the instance.
    pub token: Option<String>,
    /// The EC2 instance ID.
    pub instance_id: String,
}

/// An instance as its Auto Scaling group has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Instance {
    /// The name of its group.
    pub group: String,
    /// Its lifecycle state, such as `InService` or `Terminating:Wait`.
    pub state: String,
}

/// How a lifecycle action ends. An instance on its way out terminates with either.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LifecycleResult {
    /// Go on, and let the other hooks of the group finish.
    Continue,
    /// Stop: the other hooks of the group are skipped.
    Abandon,
}

/// A lifecycle hook as the group has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// `autoscaling:EC2_INSTANCE_TERMINATING` or `autoscaling:EC2_INSTANCE_LAUNCHING`.
    pub transition: String,
    /// How long an action lasts without a heartbeat.
    pub heartbeat_timeout: Duration,
    /// How long it lasts at most, with heartbeats.
    pub global_timeout: Duration,
    /// What happens when it times out: `CONTINUE` or `ABANDON`.
    pub default_result: String,
}

impl Lifecycle {
    pub(super) fn new(
        client: aws_sdk_autoscaling::Client,
        permits: Arc<Semaphore>,
        metrics: Metrics,
    ) -> Self {
        Self {
            client,
            permits,
            metrics,
        }
    }

    /// Starts the action's heartbeat timeout anew. Fails with [`Reason::NoActiveAction`](super::Reason) once the action
    /// is over.
    pub async fn heartbeat(&self, action: &LifecycleAction) -> Result<(), Error> {
        let request = self
            .client
            .record_lifecycle_action_heartbeat()
            .auto_scaling_group_name(&action.group)
            .lifecycle_hook_name(&action.hook)
            .set_lifecycle_action_token(action.token.clone())
            .instance_id(&action.instance_id);
        let operation = Operation::RecordLifecycleActionHeartbeat;
        let _permit = self.permit(operation).await?;
        call(&self.metrics, operation, CALL_TIMEOUT, request.send()).await?;
        Ok(())
    }

    /// Ends the action. Fails with [`Reason::NoActiveAction`](super::Reason) if it is already over.
    pub async fn complete(
        &self,
        action: &LifecycleAction,
        result: LifecycleResult,
    ) -> Result<(), Error> {
        let request = self
            .client
            .complete_lifecycle_action()
            .auto_scaling_group_name(&action.group)
            .lifecycle_hook_name(&action.hook)
            .set_lifecycle_action_token(action.token.clone())
            .instance_id(&action.instance_id)
            .lifecycle_action_result(result.as_str());
        let operation = Operation::CompleteLifecycleAction;
        let _permit = self.permit(operation).await?;
        call(&self.metrics, operation, CALL_TIMEOUT, request.send()).await?;
        Ok(())
    }

    /// A place among the calls in flight; as long as a call may take is waited for it, and no longer.
    async fn permit(&self, operation: Operation) -> Result<Option<SemaphorePermit<'_>>, Error> {
        match tokio::time::timeout(CALL_TIMEOUT, self.permits.acquire()).await {
            Ok(permit) => Ok(permit.ok()),
            Err(_) => Err(Error {
                operation,
                reason: Reason::TimedOut,
                message: "too many calls to Auto Scaling are in flight".to_owned(),
            }),
        }
    }

    /// The instance as its group has it; none if no group of the account and region has it.
    pub async fn instance(&self, instance_id: &str) -> Result<Option<Instance>, Error> {
        let request = self
            .client
            .describe_auto_scaling_instances()
            .instance_ids(instance_id);
        let operation = Operation::DescribeAutoScalingInstances;
        let _permit = self.permit(operation).await?;
        let answer = call(&self.metrics, operation, CALL_TIMEOUT, request.send()).await?;
        let instances = answer.auto_scaling_instances.unwrap_or_default();
        Ok(instances
            .into_iter()
            .find(|i| i.instance_id.as_deref() == Some(instance_id))
            .and_then(|i| {
                Some(Instance {
                    group: i.auto_scaling_group_name?,
                    state: i.lifecycle_state?,
                })
            }))
    }

    /// The hooks of a group: at most 50, in one answer (Auto Scaling quotas).
    pub async fn hooks(&self, group: &str) -> Result<Vec<Hook>, Error> {
        let request = self
            .client
            .describe_lifecycle_hooks()
            .auto_scaling_group_name(group);
        let operation = Operation::DescribeLifecycleHooks;
        let _permit = self.permit(operation).await?;
        let answer = call(&self.metrics, operation, CALL_TIMEOUT, request.send()).await?;
        let hooks = answer.lifecycle_hooks.unwrap_or_default();
        Ok(hooks.into_iter().filter_map(Hook::read).collect())
    }
}

impl LifecycleResult {
    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Continue => "CONTINUE",
            Self::Abandon => "ABANDON",
        }
    }
}

impl Hook {
    /// The defaults are those of `PutLifecycleHook`: an hour per heartbeat, 48 hours or 100 heartbeats in all, ABANDON.
    fn read(hook: LifecycleHook) -> Option<Self> {
        let heartbeat = seconds(hook.heartbeat_timeout).unwrap_or(Duration::from_hours(1));
        let global = Duration::from_hours(48).min(heartbeat * 100);
        Some(Self {
            name: hook.lifecycle_hook_name?,
            transition: hook.lifecycle_transition.unwrap_or_default(),
            heartbeat_timeout: heartbeat,
            global_timeout: seconds(hook.global_timeout).unwrap_or(global),
            default_result: hook.default_result.unwrap_or_else(|| "ABANDON".to_owned()),
        })
    }
}

fn seconds(seconds: Option<i32>) -> Option<Duration> {
    let seconds = u64::try_from(seconds?).ok()?;
    Some(Duration::from_secs(seconds))
}
