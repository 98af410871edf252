//! Asking EC2 how the machines are whose end nobody has told: all that wait, in one go, twice a minute at most.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::aws::Account;
use crate::lifecycle::Told;

/// Between two rounds, whoever asks. A Node whose machine is gone lingers for a minute or more.
const PAUSE: Duration = Duration::from_secs(30);
/// An account whose call failed is not asked before this, doubled each time,
const BACK_OFF_FIRST: Duration = Duration::from_mins(1);
/// up to this.
const BACK_OFF_LAST: Duration = Duration::from_mins(10);
/// A subscriber that falls further behind than this looks at everything again.
const CHANGES: usize = 1024;

/// Who wants to know.
pub(super) struct States {
    /// By incident: whose instance, and which.
    wanted: Mutex<HashMap<String, (Account, String)>>,
    more: Notify,
    changes: broadcast::Sender<Arc<str>>,
}

impl Default for States {
    fn default() -> Self {
        Self {
            wanted: Mutex::default(),
            more: Notify::new(),
            changes: broadcast::Sender::new(CHANGES),
        }
    }
}

/// How an account is left alone after failures.
type Patience = HashMap<Account, (Instant, u32)>;

impl States {
    /// The incident wants to know how its instance is.
    pub(super) fn want(&self, incident: &str, account: Account, instance_id: &str) {
        let wish = (account, instance_id.to_owned());
        self.lock().insert(incident.to_owned(), wish);
        self.more.notify_one();
    }

    /// The incident is over.
    pub(super) fn forget(&self, incident: &str) {
        self.lock().remove(incident);
    }

    /// Names of incidents that were answered.
    pub(super) fn changes(&self) -> broadcast::Receiver<Arc<str>> {
        self.changes.subscribe()
    }

    /// Takes what may be asked now, by account.
    fn take(&self, patience: &Patience) -> HashMap<Account, BTreeMap<String, String>> {
        let now = Instant::now();
        let may = |account: &Account| patience.get(account).is_none_or(|(until, _)| *until <= now);
        let mut due: HashMap<Account, BTreeMap<String, String>> = HashMap::new();
        self.lock().retain(|incident, (account, instance_id)| {
            let asked = may(account);
            if asked {
                let of_account = due.entry(account.clone()).or_default();
                of_account.insert(incident.clone(), instance_id.clone());
            }
            !asked
        });
        due
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Account, String)>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks until `stop`.
pub(super) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let rounds = async {
        let mut patience = Patience::new();
        loop {
            if context.states.lock().is_empty() {
                context.states.more.notified().await;
            }
            for (account, incidents) in context.states.take(&patience) {
                ask(&context, &mut patience, account, incidents).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    stop.run_until_cancelled(rounds).await;
}

async fn ask(
    context: &Context,
    patience: &mut Patience,
    account: Account,
    incidents: BTreeMap<String, String>,
) {
    let ids: BTreeSet<String> = incidents.values().cloned().collect();
    let answer = context.aws.states(&account).await.of(&ids).await;
    if let Err(error) = &answer {
        tracing::warn!(reason = error.reason(), %error, instances = ids.len(), "the state of instances can not be read, trying again");
        let times = patience.get(&account).map_or(0, |(_, times)| *times);
        let wait = (BACK_OFF_FIRST * 2_u32.pow(times.min(4))).min(BACK_OFF_LAST);
        patience.insert(account, (Instant::now() + wait, times + 1));
    } else {
        patience.remove(&account);
    }
    for (incident, instance_id) in incidents {
        let told = match &answer {
            Ok(states) => Told::State(states.get(&instance_id).cloned()),
            Err(error) => Told::Failed(error.reason(), error.message.clone()),
        };
        context.memories.tell(&incident, told);
        // Nobody listens when we are about to end.
        let _ = context.states.changes.send(incident.into());
    }
}
