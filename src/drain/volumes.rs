//! The volumes of a node: what its status tells of them, and which attachments are waited for.
//!
//! A `VolumeAttachment` that has gone is the only proof that its volume is detached: a Node's volumesAttached is cleared
//! before the detach is tried (kube-controller-manager, attachdetach/reconciler).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use kube::Resource;
use kube::core::ObjectMeta;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::node::{Node, NodeStatus};
use super::pod::Pod;
use super::select::{Fate, Selection, StayReason};

/// What the unique name of a CSI volume begins with; driver and handle follow. Volumes of in-tree drivers that are not
/// migrated have no `VolumeAttachment`.
const CSI: &str = "kubernetes.io/csi/";

/// The CSI volumes of a node, packed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeVolumes {
    /// Those that are mounted or about to be, as DRIVER^HANDLE.
    in_use: Box<[Box<str>]>,
    attached: u32,
}

impl NodeVolumes {
    /// As a Node's status tells of them.
    #[must_use]
    pub fn of(status: &NodeStatus) -> Self {
        let in_use = status.volumes_in_use.iter();
        let attached = status.volumes_attached.iter();
        Self {
            in_use: in_use
                .filter_map(|name| Some(name.strip_prefix(CSI)?.into()))
                .collect(),
            attached: number(attached.filter(|v| v.name.starts_with(CSI)).count()),
        }
    }

    /// A node that has these mounted.
    #[cfg(test)]
    pub(crate) fn mounted(driver: &str, handles: &[String]) -> Self {
        let names = handles
            .iter()
            .map(|handle| format!("{driver}^{handle}").into());
        Self {
            in_use: names.collect(),
            attached: number(handles.len()),
        }
    }

    /// How many there are, attached or mounted.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.attached.max(number(self.in_use.len()))
    }

    /// The handles of those that are mounted.
    pub fn handles(&self) -> impl Iterator<Item = &str> {
        let named = self.in_use.iter().filter_map(|name| name.split_once('^'));
        named.map(|(_, handle)| handle)
    }

    /// The names of the attachments of those that are mounted on the node of that name.
    fn attachments(&self, node: &str) -> BTreeSet<String> {
        let named = self.in_use.iter().filter_map(|name| name.split_once('^'));
        named
            .map(|(driver, handle)| attachment_name(driver, handle, node))
            .collect()
    }
}

/// The name that Kubernetes gives the attachment of a CSI volume to a node (`pkg/volume/csi/csi_attacher.go`,
/// `getAttachmentName`).
#[must_use]
pub fn attachment_name(driver: &str, handle: &str, node: &str) -> String {
    let mut hash = Sha256::new();
    for part in [handle, driver, node] {
        hash.update(part);
    }
    let digits = hash.finalize();
    digits.iter().fold("csi-".to_owned(), |mut name, byte| {
        // Writing to a string can not fail.
        let _ = write!(name, "{byte:02x}");
        name
    })
}

/// The part of a `VolumeAttachment` that is read from the wire.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = "k8s_openapi::api::storage::v1::VolumeAttachment")]
pub struct AttachmentObject {
    /// Its name.
    pub metadata: ObjectMeta,
    /// Which volume, and where.
    pub spec: AttachmentSpec,
}

/// The part of a `VolumeAttachment`'s spec that is read.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachmentSpec {
    node_name: String,
    #[serde(default)]
    source: AttachmentSource,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AttachmentSource {
    #[serde(default)]
    persistent_volume_name: Option<String>,
}

/// A volume that is attached to a node, or about to be detached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attachment {
    /// The `VolumeAttachment`'s name.
    pub name: Box<str>,
    /// The node's name.
    pub node: Box<str>,
    /// The `PersistentVolume`, if it is one.
    pub volume: Option<Box<str>>,
}

impl Attachment {
    /// As people know it: the persistent volume's name, if it is one.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.volume.as_deref().unwrap_or(&self.name)
    }
}

impl From<AttachmentObject> for Attachment {
    fn from(object: AttachmentObject) -> Self {
        Self {
            name: object.metadata.name.unwrap_or_default().into(),
            node: object.spec.node_name.into(),
            volume: object.spec.source.persistent_volume_name.map(Into::into),
        }
    }
}

/// How many attachments the pods that stay on the node may hold. Which claim is which attachment only the claim itself
/// tells, and the operator may not read claims. A claim that the pods of a `DaemonSet` share across nodes is that of a
/// file system, which is not attached.
#[must_use]
pub fn kept(pods: &[Arc<Pod>], selection: &Selection<'_>) -> u32 {
    let stays = |pod: &&Arc<Pod>| {
        let fate = selection.fate(pod);
        matches!(fate, Fate::Stays(why) if why != StayReason::Finished)
    };
    let (mut own, mut named) = (0, BTreeSet::new());
    for pod in pods.iter().filter(stays) {
        own += pod.own_claims;
        if !pod.is_daemon() {
            named.extend(pod.claims.iter().map(|claim| (&pod.namespace, claim)));
        }
    }
    number(named.len()).saturating_add(own)
}

/// The attachments of the node that are waited for, given how many the pods that stay may hold: those of volumes that
/// nobody has mounted any more, and of the mounted ones as many as are too many.
#[must_use]
pub fn awaited<'a>(attachments: &'a [Attachment], node: &Node, kept: u32) -> Vec<&'a Attachment> {
    if kept == 0 {
        return attachments.iter().collect();
    }
    let mounted = node.volumes.attachments(&node.name);
    let is_mounted = |a: &&Attachment| mounted.contains(&*a.name);
    let (mounted, mut awaited): (Vec<_>, Vec<_>) = attachments.iter().partition(is_mounted);
    let too_many = mounted.len().saturating_sub(kept as usize);
    awaited.extend(mounted.into_iter().take(too_many));
    awaited
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
