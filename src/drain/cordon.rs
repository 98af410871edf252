//! Closing a node and opening it again: the bodies of the two patches, and the record of what we changed.
//!
//! The record stands on the node itself, in one annotation: which incidents need the cordon, and what of it was
//! ours to put on. Only that is undone, and only when the last of them has gone.

pub mod out_of_service;

use k8s_openapi::api::core::v1::Taint;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use super::node::Node;
use crate::api::policy::Cordon;
use out_of_service::Down;

/// The annotation that holds the record.
pub const ANNOTATION: &str = "nodetermination.dev/cordon";

/// Kubernetes' own label: any value that does not parse as false takes the node out of load balancers
/// (cloud-provider, service controller).
const EXCLUDE_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// What we changed on a node, and for which incidents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CordonRecord {
    /// The `NodeTerminations` that need the cordon, by name.
    pub incidents: Vec<String>,
    /// We set `spec.unschedulable`; before, it was not set.
    #[serde(default)]
    pub unschedulable: bool,
    /// The taints that we put on: two policies may want different ones.
    #[serde(
        default,
        alias = "taint",
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub taints: Vec<OwnTaint>,
    /// We set the label that takes the node out of load balancers.
    #[serde(default)]
    pub excluded: bool,
    /// We put the out-of-service taint on, because EC2 said this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_service: Option<Down>,
}

/// A taint of ours, by what makes a taint one of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnTaint {
    /// The taint's key.
    pub key: String,
    /// The taint's effect.
    pub effect: String,
}

impl OwnTaint {
    fn is(&self, taint: &Taint) -> bool {
        taint.key == self.key && taint.effect == self.effect
    }
}

/// Releases up to 0.1 wrote one taint, without a list.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OwnTaint>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Taints {
        Many(Vec<OwnTaint>),
        One(OwnTaint),
    }
    Ok(match Taints::deserialize(deserializer)? {
        Taints::Many(taints) => taints,
        Taints::One(taint) => vec![taint],
    })
}

/// Whether the node is closed as the settings ask for, on behalf of this incident.
#[must_use]
pub fn is_closed(node: &Node, incident: &str, cordon: &Cordon) -> bool {
    let wanted = OwnTaint {
        key: cordon.taint.key.clone(),
        effect: cordon.taint.effect.clone(),
    };
    node.unschedulable
        && node.taints.iter().any(|t| wanted.is(t))
        && node
            .cordon
            .as_ref()
            .is_some_and(|r| r.incidents.iter().any(|i| i == incident))
        && (!cordon.exclude_from_load_balancers || node.labels.contains_key(EXCLUDE_LABEL))
}

/// Whether the node carries anything of ours on behalf of this incident.
#[must_use]
pub fn is_marked(node: &Node, incident: &str) -> bool {
    node.cordon
        .as_ref()
        .is_some_and(|r| r.incidents.iter().any(|i| i == incident))
}

/// The one patch that closes the node: unschedulable, taint, load-balancer label, record.
///
/// It carries the UID and the resource version that were seen: the taint list is atomic, and a new machine under
/// the old name must not be touched.
#[must_use]
pub fn close(node: &Node, incident: &str, cordon: &Cordon, taint_value: &str) -> Value {
    let mut record = node.cordon.clone().unwrap_or_default();
    if !record.incidents.iter().any(|i| i == incident) {
        record.incidents.push(incident.to_owned());
    }
    record.unschedulable |= !node.unschedulable;
    let wanted = OwnTaint {
        key: cordon.taint.key.clone(),
        effect: cordon.taint.effect.clone(),
    };
    let mut taints = node.taints.clone();
    if !taints.iter().any(|t| wanted.is(t)) {
        taints.push(Taint {
            key: wanted.key.clone(),
            effect: wanted.effect.clone(),
            value: Some(taint_value.to_owned()),
            time_added: None,
        });
        if !record.taints.contains(&wanted) {
            record.taints.push(wanted);
        }
    }
    let mut labels = Map::new();
    if cordon.exclude_from_load_balancers && !node.labels.contains_key(EXCLUDE_LABEL) {
        labels.insert(EXCLUDE_LABEL.to_owned(), json!("true"));
        record.excluded = true;
    }
    patch(
        node,
        &labels,
        Some(&record),
        &json!({"unschedulable": true, "taints": taints}),
    )
}

/// The one patch that takes this incident off the node's record and, when no other open one needs the cordon, undoes
/// what was ours. Incidents on the record that are neither this one nor in `open` are over.
#[must_use]
pub fn open(node: &Node, incident: &str, open: &[String]) -> Option<Value> {
    let mut record = node.cordon.clone()?;
    record
        .incidents
        .retain(|i| i != incident && open.contains(i));
    if !record.incidents.is_empty() {
        // Of a node that somebody has opened the next cordon may be theirs.
        record.unschedulable &= node.unschedulable;
        return Some(patch(node, &Map::new(), Some(&record), &json!({})));
    }
    let mut spec = Map::new();
    if record.unschedulable {
        spec.insert("unschedulable".to_owned(), Value::Null);
    }
    let ours = |t: &Taint| {
        let out_of_service = record.out_of_service.is_some() && out_of_service::is(t);
        out_of_service || record.taints.iter().any(|ours| ours.is(t))
    };
    if !record.taints.is_empty() || record.out_of_service.is_some() {
        let rest: Vec<_> = node.taints.iter().filter(|t| !ours(t)).collect();
        spec.insert("taints".to_owned(), json!(rest));
    }
    let mut labels = Map::new();
    if record.excluded {
        labels.insert(EXCLUDE_LABEL.to_owned(), Value::Null);
    }
    Some(patch(node, &labels, None, &Value::Object(spec)))
}

/// The patch after which the node's being unschedulable is not ours any more: somebody else has closed it.
#[must_use]
pub fn disown(node: &Node) -> Value {
    let mut record = node.cordon.clone().unwrap_or_default();
    record.unschedulable = false;
    patch(node, &Map::new(), Some(&record), &json!({}))
}

fn patch(
    node: &Node,
    labels: &Map<String, Value>,
    record: Option<&CordonRecord>,
    spec: &Value,
) -> Value {
    let record = record.and_then(|r| serde_json::to_string(r).ok());
    json!({
        "metadata": {
            "uid": node.uid,
            "resourceVersion": node.resource_version,
            "labels": labels,
            "annotations": {ANNOTATION: record},
        },
        "spec": spec,
    })
}

#[cfg(test)]
pub(crate) mod tests;
