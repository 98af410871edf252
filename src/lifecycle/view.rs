//! Everything that a decision may go by.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::down::Told;
use super::found::Lookup;
use super::key::ActionKey;
use crate::api::termination::{EffectivePolicy, NodeTermination, NodeTerminationStatus};
use crate::drain::arrivals::Arrivals;
use crate::drain::queue::Work;
use crate::drain::{Attachment, Node, Pod};

/// What one pass sees.
pub struct View<'a> {
    /// The wall clock: deadlines are absolute and come from AWS.
    pub now: Timestamp,
    /// The incident.
    pub object: &'a NodeTermination,
    /// The node, if it still is the one that the incident is about.
    pub machine: Machine<'a>,
    /// The Node that the incident's own instance is now, if that is another one.
    pub anew: Option<&'a Node>,
    /// The policy that speaks for the node now. An incident that has started goes by its own copy.
    pub policy: Option<&'a EffectivePolicy>,
    /// What is known of the time-outs of the lifecycle hooks.
    pub hooks: &'a BTreeMap<ActionKey, HookTimeout>,
    /// What is known of the hooks that instance metadata told of, by signal ID.
    pub lookups: &'a BTreeMap<String, Lookup>,
    /// The lifecycle actions that the stored record shows.
    pub recorded: &'a BTreeSet<ActionKey>,
    /// The stored record, as far as is known: that in `object` may be ahead of it.
    pub stored: Option<&'a NodeTerminationStatus>,
    /// The node's pods, once its view is complete.
    pub pods: Option<Pods<'a>>,
    /// The volumes that are attached to the node, once all attachments are listed.
    pub attachments: Option<&'a [Attachment]>,
    /// What EC2 last said of the instance when it was asked.
    pub told: Option<&'a Told>,
    /// UIDs of pods that were to leave, as far as this process has seen.
    pub seen: &'a BTreeSet<String>,
    /// Who came in spite of the cordon, as far as this process has seen.
    pub came: &'a Arrivals,
    /// Pods that had gone before this process saw the node.
    pub gone_before: u32,
    /// When the API server last gave no answer for a while: from when until when.
    pub outage: Option<(Timestamp, Timestamp)>,
    /// How often somebody else's write to the node came before ours.
    pub conflicts: u32,
    /// Other open incidents that stand on the node's record: they need the cordon too.
    pub neighbours: &'a [String],
    /// Another open incident of this node drains it, with an earlier deadline: it hands the pods to the queue.
    pub follows: bool,
    /// Whether the policy's limit lets this incident start now. It is asked only when that matters.
    pub turn: &'a (dyn Fn(&EffectivePolicy) -> bool + Sync),
    /// Whether leadership may go to another replica before the operator's own pod does.
    pub may_hand_over: bool,
    /// The operator's own pod, as namespace/name.
    pub own_pod: Option<&'a str>,
}

/// The node's pods and what the eviction queue knows of them.
#[derive(Clone, Copy)]
pub struct Pods<'a> {
    /// The pods.
    pub pods: &'a [Arc<Pod>],
    /// How long no pod has appeared.
    pub quiet_for: SignedDuration,
    /// Who is blocked and why.
    pub work: &'a [Work],
    /// How many were deleted past a refusal, so far.
    pub forced: u32,
}

/// The node behind an incident.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Machine<'a> {
    /// It is there, and it is the one.
    Present(&'a Node),
    /// There is no Node of that name any more. The instance may run on: somebody may have deleted the Node.
    Gone,
    /// Another machine has the name now. It is none of ours.
    Replaced,
    /// The Node has the UID that the incident names, and its provider ID names another instance.
    Mismatch,
}

impl<'a> Machine<'a> {
    /// The machine behind the incident, given the Node that has its name now. One made by hand is bound to the Node
    /// that was found first.
    #[must_use]
    pub fn of(object: &NodeTermination, node: Option<&'a Node>) -> Self {
        let other_uid = |n: &Node| object.node_uid().is_some_and(|uid| uid != n.uid);
        let said = object.spec.instance_id.as_ref();
        match node {
            Some(node) if other_uid(node) => Self::Replaced,
            Some(node) if said.is_some() && node.instance_id.as_ref() != said => Self::Mismatch,
            Some(node) => Self::Present(node),
            None => Self::Gone,
        }
    }

    /// The node, if it is there.
    #[must_use]
    pub fn node(self) -> Option<&'a Node> {
        if let Self::Present(node) = self {
            Some(node)
        } else {
            None
        }
    }
}

/// What is known of a lifecycle hook's time-out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookTimeout {
    /// The hook's settings, as `DescribeLifecycleHooks` tells them.
    Known {
        /// Without a heartbeat the action ends after this.
        heartbeat: SignedDuration,
        /// The action ends after this, however many heartbeats come.
        global: SignedDuration,
    },
    /// They can not be read; why.
    Unknown(String),
}

impl HookTimeout {
    /// One that could not be read is believed for so long; then it is asked for again.
    pub const UNKNOWN_FOR: SignedDuration = SignedDuration::from_secs(10);

    /// Without a heartbeat the action ends after this, if that is known.
    #[must_use]
    pub fn heartbeat(&self) -> Option<SignedDuration> {
        match self {
            Self::Known { heartbeat, .. } => Some(*heartbeat),
            Self::Unknown(_) => None,
        }
    }
}
