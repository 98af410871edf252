//! What of an object's metadata is read from the wire. `managedFields` is a tree of hundreds of small allocations in
//! each event of each pod, and nobody here asks for it: it is skipped.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::core::ObjectMeta;
use serde::{Deserialize, Deserializer};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    finalizers: Option<Vec<String>>,
    owner_references: Option<Vec<OwnerReference>>,
}

/// Reads the metadata of a slim type.
pub(super) fn slim<'de, D: Deserializer<'de>>(wire: D) -> Result<ObjectMeta, D::Error> {
    let meta = Meta::deserialize(wire)?;
    Ok(ObjectMeta {
        name: meta.name,
        namespace: meta.namespace,
        uid: meta.uid,
        resource_version: meta.resource_version,
        generation: meta.generation,
        creation_timestamp: meta.creation_timestamp,
        deletion_timestamp: meta.deletion_timestamp,
        deletion_grace_period_seconds: meta.deletion_grace_period_seconds,
        labels: meta.labels,
        annotations: meta.annotations,
        finalizers: meta.finalizers,
        owner_references: meta.owner_references,
        ..ObjectMeta::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_is_read_but_who_manages_which_field() {
        let wire = json!({
            "name": "a", "namespace": "b", "uid": "c", "resourceVersion": "4", "generation": 5,
            "creationTimestamp": "2026-01-02T03:04:05Z", "deletionTimestamp": "2026-01-02T03:04:06Z",
            "deletionGracePeriodSeconds": 7, "labels": {"l": "m"}, "annotations": {"n": "o"}, "finalizers": ["p"],
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "q", "uid": "r", "controller": true}],
        });
        let whole: ObjectMeta = serde_json::from_value(wire.clone()).unwrap();
        assert_eq!(slim(&wire).unwrap(), whole);
        let mut managed = wire;
        managed["managedFields"] =
            json!([{"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:status": {}}}]);
        assert_eq!(slim(&managed).unwrap(), whole);
    }
}
