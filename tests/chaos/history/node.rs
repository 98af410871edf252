//! One node, and every state in which it was seen.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::plan::{Pool, Story};

/// A node's life.
#[derive(Clone, Debug)]
pub struct NodeLife {
    /// Its number in the plan.
    pub number: usize,
    pub name: String,
    pub uid: String,
    pub instance: String,
    pub pool: Pool,
    pub story: Story,
    /// Somebody had cordoned it before.
    pub cordoned: bool,
    /// Every state that differs from the one before.
    pub states: Vec<(Timestamp, NodeState)>,
    pub gone: Option<Timestamp>,
}

/// What matters of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeState {
    pub unschedulable: bool,
    /// `key:effect`.
    pub taints: BTreeSet<String>,
    pub labels: BTreeMap<String, String>,
    /// The operator's annotation.
    pub mark: Option<String>,
}

/// The annotation and the taint of the operator.
pub const MARK: &str = "nodetermination.dev/cordon";
pub const TAINT: &str = "nodetermination.dev/terminating:NoSchedule";

impl NodeLife {
    /// When it was first seen closed by the operator.
    pub fn closed(&self) -> Option<Timestamp> {
        let closed =
            |s: &NodeState| s.unschedulable && s.taints.contains(TAINT) && s.mark.is_some();
        self.states
            .iter()
            .find(|(_, s)| closed(s))
            .map(|(at, _)| *at)
    }

    pub fn last(&self) -> Option<&NodeState> {
        self.states.last().map(|(_, s)| s)
    }
}
