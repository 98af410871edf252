//! What tests look for in objects, and how they change them.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use node_termination_operator::api::termination::{NodeTermination, NodeTerminationStatus};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Merges `body` into an object that belongs to no namespace.
pub async fn patch<K>(client: &Client, name: &str, body: Value) -> K
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api = Api::<K>::all(client.clone());
    api.patch(name, &PatchParams::default(), &Patch::Merge(body))
        .await
        .unwrap()
}

/// Whether a condition of that type has this status and reason.
pub fn says(incident: &NodeTermination, kind: &str, holds: bool, reason: &str) -> bool {
    let wanted = if holds { "True" } else { "False" };
    status(incident).conditions.iter().any(|c| {
        let c = serde_json::to_value(c).unwrap();
        c["type"] == kind && c["status"] == wanted && c["reason"] == reason
    })
}

/// The incident's status.
pub fn status(incident: &NodeTermination) -> NodeTerminationStatus {
    incident.status.clone().unwrap_or_default()
}

/// Whether the node is closed to new pods.
pub fn is_cordoned(node: &Node) -> bool {
    node.spec
        .as_ref()
        .is_some_and(|s| s.unschedulable == Some(true))
}

/// Whether the node carries nothing of ours.
pub fn is_untouched(node: &Node) -> bool {
    let ours = |key: &str| key.starts_with("nodetermination.dev/");
    let spec = node.spec.clone().unwrap_or_default();
    !is_cordoned(node)
        && !spec.taints.unwrap_or_default().iter().any(|t| ours(&t.key))
        && !node.annotations().keys().any(|k| ours(k))
}
