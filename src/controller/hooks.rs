//! Lifecycle hooks as incidents see them: their time-outs, those that a termination waits in, and how an action is named.

use std::time::Duration;

use jiff::SignedDuration;

use crate::api::termination::{AwsAccess, NodeTermination};
use crate::aws::{Account, Aws, Error, Hook, HookCache, LifecycleAction};
use crate::lifecycle::found::FoundHook;
use crate::lifecycle::{ActionKey, HookTimeout};

/// The transition of hooks that wait when an instance is terminated (`PutLifecycleHook`, lifecycle transition).
const TERMINATING: &str = "autoscaling:EC2_INSTANCE_TERMINATING";

/// The time-outs of this hook.
pub(super) async fn timeout(
    cache: &HookCache,
    aws: &Aws,
    account: &Account,
    group: &str,
    hook: &str,
) -> HookTimeout {
    match cache.hooks(aws, account, group).await {
        Ok(hooks) => hooks.iter().find(|h| h.name == hook).map_or_else(
            || HookTimeout::Unknown(format!("the group has no hook {hook}")),
            timeout_of,
        ),
        Err(error) => HookTimeout::Unknown(error.to_string()),
    }
}

/// The hooks that a group has for the termination of its instances.
pub(super) async fn terminating(
    cache: &HookCache,
    aws: &Aws,
    account: &Account,
    group: &str,
) -> Result<Vec<FoundHook>, Error> {
    let hooks = cache.hooks(aws, account, group).await?;
    let terminating = hooks.iter().filter(|h| h.transition == TERMINATING);
    Ok(terminating
        .map(|hook| FoundHook {
            group: group.to_owned(),
            hook: hook.name.clone(),
            timeout: timeout_of(hook),
        })
        .collect())
}

fn timeout_of(hook: &Hook) -> HookTimeout {
    let signed = |d: Duration| SignedDuration::try_from(d).unwrap_or(SignedDuration::MAX);
    HookTimeout::Known {
        heartbeat: signed(hook.heartbeat_timeout),
        global: signed(hook.global_timeout),
    }
}

/// The lifecycle action behind a key, as Auto Scaling names it, and whose credentials complete it. One that a signal
/// names goes by its token; one that was found goes by the instance, and by the policy's access to AWS.
pub(super) fn action_of(
    object: &NodeTermination,
    key: &ActionKey,
) -> Option<(Account, LifecycleAction)> {
    let signal = object.spec.signals.iter().find(|s| s.id == key.signal_id)?;
    let instance_id = object.instance_id()?.to_owned();
    if let Some(hook) = &signal.lifecycle_hook {
        let account = Account {
            region: hook.region.clone(),
            role_arn: hook.role_arn.clone(),
            external_id: hook.external_id.clone(),
        };
        let action = LifecycleAction {
            group: hook.auto_scaling_group_name.clone(),
            hook: hook.hook_name.clone(),
            token: Some(hook.action_token.clone()),
            instance_id,
        };
        return Some((account, action));
    }
    let status = object.status.as_ref()?;
    let entry = status.lifecycle_actions.iter().find(|a| key.is_of(a))?;
    let action = LifecycleAction {
        group: entry.auto_scaling_group_name.clone()?,
        hook: entry.hook_name.clone(),
        token: None,
        instance_id,
    };
    Some((account_of(status.policy.as_ref()?.aws.as_ref()?), action))
}

/// Whose credentials the policy's calls go by, and where to.
pub(super) fn account_of(access: &AwsAccess) -> Account {
    Account {
        region: access.region.clone(),
        role_arn: access.role_arn.clone(),
        external_id: access.external_id.clone(),
    }
}
