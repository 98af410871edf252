//! The time-outs of lifecycle hooks, asked for once per group and kept for a while.

use std::collections::HashMap;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::Mutex;
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

type Asked = (Instant, Result<Vec<Hook>, String>);

/// What groups have told of their hooks.
#[derive(Default)]
pub(super) struct HookCache {
    groups: Mutex<HashMap<(Account, String), Asked>>,
}

impl HookCache {
    /// The time-outs of this hook, asked for unless they were lately.
    pub(super) async fn read(&self, aws: &Aws, hook: &LifecycleHook) -> HookTimeout {
        let key = (account_of(hook), hook.auto_scaling_group_name.clone());
        let mut groups = self.groups.lock().await;
        let fresh = groups.get(&key).is_some_and(|(at, answer)| {
            at.elapsed() < if answer.is_ok() { KEPT } else { FAILURE_KEPT }
        });
        if !fresh {
            if groups.len() >= GROUPS_MAX {
                groups.clear();
            }
            let answer = aws.lifecycle(&key.0).await.hooks(&key.1).await;
            groups.insert(
                key.clone(),
                (Instant::now(), answer.map_err(|e| e.to_string())),
            );
        }
        match groups.get(&key) {
            Some((_, Ok(hooks))) => timeout_of(hooks, &hook.hook_name),
            Some((_, Err(message))) => HookTimeout::Unknown(message.clone()),
            None => HookTimeout::Unknown("not asked".to_owned()),
        }
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
