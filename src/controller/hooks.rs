//! Lifecycle hooks: what groups tell of theirs, asked for once per group and kept for a while, and how an action is named.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;

use crate::api::termination::{AwsAccess, NodeTermination};
use crate::aws::{Account, Aws, Error, Hook, LifecycleAction};
use crate::lifecycle::found::FoundHook;
use crate::lifecycle::{ActionKey, HookTimeout};

/// A hook's settings change seldom; an incident that has started keeps what it was told.
const KEPT: Duration = Duration::from_mins(5);
/// A failure is tried again after this.
const FAILURE_KEPT: Duration = Duration::from_secs(30);
/// Groups that are remembered at once.
const GROUPS_MAX: usize = 1024;

/// The transition of hooks that wait when an instance is terminated (`PutLifecycleHook`, lifecycle transition).
const TERMINATING: &str = "autoscaling:EC2_INSTANCE_TERMINATING";

type Asked = Option<(Instant, Result<Vec<Hook>, Error>)>;

type Group = Arc<tokio::sync::Mutex<Asked>>;

/// What groups have told of their hooks. Each group has a lock of its own: one that does not answer holds up no other.
#[derive(Default)]
pub(super) struct HookCache {
    groups: Mutex<HashMap<(Account, String), Group>>,
}

impl HookCache {
    /// The time-outs of this hook, asked for unless they were lately.
    pub(super) async fn read(
        &self,
        aws: &Aws,
        account: &Account,
        group: &str,
        hook: &str,
    ) -> HookTimeout {
        match self.hooks(aws, account, group).await {
            Ok(hooks) => hooks.iter().find(|h| h.name == hook).map_or_else(
                || HookTimeout::Unknown(format!("the group has no hook {hook}")),
                timeout_of,
            ),
            Err(error) => HookTimeout::Unknown(error.to_string()),
        }
    }

    /// The hooks that a group has for the termination of its instances, asked for unless they were lately.
    pub(super) async fn terminating(
        &self,
        aws: &Aws,
        account: &Account,
        group: &str,
    ) -> Result<Vec<FoundHook>, Error> {
        let hooks = self.hooks(aws, account, group).await?;
        let terminating = hooks.iter().filter(|h| h.transition == TERMINATING);
        Ok(terminating
            .map(|hook| FoundHook {
                group: group.to_owned(),
                hook: hook.name.clone(),
                timeout: timeout_of(hook),
            })
            .collect())
    }

    async fn hooks(&self, aws: &Aws, account: &Account, group: &str) -> Result<Vec<Hook>, Error> {
        let asked = self.group((account.clone(), group.to_owned()));
        let mut asked = asked.lock().await;
        if let Some((at, answer)) = &*asked
            && at.elapsed() < if answer.is_ok() { KEPT } else { FAILURE_KEPT }
        {
            return answer.clone();
        }
        let answer = aws.lifecycle(account).await.hooks(group).await;
        *asked = Some((Instant::now(), answer.clone()));
        answer
    }

    fn group(&self, key: (Account, String)) -> Group {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if groups.len() >= GROUPS_MAX {
            groups.clear();
        }
        groups.entry(key).or_default().clone()
    }
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
