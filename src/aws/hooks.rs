//! What Auto Scaling groups tell of their lifecycle hooks, asked for once per group and kept for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Account, Aws, Error, Hook};

/// A hook's settings change seldom.
const KEPT: Duration = Duration::from_mins(5);
/// A failure is tried again after this: a short drain must not go by a guess to its end.
const FAILURE_KEPT: Duration = Duration::from_secs(5);
/// Groups that are remembered at once.
const GROUPS_MAX: usize = 1024;

type Asked = Option<(Instant, Result<Vec<Hook>, Error>)>;

type Group = Arc<tokio::sync::Mutex<Asked>>;

/// What groups have told of their hooks. Each group has a lock of its own: one that does not answer holds up no other.
/// Clones are the same one.
#[derive(Clone, Default, Debug)]
pub struct HookCache {
    groups: Arc<Mutex<HashMap<(Account, String), Group>>>,
}

impl HookCache {
    /// The hooks that a group has, asked for unless they were lately.
    pub async fn hooks(
        &self,
        aws: &Aws,
        account: &Account,
        group: &str,
    ) -> Result<Vec<Hook>, Error> {
        let asked = self.group((account.clone(), group.to_owned()));
        let mut asked = asked.lock().await;
        if let Some((at, answer)) = &*asked
            && at.elapsed() < if answer.is_ok() { KEPT } else { FAILURE_KEPT }
        {
            return answer.clone();
        }
        let answer = aws.lifecycle(account).await.hooks(group).await;
        if let Err(error) = &answer {
            tracing::warn!(group, %error, "the lifecycle hooks of a group could not be read");
        }
        *asked = Some((Instant::now(), answer.clone()));
        answer
    }

    fn group(&self, key: (Account, String)) -> Group {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if groups.len() >= GROUPS_MAX && !groups.contains_key(&key) {
            groups.clear();
        }
        groups.entry(key).or_default().clone()
    }
}
