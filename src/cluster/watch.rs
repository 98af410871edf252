//! The watches that are always on, and the one way in which they are followed.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use kube::Resource;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::Nodes;
use crate::drain::budget::{BudgetId, BudgetObject};
use crate::drain::node::NodeObject;
use crate::drain::{Budget, Queue};

/// A watch that is always on is renewed this often, in seconds: a connection that died without a word is noticed
/// within half of a spot notice's time.
const RENEWED_SECONDS: u32 = 60;

/// How a watch that is always on is asked for.
pub(super) fn always_on() -> watcher::Config {
    watcher::Config::default().timeout(RENEWED_SECONDS)
}

/// A watch that failed is tried again after this, doubled each time,
const BACK_OFF_FIRST: Duration = Duration::from_millis(200);
/// up to this. kube's own default grows to half a minute, which an outage would add to a spot notice's two minutes;
/// and a resource version that is too old by then counts as one more failure.
const BACK_OFF_LAST: Duration = Duration::from_secs(2);

/// How a failed watch is tried again: from the first pause on after each event.
pub(super) struct Patience(Duration);

impl Default for Patience {
    fn default() -> Self {
        Self(BACK_OFF_FIRST)
    }
}

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.0;
        self.0 = (pause * 2).min(BACK_OFF_LAST);
        Some(pause)
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Follows a watch until `stop`, handing every event over; an error is logged, backed off from and watched on.
pub async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    stop: CancellationToken,
    mut take: impl FnMut(Event<K>),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Default,
{
    let kind = K::kind(&K::DynamicType::default()).into_owned();
    let mut events = watcher(api, config)
        .backoff(Patience::default())
        .modify(|object| object.meta_mut().managed_fields = None)
        .take_until(stop.cancelled_owned())
        .boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => take(event),
            Err(error) => tracing::warn!(kind, %error, "watch failed, trying again"),
        }
    }
}

/// Keeps the node store filled.
pub async fn nodes(client: Client, nodes: Arc<Nodes>, stop: CancellationToken) {
    follow(Api::<NodeObject>::all(client), always_on(), stop, |event| {
        nodes.apply(event);
    })
    .await;
}

/// What the eviction queue must hear about budgets.
pub enum BudgetEvent {
    /// All budgets there are.
    Listed(Vec<Budget>),
    /// A budget's new state.
    Changed(Budget),
    /// A budget was deleted.
    Deleted(BudgetId),
}

impl BudgetEvent {
    /// Tells the queue.
    pub fn tell(self, queue: &mut Queue, now: Timestamp) {
        match self {
            Self::Listed(budgets) => queue.budgets_listed(budgets, now),
            Self::Changed(budget) => queue.budget_changed(budget, now),
            Self::Deleted(id) => queue.budget_deleted(&id, now),
        }
    }
}

/// Follows all disruption budgets.
pub async fn budgets(client: Client, stop: CancellationToken, mut take: impl FnMut(BudgetEvent)) {
    let mut listing = Vec::new();
    let api = Api::<BudgetObject>::all(client);
    follow(api, always_on(), stop, |event| match event {
        Event::Init => listing.clear(),
        Event::InitApply(object) => listing.push(Budget::from(object)),
        Event::InitDone => take(BudgetEvent::Listed(std::mem::take(&mut listing))),
        Event::Apply(object) => take(BudgetEvent::Changed(object.into())),
        Event::Delete(object) => take(BudgetEvent::Deleted(Budget::from(object).id)),
    })
    .await;
}
