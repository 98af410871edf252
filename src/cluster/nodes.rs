//! The nodes of the cluster, always at hand: by name, and by EC2 instance.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use kube::api::{Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Event;
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::{broadcast, watch};

use super::{Error, FIELD_MANAGER, call};
use crate::drain::Node;
use crate::drain::node::NodeObject;

/// A subscriber that falls further behind than this looks at everything again.
const CHANGES: usize = 4096;

/// The store; filled by [`super::watch::nodes`].
pub struct Nodes {
    index: RwLock<Index>,
    synced: watch::Sender<bool>,
    changes: broadcast::Sender<Arc<str>>,
}

#[derive(Default)]
struct Index {
    synced: bool,
    by_name: HashMap<String, Arc<Node>>,
    by_instance: HashMap<String, String>,
    /// What a running list has shown so far.
    listing: Option<Vec<Node>>,
}

/// What is known of an instance.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    /// It is this node.
    Node(Arc<Node>),
    /// It is no node of this cluster: the store is complete and every node says which instance it is.
    Unknown,
    /// It may yet turn out to be one: the store is not complete, or a node has no provider ID yet.
    NotYet,
}

impl Default for Nodes {
    fn default() -> Self {
        Self {
            index: RwLock::default(),
            synced: watch::Sender::new(false),
            changes: broadcast::Sender::new(CHANGES),
        }
    }
}

impl Nodes {
    /// Makes this the only node there is: all that an agent may look at.
    pub fn only(&self, node: Node) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.listing = Some(vec![node]);
        index.replace();
    }

    /// The node of an EC2 instance.
    #[must_use]
    pub fn resolve(&self, instance_id: &str) -> Resolution {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let node = index
            .by_instance
            .get(instance_id)
            .and_then(|name| index.by_name.get(name));
        match node {
            Some(node) => Resolution::Node(node.clone()),
            None if index.synced && index.by_name.values().all(|n| n.has_provider_id) => {
                Resolution::Unknown
            }
            None => Resolution::NotYet,
        }
    }

    /// The node of that name, as last seen.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Node>> {
        self.index
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .by_name
            .get(name)
            .cloned()
    }

    /// All nodes.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Node>> {
        self.index
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .by_name
            .values()
            .cloned()
            .collect()
    }

    /// Waits until the store has been filled once.
    pub async fn synced(&self) {
        // The sender lives as long as the store: this can not fail.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Names of nodes that change from now on. One that falls behind gets `Lagged`: look at everything.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Arc<str>> {
        self.changes.subscribe()
    }

    /// Takes one event of the watch.
    pub(super) fn apply(&self, event: Event<NodeObject>) {
        let complete = matches!(event, Event::InitDone);
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let changed = match event {
            Event::Init => {
                index.listing = Some(Vec::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                index.listing.get_or_insert_default().push(object.into());
                Vec::new()
            }
            Event::InitDone => index.replace(),
            Event::Apply(object) => index.put(object.into()).into_iter().collect(),
            Event::Delete(object) => object
                .metadata
                .name
                .and_then(|name| index.remove(&name))
                .into_iter()
                .collect(),
        };
        drop(index);
        if complete {
            self.synced.send_replace(true);
        }
        for name in changed {
            // Nobody listens on a standby.
            let _ = self.changes.send(name.into());
        }
    }
}

impl Index {
    fn put(&mut self, node: Node) -> Option<String> {
        let name = node.name.clone();
        let before = self.by_name.get(&name);
        let changed = before.is_none_or(|b| !same_facts(b, &node));
        if let Some(old) = before
            .and_then(|b| b.instance_id.clone())
            .filter(|old| node.instance_id.as_ref() != Some(old))
        {
            self.by_instance.remove(&old);
        }
        if let Some(instance) = &node.instance_id
            && self.is_newer(instance, &node)
        {
            self.by_instance.insert(instance.clone(), name.clone());
        }
        self.by_name.insert(name.clone(), Arc::new(node));
        changed.then_some(name)
    }

    /// Two Nodes may name one instance for a while, when it re-registers under another name: the younger one is it.
    fn is_newer(&self, instance: &str, node: &Node) -> bool {
        let other = self
            .by_instance
            .get(instance)
            .and_then(|name| self.by_name.get(name));
        other.is_none_or(|o| o.name == node.name || node.created >= o.created)
    }

    fn remove(&mut self, name: &str) -> Option<String> {
        let node = self.by_name.remove(name)?;
        if let Some(instance) = &node.instance_id
            && self.by_instance.get(instance).is_some_and(|n| n == name)
        {
            self.by_instance.remove(instance);
        }
        Some(node.name.clone())
    }

    fn replace(&mut self) -> Vec<String> {
        let listed = self.listing.take().unwrap_or_default();
        let names: HashSet<&str> = listed.iter().map(|n| n.name.as_str()).collect();
        let gone: Vec<String> = self
            .by_name
            .keys()
            .filter(|name| !names.contains(name.as_str()))
            .cloned()
            .collect();
        let mut changed: Vec<String> = gone.iter().filter_map(|name| self.remove(name)).collect();
        changed.extend(listed.into_iter().filter_map(|node| self.put(node)));
        self.synced = true;
        changed
    }
}

/// Whether nothing differs but the resource version and the volumes: a kubelet's report is no news, nor is a volume that
/// is attached or mounted. Who waits for its end watches the attachment.
fn same_facts(a: &Node, b: &Node) -> bool {
    *a == Node {
        resource_version: a.resource_version.clone(),
        volumes: a.volumes.clone(),
        ..b.clone()
    }
}

/// Sends one merge patch to a node. The body carries UID and resource version.
///
/// # Errors
/// A conflict means that somebody else wrote, or that another machine has the name: look again.
pub async fn patch(client: &Client, name: &str, body: &Value) -> Result<(), Error> {
    // Only the metadata of the answer is parsed.
    let api: Api<PartialObjectMeta<k8s_openapi::api::core::v1::Node>> = Api::all(client.clone());
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    call("patch node", api.patch(name, &params, &Patch::Merge(body)))
        .await
        .map(drop)
}
