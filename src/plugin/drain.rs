//! `drain`: whether a node is being drained already, and what is written if it is not.

use kube::ResourceExt;
use kube::core::ObjectMeta;

use super::record::{self, REASON, is_by_hand, is_open};
use super::target::NAME_MAX;
use super::{CALL, output};
use crate::api::bounded;
use crate::api::policy::{Action, Mode};
use crate::api::termination::{
    EffectivePolicy, NodeTermination, NodeTerminationSpec, Outcome, Signal,
};
use crate::drain::Node;
use crate::lifecycle::action;

/// The longest reason that is kept, in bytes.
const REASON_MAX: usize = 1024;

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Choice<'a> {
    /// The node is being drained by this one, or was and stays out of service.
    Join(&'a NodeTermination),
    /// One of that name is made.
    Create(String),
}

/// Decides it, given all records of the node's name.
#[must_use]
pub fn choose<'a>(node: &Node, records: &'a [NodeTermination]) -> Choice<'a> {
    let drains = records.iter().find(|record| drains(record, node));
    match drains {
        Some(record) => Choice::Join(record),
        None => Choice::Create(free_name(&node.name, records)),
    }
}

/// Whether the record empties this node, or has emptied it. One that only observes or cordons does not, nor one that still
/// waits for a maintenance window, or that has given up.
fn drains(record: &NodeTermination, node: &Node) -> bool {
    let status = record::status(record);
    let other =
        record.spec.node_name != node.name || record.node_uid().is_some_and(|uid| uid != node.uid);
    let ends = record.spec.cancel || record.metadata.deletion_timestamp.is_some();
    if other || ends || !is_open(record) {
        return false;
    }
    let signals: Vec<&Signal> = record.spec.signals.iter().collect();
    let by_policy = |policy| action::of_all(policy, &signals) == Action::CordonAndDrain;
    let acts = status.policy.as_ref().is_none_or(by_policy);
    let begun = is_by_hand(record) || status.has_begun();
    let ends_well = matches!(status.outcome, None | Some(Outcome::Drained));
    acts && begun && ends_well
}

/// The node's name, or that with the first number behind it that no record of the node has.
fn free_name(node: &str, records: &[NodeTermination]) -> String {
    let taken = |name: &String| records.iter().any(|r| r.name_any() == *name);
    let mut names = std::iter::once(node.to_owned()).chain((2u32..).map(|n| numbered(node, n)));
    names.find(|n| !taken(n)).unwrap_or_default()
}

fn numbered(node: &str, number: u32) -> String {
    let suffix = format!("-{number}");
    let base = bounded(node.to_owned(), NAME_MAX - suffix.len());
    format!("{}{suffix}", base.trim_end_matches(['.', '-']))
}

/// The NodeTermination that has the node drained: nothing but its name, and why.
#[must_use]
pub fn object(name: &str, node: &str, reason: Option<&str>) -> NodeTermination {
    let annotation = |text: &str| (REASON.to_owned(), bounded(text.to_owned(), REASON_MAX));
    let annotations = reason.map(|text| std::iter::once(annotation(text)).collect());
    let spec = NodeTerminationSpec {
        node_name: node.to_owned(),
        ..NodeTerminationSpec::default()
    };
    NodeTermination {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            annotations,
            ..ObjectMeta::default()
        },
        ..NodeTermination::new(name, spec)
    }
}

/// That it was made.
#[must_use]
pub fn created(object: &NodeTermination) -> String {
    let (name, node) = (output::name(object), &object.spec.node_name);
    format!("{name} created: {node} is drained, and out of service until `{CALL} cancel {node}`")
}

/// That there is one already.
#[must_use]
pub fn joined(record: &NodeTermination) -> String {
    let (name, node) = (output::name(record), &record.spec.node_name);
    let (kind, phase) = (record::kind(record), record::phase(record).as_str());
    let held = if record.spec.hold {
        format!("; it is held, and `{CALL} release {node}` lets it go on")
    } else {
        String::new()
    };
    format!("{name} drains {node} already ({kind}, {phase}): nothing was made{held}")
}

/// What a person should know of the policy that speaks for the node.
#[must_use]
pub fn warning(node: &Node, policy: Option<&EffectivePolicy>) -> Option<String> {
    let name = &node.name;
    match policy {
        None => Some(format!(
            "no TerminationPolicy selects {name}: it is drained by the defaults of one"
        )),
        Some(policy) if policy.mode == Mode::Observe => Some(format!(
            "TerminationPolicy {} only observes: what a drain of {name} would do is told, and nothing is changed",
            policy.name
        )),
        Some(_) => None,
    }
}
