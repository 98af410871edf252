//! Waiting by watch.

use std::{collections::HashSet, fmt::Debug, pin::pin};

use anyhow::{Context, bail};
use futures::TryStreamExt;
use kube::{
    Api, Resource, ResourceExt,
    runtime::{
        wait,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;

use super::PATIENCE;

/// Waits until `holds` is true of the object, which is `None` while there is none.
pub async fn await_object<K>(
    api: Api<K>,
    name: &str,
    holds: impl Fn(Option<&K>) -> bool,
) -> anyhow::Result<Option<K>>
where
    K: Clone + Debug + DeserializeOwned + Resource + Send + 'static,
{
    let what = format!("{} {name}", api.resource_url());
    let condition = wait::await_condition(api, name, holds);
    let object = tokio::time::timeout(PATIENCE, condition).await;
    Ok(object.with_context(|| format!("{what} is not as awaited after {PATIENCE:?}"))??)
}

/// Waits until `holds` is true of exactly `count` of the objects that `selector` selects; 0 waits
/// until it is true of none.
pub async fn await_count<K>(
    api: Api<K>,
    selector: watcher::Config,
    count: usize,
    holds: impl Fn(&K) -> bool,
) -> anyhow::Result<()>
where
    K: Clone + Debug + DeserializeOwned + Resource + Send + 'static,
{
    let what = api.resource_url().to_owned();
    let mut tally = Tally::default();
    let watch = async {
        // An interrupted watch is resumed by the next poll of the stream; only the end is an error.
        let mut events = pin!(watcher(api, selector));
        loop {
            match events.try_next().await {
                Ok(Some(event)) => tally.take(event, &holds),
                Ok(None) => bail!("the watch of {what} ended"),
                Err(error) => tracing::debug!(%error, "watch interrupted"),
            }
            if tally.complete && tally.held.len() == count {
                return Ok(());
            }
        }
    };
    let result = tokio::time::timeout(PATIENCE, watch).await;
    let held = tally.held.len();
    result.with_context(|| format!("{held}, not {count}, are as awaited after {PATIENCE:?}"))?
}

/// The UIDs of the objects for which the condition holds.
#[derive(Default)]
struct Tally {
    held: HashSet<String>,
    complete: bool,
}

impl Tally {
    fn take<K: Resource>(&mut self, event: Event<K>, holds: impl Fn(&K) -> bool) {
        match event {
            Event::Init => *self = Self::default(),
            Event::InitDone => self.complete = true,
            Event::Delete(object) => {
                self.held.remove(&object.uid().unwrap_or_default());
            }
            Event::InitApply(object) | Event::Apply(object) => {
                let uid = object.uid().unwrap_or_default();
                if holds(&object) {
                    self.held.insert(uid);
                } else {
                    self.held.remove(&uid);
                }
            }
        }
    }
}
