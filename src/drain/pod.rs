//! A pod as planning needs it: about 2 kB instead of the 70 kB of the full type.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Toleration;
use kube::Resource;
use kube::core::ObjectMeta;
use serde::Deserialize;

/// The annotation of a static pod's mirror; its kubelet alone ends it.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// No machine waits longer: a century. The API sets no bound, and arithmetic needs one.
const GRACE_SECONDS_MAX: i64 = 3_155_760_000;
/// What a pod gets that names no grace period (Pod API: terminationGracePeriodSeconds).
const DEFAULT_GRACE_SECONDS: i64 = 30;

/// The part of a Pod that is read from the wire; the rest is never allocated.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = "k8s_openapi::api::core::v1::Pod")]
pub struct PodObject {
    /// Name, UID, labels, owners, deletion.
    pub metadata: ObjectMeta,
    /// Grace, priority, volumes, tolerations.
    #[serde(default)]
    pub spec: PodSpec,
    /// Phase and readiness.
    #[serde(default)]
    pub status: PodStatus,
}

/// The part of a Pod's spec that is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    #[serde(default)]
    termination_grace_period_seconds: Option<i64>,
    #[serde(default)]
    priority: Option<i32>,
    #[serde(default)]
    volumes: Vec<Volume>,
    #[serde(default)]
    tolerations: Vec<Toleration>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume {
    #[serde(default)]
    empty_dir: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    persistent_volume_claim: Option<Claim>,
    #[serde(default)]
    ephemeral: Option<serde::de::IgnoredAny>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claim {
    claim_name: String,
}

/// The part of a Pod's status that is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    #[serde(default)]
    phase: Phase,
    #[serde(default)]
    conditions: Vec<super::node::NodeCondition>,
}

/// A pod's phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Phase {
    /// Not all containers have started.
    #[default]
    Pending,
    /// Bound and started.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// The kubelet is silent.
    Unknown,
}

impl Phase {
    /// The containers have stopped for good.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// When a pod was told to end, and how long it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// When its grace period is over: the API server's `deletionTimestamp` lies at the END of the grace period.
    pub ends: Timestamp,
    /// The grace period that it was given.
    pub grace: SignedDuration,
}

/// Who made a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The owner's kind, as in `ReplicaSet`.
    pub kind: String,
    /// The owner's API version.
    pub api_version: String,
    /// The owner's name.
    pub name: String,
}

/// A pod as the operator keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// The pod's UID: the same name with another UID is another pod.
    pub uid: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's resource version.
    pub resource_version: String,
    /// When the pod was made.
    pub created: Option<Timestamp>,
    /// The pod's labels, for budgets and selectors.
    pub labels: BTreeMap<String, String>,
    /// The pod's phase.
    pub phase: Phase,
    /// Whether its Ready condition is true.
    pub ready: bool,
    /// Set once it terminates.
    pub deletion: Option<Deletion>,
    /// Its own grace period.
    pub grace: SignedDuration,
    /// Its priority; from 2,000,000,000 it is critical to the system.
    pub priority: i32,
    /// Its controller.
    pub owner: Option<Owner>,
    /// It is the mirror of a static pod.
    pub mirror: bool,
    /// It has an emptyDir volume.
    pub empty_dir: bool,
    /// The claims to persistent volumes that it names.
    pub claims: Vec<String>,
    /// How many claims were made for it alone: generic ephemeral volumes.
    pub own_claims: u32,
    /// Its tolerations.
    pub tolerations: Vec<Toleration>,
    /// The finalizers that may keep it after its containers have stopped.
    pub finalizers: Vec<String>,
}

impl Pod {
    /// As people write it: namespace/name.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whether it is that pod, with nothing new but perhaps its resource version.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.resource_version == other.resource_version
            || *self
                == Self {
                    resource_version: self.resource_version.clone(),
                    ..other.clone()
                }
    }

    /// A pod of a `DaemonSet`, by its owner reference.
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        self.owner
            .as_ref()
            .is_some_and(|o| o.kind == "DaemonSet" && o.api_version.starts_with("apps/"))
    }

    /// A static pod: the mirror annotation, or owned by the Node.
    #[must_use]
    pub fn is_static(&self) -> bool {
        self.mirror || self.owner.as_ref().is_some_and(|o| o.kind == "Node")
    }

    /// Whether it tolerates a taint of that key and effect, whatever the taint's value (it may change).
    #[must_use]
    pub fn tolerates(&self, key: &str, effect: &str) -> bool {
        self.tolerations.iter().any(|t| {
            let effect_fits = t
                .effect
                .as_deref()
                .is_none_or(|e| e.is_empty() || e == effect);
            let exists = t.operator.as_deref() == Some("Exists");
            let key_fits = match t.key.as_deref() {
                None | Some("") => exists,
                Some(k) => k == key && exists,
            };
            effect_fits && key_fits
        })
    }
}

impl From<PodObject> for Pod {
    fn from(object: PodObject) -> Self {
        let PodObject {
            metadata,
            spec,
            status,
        } = object;
        let own_grace = spec
            .termination_grace_period_seconds
            .unwrap_or(DEFAULT_GRACE_SECONDS)
            .clamp(0, GRACE_SECONDS_MAX);
        let controller = metadata
            .owner_references
            .into_iter()
            .flatten()
            .find(|o| o.controller == Some(true));
        Self {
            deletion: metadata.deletion_timestamp.map(|ends| Deletion {
                ends: ends.0,
                grace: SignedDuration::from_secs(
                    metadata
                        .deletion_grace_period_seconds
                        .unwrap_or(own_grace)
                        .clamp(0, GRACE_SECONDS_MAX),
                ),
            }),
            uid: metadata.uid.unwrap_or_default(),
            namespace: metadata.namespace.unwrap_or_default(),
            name: metadata.name.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            created: metadata.creation_timestamp.map(|t| t.0),
            labels: metadata.labels.unwrap_or_default(),
            phase: status.phase,
            ready: status
                .conditions
                .iter()
                .any(|c| c.kind == "Ready" && c.status == "True"),
            grace: SignedDuration::from_secs(own_grace),
            priority: spec.priority.unwrap_or(0),
            owner: controller.map(|o| Owner {
                kind: o.kind,
                api_version: o.api_version,
                name: o.name,
            }),
            mirror: metadata.annotations.is_some_and(|a| a.contains_key(MIRROR)),
            empty_dir: spec.volumes.iter().any(|v| v.empty_dir.is_some()),
            own_claims: spec
                .volumes
                .iter()
                .map(|v| u32::from(v.ephemeral.is_some()))
                .sum(),
            claims: spec
                .volumes
                .into_iter()
                .filter_map(|v| Some(v.persistent_volume_claim?.claim_name))
                .collect(),
            tolerations: spec.tolerations,
            finalizers: metadata.finalizers.unwrap_or_default(),
        }
    }
}
