//! How the agents of the operator's own namespace are, as their `DaemonSet` tells.

use std::collections::BTreeMap;

use kube::core::ObjectMeta;
use kube::runtime::watcher::Event;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::watch::{always_on, follow};

/// The labels that the agents' `DaemonSet` is found by: other products have agents too.
pub const AGENT_LABELS: &str =
    "app.kubernetes.io/name=node-termination-operator,app.kubernetes.io/component=agent";

/// The part of a `DaemonSet` that is read from the wire.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = "k8s_openapi::api::apps::v1::DaemonSet")]
struct DaemonSetObject {
    metadata: ObjectMeta,
    #[serde(default)]
    status: DaemonSetStatus,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DaemonSetStatus {
    desired_number_scheduled: u32,
    number_ready: u32,
}

/// How the agents are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agents {
    /// Not known yet.
    NotRead,
    /// There is no `DaemonSet`.
    Absent,
    /// The agents of all `DaemonSets` together.
    Running {
        /// Nodes that should run one.
        desired: u32,
        /// Agents that read their metadata, or have nothing to read.
        ready: u32,
    },
}

/// What is known of the agents; cheap to clone.
#[derive(Clone, Debug)]
pub struct AgentWatch(watch::Receiver<Agents>);

impl AgentWatch {
    /// Starts watching the agents of `namespace` until `stop`.
    #[must_use]
    pub fn start(client: Client, namespace: &str, stop: CancellationToken) -> Self {
        let (sender, receiver) = watch::channel(Agents::NotRead);
        let api = Api::<DaemonSetObject>::namespaced(client, namespace);
        let config = always_on().labels(AGENT_LABELS);
        let mut sets = Sets::default();
        let watching = follow(api, config, stop, move |event| {
            if let Some(agents) = sets.take(event) {
                sender.send_if_modified(|known| std::mem::replace(known, agents) != agents);
            }
        });
        tokio::spawn(watching);
        Self(receiver)
    }

    /// How they are now.
    #[must_use]
    pub fn agents(&self) -> Agents {
        *self.0.borrow()
    }

    /// Told whenever that changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Agents> {
        self.0.clone()
    }
}

/// The `DaemonSets` of a watch, by name.
#[derive(Default)]
struct Sets {
    known: BTreeMap<String, DaemonSetStatus>,
    listing: Option<BTreeMap<String, DaemonSetStatus>>,
}

impl Sets {
    /// Takes one event. Returns what they are together, unless a list is under way.
    fn take(&mut self, event: Event<DaemonSetObject>) -> Option<Agents> {
        match event {
            Event::Init => self.listing = Some(BTreeMap::new()),
            Event::InitApply(set) => {
                let listing = self.listing.get_or_insert_default();
                listing.insert(set.name_any(), set.status);
            }
            Event::InitDone => self.known = self.listing.take().unwrap_or_default(),
            Event::Apply(set) => drop(self.known.insert(set.name_any(), set.status)),
            Event::Delete(set) => drop(self.known.remove(&set.name_any())),
        }
        self.listing.is_none().then(|| self.together())
    }

    fn together(&self) -> Agents {
        if self.known.is_empty() {
            return Agents::Absent;
        }
        let sum = |count: fn(&DaemonSetStatus) -> u32| {
            self.known.values().map(count).fold(0, u32::saturating_add)
        };
        Agents::Running {
            desired: sum(|set| set.desired_number_scheduled),
            ready: sum(|set| set.number_ready),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, desired: u32, ready: u32) -> DaemonSetObject {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        };
        let status = DaemonSetStatus {
            desired_number_scheduled: desired,
            number_ready: ready,
        };
        DaemonSetObject { metadata, status }
    }

    #[test]
    fn agents_of_several_daemon_sets_are_counted_together_once_all_are_listed() {
        let agents = |desired, ready| Some(Agents::Running { desired, ready });
        let mut sets = Sets::default();
        assert_eq!(sets.take(Event::Init), None);
        assert_eq!(sets.take(Event::InitApply(set("arm", 4, 3))), None);
        assert_eq!(sets.take(Event::InitApply(set("x86", 6, 5))), None);
        assert_eq!(sets.take(Event::InitDone), agents(10, 8));
        assert_eq!(sets.take(Event::Apply(set("arm", 4, 4))), agents(10, 9));
        assert_eq!(sets.take(Event::Delete(set("arm", 4, 4))), agents(6, 5));
        assert_eq!(sets.take(Event::Init), None);
        assert_eq!(sets.take(Event::InitDone), Some(Agents::Absent));
    }
}
