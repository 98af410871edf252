//! The time-outs of lifecycle hooks, asked for once per group and kept for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;

use crate::api::termination::{LifecycleHook, Signal};
use crate::aws::{Account, Aws, Hook, LifecycleAction};
use crate::lifecycle::HookTimeout;

/// A hook's settings change seldom; an incident that has started keeps what it was told.
const KEPT: Duration = Duration::from_mins(5);
/// A failure is tried again after this.
const FAILURE_KEPT: Duration = Duration::from_secs(30);
/// Groups that are remembered at once.
const GROUPS_MAX: usize = 1024;

type Asked = Option<(Instant, Result<Vec<Hook>, String>)>;

type Group = Arc<tokio::sync::Mutex<Asked>>;

/// What groups have told of their hooks. Each group has a lock of its own: one that does not answer holds up no other.
#[derive(Default)]
pub(super) struct HookCache {
    groups: Mutex<HashMap<(Account, String), Group>>,
}

impl HookCache {
    /// The time-outs of this hook, asked for unless they were lately.
    pub(super) async fn read(&self, aws: &Aws, hook: &LifecycleHook) -> HookTimeout {
        let account = account_of(hook);
        let group = &hook.auto_scaling_group_name;
        let asked = self.group((account.clone(), group.clone()));
        let mut asked = asked.lock().await;
        let fresh = asked.as_ref().is_some_and(|(at, answer)| {
            at.elapsed() < if answer.is_ok() { KEPT } else { FAILURE_KEPT }
        });
        if !fresh {
            let answer = aws.lifecycle(&account).await.hooks(group).await;
            *asked = Some((Instant::now(), answer.map_err(|e| e.to_string())));
        }
        match &*asked {
            Some((_, Ok(hooks))) => timeout_of(hooks, &hook.hook_name),
            Some((_, Err(message))) => HookTimeout::Unknown(message.clone()),
            None => HookTimeout::Unknown("not asked".to_owned()),
        }
    }

    fn group(&self, key: (Account, String)) -> Group {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if groups.len() >= GROUPS_MAX {
            groups.clear();
        }
        groups.entry(key).or_default().clone()
    }
}

fn timeout_of(hooks: &[Hook], name: &str) -> HookTimeout {
    let Some(hook) = hooks.iter().find(|h| h.name == name) else {
        return HookTimeout::Unknown(format!("the group has no hook {name}"));
    };
    let signed = |d: Duration| SignedDuration::try_from(d).unwrap_or(SignedDuration::MAX);
    HookTimeout::Known {
        heartbeat: signed(hook.heartbeat_timeout),
        global: signed(hook.global_timeout),
    }
}

/// Whose credentials complete the hook's actions, and where.
pub(super) fn account_of(hook: &LifecycleHook) -> Account {
    Account {
        region: hook.region.clone(),
        role_arn: hook.role_arn.clone(),
        external_id: hook.external_id.clone(),
    }
}

/// The lifecycle action of a signal, as Auto Scaling names it.
pub(super) fn action_of(instance_id: &str, signal: &Signal) -> Option<(Account, LifecycleAction)> {
    let hook = signal.lifecycle_hook.as_ref()?;
    let action = LifecycleAction {
        group: hook.auto_scaling_group_name.clone(),
        hook: hook.hook_name.clone(),
        token: Some(hook.action_token.clone()),
        instance_id: instance_id.to_owned(),
    };
    Some((account_of(hook), action))
}
