//! A node as the operator needs it: a hundredth of what the API server sends.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Taint;
use kube::Resource;
use kube::core::ObjectMeta;
use serde::Deserialize;

use super::cordon::{ANNOTATION, CordonRecord};
use super::volumes::NodeVolumes;

/// The part of a Node that is read from the wire; the rest is never allocated.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = "k8s_openapi::api::core::v1::Node")]
pub struct NodeObject {
    /// Name, UID, labels, annotations, resource version.
    pub metadata: ObjectMeta,
    /// Provider ID, cordon, taints.
    #[serde(default)]
    pub spec: NodeSpec,
    /// Conditions.
    #[serde(default)]
    pub status: NodeStatus,
}

/// The part of a Node's spec that is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSpec {
    /// As in `aws:///eu-west-1a/i-0a1b2c3d4e5f60718`.
    #[serde(rename = "providerID", default)]
    pub provider_id: Option<String>,
    /// Whether the node is closed to new pods.
    #[serde(default)]
    pub unschedulable: bool,
    /// The node's taints. The list is atomic: a patch replaces it whole.
    #[serde(default)]
    pub taints: Vec<Taint>,
}

/// The part of a Node's status that is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// The node's conditions.
    #[serde(default)]
    pub conditions: Vec<NodeCondition>,
    /// What the kubelet says of its machine.
    #[serde(default)]
    pub node_info: NodeInfo,
    /// Volumes that the kubelet has mounted, or is about to mount, by their unique names.
    #[serde(default)]
    pub volumes_in_use: Vec<String>,
    /// Volumes that the attach/detach controller holds for attached.
    #[serde(default)]
    pub volumes_attached: Vec<AttachedVolume>,
}

/// The part of an attached volume that is read.
#[derive(Clone, Debug, Deserialize)]
pub struct AttachedVolume {
    /// The volume's unique name.
    pub name: String,
}

/// The part of a Node's system information that is read.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct NodeInfo {
    /// Another one after each boot.
    #[serde(rename = "bootID", default)]
    pub boot_id: Option<String>,
}

/// The part of a Node's condition that is read.
#[derive(Clone, Debug, Deserialize)]
pub struct NodeCondition {
    /// The condition's type, as in Ready.
    #[serde(rename = "type")]
    pub kind: String,
    /// True, False or Unknown.
    pub status: String,
}

/// A node as the operator keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The node's name.
    pub name: String,
    /// The node's UID: another one is another machine.
    pub uid: String,
    /// What a write must carry, so that it fails when somebody else wrote meanwhile.
    pub resource_version: String,
    /// When the Node object was made.
    pub created: Option<Timestamp>,
    /// The node's labels, for policies' selectors.
    pub labels: BTreeMap<String, String>,
    /// Whether the kubelet or the cloud provider has set a provider ID yet.
    pub has_provider_id: bool,
    /// The EC2 instance, if the provider ID names one.
    pub instance_id: Option<String>,
    /// Whether the kubelet says that the node is Ready.
    pub ready: bool,
    /// The machine's boot, if the kubelet has reported one: another one after each boot.
    pub boot_id: Option<String>,
    /// Whether the node is closed to new pods.
    pub unschedulable: bool,
    /// The node's taints.
    pub taints: Vec<Taint>,
    /// What we changed on the node, and for which incidents.
    pub cordon: Option<CordonRecord>,
    /// The volumes that are mounted on the node or attached to it.
    pub volumes: NodeVolumes,
}

impl From<NodeObject> for Node {
    fn from(object: NodeObject) -> Self {
        let annotations = object.metadata.annotations.unwrap_or_default();
        Self {
            name: object.metadata.name.unwrap_or_default(),
            uid: object.metadata.uid.unwrap_or_default(),
            resource_version: object.metadata.resource_version.unwrap_or_default(),
            created: object.metadata.creation_timestamp.map(|t| t.0),
            labels: object.metadata.labels.unwrap_or_default(),
            has_provider_id: object
                .spec
                .provider_id
                .as_deref()
                .is_some_and(|id| !id.is_empty()),
            instance_id: object
                .spec
                .provider_id
                .as_deref()
                .and_then(instance_of)
                .map(str::to_owned),
            volumes: NodeVolumes::of(&object.status),
            ready: object
                .status
                .conditions
                .iter()
                .any(|c| c.kind == "Ready" && c.status == "True"),
            boot_id: object.status.node_info.boot_id.filter(|id| !id.is_empty()),
            unschedulable: object.spec.unschedulable,
            taints: object.spec.taints,
            cordon: annotations
                .get(ANNOTATION)
                .and_then(|text| serde_json::from_str(text).ok()),
        }
    }
}

/// The instance ID at the end of an AWS provider ID (`aws:///ZONE/INSTANCE`, as the AWS cloud provider writes it).
#[must_use]
pub fn instance_of(provider_id: &str) -> Option<&str> {
    let path = provider_id.strip_prefix("aws://")?;
    path.rsplit('/').next().filter(|id| id.starts_with("i-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instance_is_the_end_of_an_aws_provider_id() {
        for (provider, instance) in [
            (
                "aws:///eu-west-1a/i-0a1b2c3d4e5f60718",
                Some("i-0a1b2c3d4e5f60718"),
            ),
            ("aws:///i-0a1b2c3d4e5f60718", Some("i-0a1b2c3d4e5f60718")),
            ("aws:///eu-west-1a/fargate-ip-10-0-0-1", None),
            ("gce://project/zone/i-0a1b2c3d4e5f60718", None),
            ("", None),
        ] {
            assert_eq!(instance_of(provider), instance, "{provider}");
        }
    }
}
