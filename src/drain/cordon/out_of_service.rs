//! The out-of-service taint: with it Kubernetes detaches the volumes of a node and removes its pods without asking the
//! kubelet (KEP-2268). On a machine that still runs it would tear volumes off pods that use them.

use k8s_openapi::api::core::v1::Taint;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{CordonRecord, patch};
use crate::drain::node::Node;

/// Kubernetes' own taint (`TaintNodeOutOfService`).
const KEY: &str = "node.kubernetes.io/out-of-service";
/// The value that Kubernetes' documentation gives it.
const VALUE: &str = "nodeshutdown";
/// Pods that do not tolerate it are deleted.
const EFFECT: &str = "NoExecute";

/// In what way a machine does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Down {
    /// It is off, and may be started again.
    Stopped,
    /// It is gone for good.
    Terminated,
}

impl Down {
    /// The state in EC2's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Terminated => "terminated",
        }
    }
}

pub(super) fn is(taint: &Taint) -> bool {
    taint.key == KEY && taint.effect == EFFECT
}

/// Whether the node carries the taint, whoever put it on.
#[must_use]
pub fn is_on(node: &Node) -> bool {
    node.taints.iter().any(is)
}

/// What EC2 had said when we put the taint on that the node carries.
#[must_use]
pub fn ours(node: &Node) -> Option<Down> {
    let record = node.cordon.as_ref()?;
    record.out_of_service.filter(|_| is_on(node))
}

/// The patch that puts the taint on for this incident, and says on the node that it is ours.
#[must_use]
pub fn put_on(node: &Node, incident: &str, down: Down) -> Value {
    let mut record = node.cordon.clone().unwrap_or_default();
    if !record.incidents.iter().any(|i| i == incident) {
        record.incidents.push(incident.to_owned());
    }
    record.out_of_service = Some(down);
    let mut taints = node.taints.clone();
    taints.push(Taint {
        key: KEY.to_owned(),
        effect: EFFECT.to_owned(),
        value: Some(VALUE.to_owned()),
        time_added: None,
    });
    change(node, &record, &taints)
}

/// The patch that takes it off again and leaves the rest as it is.
#[must_use]
pub fn take_off(node: &Node) -> Value {
    let mut record = node.cordon.clone().unwrap_or_default();
    record.out_of_service = None;
    let taints: Vec<Taint> = node.taints.iter().filter(|t| !is(t)).cloned().collect();
    change(node, &record, &taints)
}

fn change(node: &Node, record: &CordonRecord, taints: &[Taint]) -> Value {
    patch(node, &Map::new(), Some(record), &json!({"taints": taints}))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{apply, node};
    use super::super::{close, is_closed, open};
    use super::*;
    use crate::api::policy::Cordon;

    #[test]
    fn it_is_put_on_beside_the_cordon_and_taken_off_alone_or_with_it() {
        let (before, settings) = (node(), Cordon::default());
        let mut node = before.clone();
        apply(&mut node, &close(&before, "i-1", &settings, "Manual"));
        let patch = put_on(&node, "i-1", Down::Stopped);
        apply(&mut node, &patch);
        assert_eq!(ours(&node), Some(Down::Stopped));
        assert!(is_closed(&node, "i-1", &settings));
        let mut alone = node.clone();
        apply(&mut alone, &take_off(&node));
        assert!(!is_on(&alone) && is_closed(&alone, "i-1", &settings));
        let undo = open(&node, "i-1", &[]).unwrap();
        apply(&mut node, &undo);
        assert_eq!(node, before);
    }

    #[test]
    fn what_somebody_else_put_on_is_not_ours_and_stays() {
        let mut node = node();
        node.taints.push(Taint {
            key: KEY.into(),
            effect: EFFECT.into(),
            value: None,
            time_added: None,
        });
        let before = node.clone();
        let patch = close(&before, "i-1", &Cordon::default(), "Manual");
        apply(&mut node, &patch);
        assert_eq!(ours(&node), None);
        let undo = open(&node, "i-1", &[]).unwrap();
        apply(&mut node, &undo);
        assert_eq!(node, before);
    }
}
