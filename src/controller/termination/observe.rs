//! The first step of a pass: gathering what the decision may go by. No request is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tokio::time::Instant;

use super::Context;
use crate::api::policy::Action;
use crate::api::termination::{
    EffectivePolicy, NodeIdentity, NodeTermination, NodeTerminationStatus, Phase, Signal,
};
use crate::cluster::nodes::Resolution;
use crate::cluster::outage;
use crate::cluster::views::Snapshot;
use crate::drain::arrivals::Arrivals;
use crate::drain::queue::Work;
use crate::drain::{Attachment, Node};
use crate::lifecycle::view::Pods;
use crate::lifecycle::{ActionKey, HookTimeout, Lookup, Machine, Told, View, action};

/// What a pass has seen.
pub(super) struct Seen {
    /// The incident, with the record as this process last left it.
    pub object: NodeTermination,
    node: Option<Arc<Node>>,
    anew: Option<Arc<Node>>,
    policy: Option<Arc<EffectivePolicy>>,
    remembered: Remembered,
    outage: Option<(Timestamp, Timestamp)>,
    pods: Option<Snapshot>,
    attachments: Option<Vec<Attachment>>,
    work: Vec<Work>,
    forced: u32,
    neighbours: Vec<String>,
    follows: bool,
}

/// What this process remembers of an incident.
struct Remembered {
    hooks: BTreeMap<ActionKey, HookTimeout>,
    lookups: BTreeMap<String, Lookup>,
    recorded: BTreeSet<ActionKey>,
    stored: Option<Arc<NodeTerminationStatus>>,
    conflicts: u32,
    told: Option<Told>,
    leaving: BTreeSet<String>,
    came: Arrivals,
    gone_before: u32,
}

/// Gathers it.
pub(super) fn observe(stored: &NodeTermination, context: &Context) -> Seen {
    let mut object = stored.clone();
    let node = context.nodes.get(&object.spec.node_name);
    let remembered = remember(stored, &mut object, context);
    bind(&mut object, node.as_deref());
    // An incident that has begun goes by the copy: nothing is looked up at every event of a pod.
    let begun = object.status.as_ref();
    let copied = begun.is_some_and(|s| s.policy.is_some() && s.has_begun());
    let policy = if copied {
        None
    } else {
        policy(&object, node.as_deref(), context)
    };
    let neighbours = neighbours(&object, node.as_deref(), context);
    let follows = follows(&object, &neighbours, context);
    let uid = object.node_uid().unwrap_or_default();
    let pods = context.views.snapshot(uid);
    let volumes = object.status.as_ref().and_then(|s| s.volumes.as_ref());
    let attachments = volumes
        .filter(|v| v.ended_at.is_none())
        .and_then(|_| context.attachments.of_node(&object.spec.node_name));
    let (work, forced) = context.evictor.work(uid);
    let anew = anew(&object, node.as_deref(), context);
    Seen {
        object,
        node,
        anew,
        policy,
        remembered,
        outage: outage::last(),
        pods,
        attachments,
        work,
        forced,
        neighbours,
        follows,
    }
}

/// Looks into the memory of the stored incident, and gives `object` the record as this process last left it.
fn remember(
    stored: &NodeTermination,
    object: &mut NodeTermination,
    context: &Context,
) -> Remembered {
    context.memories.with(stored, |memory| {
        memory.since.get_or_insert_with(Instant::now);
        memory
            .written
            .get_or_insert_with(|| Arc::new(stored.status.clone().unwrap_or_default()));
        if let Some(status) = &memory.status {
            object.status = Some(status.clone());
        }
        let pods = object.status.as_ref().and_then(|s| s.pods.as_ref());
        let gone = pods.map_or(0, |p| p.gone);
        memory.hooks.retain(|_, (asked, timeout)| {
            matches!(timeout, HookTimeout::Known { .. })
                || asked.elapsed() < HookTimeout::UNKNOWN_FOR.unsigned_abs()
        });
        let hooks = memory.hooks.iter();
        let hooks = hooks.map(|(action, (_, timeout))| (action.clone(), timeout.clone()));
        let lookups = memory.lookups.iter();
        let lookups = lookups.map(|(id, (_, found))| (id.clone(), found.clone()));
        let written = memory.written.iter().flat_map(|s| &s.lifecycle_actions);
        Remembered {
            hooks: hooks.collect(),
            lookups: lookups.collect(),
            recorded: written.map(ActionKey::from).collect(),
            stored: memory.written.clone(),
            conflicts: memory.conflicts,
            told: memory.told().cloned(),
            leaving: memory.seen.clone(),
            came: memory.came.clone(),
            gone_before: *memory.gone_before.get_or_insert(gone),
        }
    })
}

/// An incident made by hand is bound to the node that is found first: its pods are looked at under that UID from now on.
fn bind(object: &mut NodeTermination, node: Option<&Node>) {
    if object.node_uid().is_none()
        && let Some(node) = node
    {
        let status = object.status.get_or_insert_default();
        status.node = Some(NodeIdentity {
            uid: node.uid.clone(),
            instance_id: node.instance_id.clone(),
            boot_id: node.boot_id.clone(),
        });
    }
}

/// The Node that the instance is now, if the one that the incident is about has gone.
fn anew(object: &NodeTermination, node: Option<&Node>, context: &Context) -> Option<Arc<Node>> {
    if Machine::of(object, node).node().is_some() {
        return None;
    }
    match context.nodes.resolve(object.instance_id()?) {
        Resolution::Node(anew) if object.node_uid() != Some(&anew.uid) => Some(anew),
        _ => None,
    }
}

/// The policy that speaks for the node now. Of a node that went before it was looked at the labels are not known: there is
/// nothing left to drain, but a lifecycle action may wait. The policies decide if they are of one mind.
fn policy(
    object: &NodeTermination,
    node: Option<&Node>,
    context: &Context,
) -> Option<Arc<EffectivePolicy>> {
    let node = node.filter(|_| !matches!(Machine::of(object, node), Machine::Replaced));
    if let Some(node) = node {
        return context.policies.for_node(node);
    }
    let signals: Vec<&Signal> = object.spec.signals.iter().collect();
    let acts = |policy: &EffectivePolicy| action::of_all(policy, &signals) >= Action::Cordon;
    context.policies.ranking().agreed(acts).cloned()
}

/// Whether a neighbour drains the same node, with an earlier deadline: two would only take the pods out of each other's
/// hands.
fn follows(object: &NodeTermination, neighbours: &[String], context: &Context) -> bool {
    if neighbours.is_empty() {
        return false;
    }
    let rank = |name: &str, status: Option<&NodeTerminationStatus>| {
        let deadline = status.and_then(|s| s.deadline.as_ref());
        (deadline.map_or(Timestamp::MAX, |d| d.0), name.to_owned())
    };
    let drains = |s: &NodeTerminationStatus| s.phase == Some(Phase::Draining);
    let mine = rank(&object.name_any(), object.status.as_ref());
    let others = neighbours
        .iter()
        .filter_map(|n| Some((n, context.memories.status(n)?)));
    others
        .filter(|(_, s)| drains(s))
        .any(|(n, s)| rank(n, Some(&s)) < mine)
}

/// The other open incidents on the node's record. Nearly always there is none, and nothing is looked up.
fn neighbours(object: &NodeTermination, node: Option<&Node>, context: &Context) -> Vec<String> {
    let name = object.name_any();
    let alone = |n: &Node| {
        n.cordon
            .as_ref()
            .is_none_or(|r| r.incidents.iter().all(|i| *i == name))
    };
    if node.is_none_or(alone) {
        return Vec::new();
    }
    context
        .open_on(object.node_uid().unwrap_or_default())
        .filter(|other| *other != name)
        .collect()
}

impl Seen {
    /// The view of it at `now`.
    pub(super) fn view<'a>(
        &'a self,
        context: &'a Context,
        turn: &'a (dyn Fn(&EffectivePolicy) -> bool + Sync),
        now: Timestamp,
    ) -> View<'a> {
        let remembered = &self.remembered;
        View {
            now,
            object: &self.object,
            machine: Machine::of(&self.object, self.node.as_deref()),
            anew: self.anew.as_deref(),
            policy: self.policy.as_deref(),
            hooks: &remembered.hooks,
            lookups: &remembered.lookups,
            recorded: &remembered.recorded,
            stored: remembered.stored.as_deref(),
            pods: self.pods.as_ref().map(|snapshot| Pods {
                pods: &snapshot.pods,
                quiet_for: SignedDuration::try_from(snapshot.quiet_for)
                    .unwrap_or(SignedDuration::MAX),
                work: &self.work,
                forced: self.forced,
            }),
            attachments: self.attachments.as_deref(),
            told: remembered.told.as_ref(),
            seen: &remembered.leaving,
            came: &remembered.came,
            may_hand_over: context.hand_over.is_possible(),
            gone_before: remembered.gone_before,
            outage: self.outage,
            conflicts: remembered.conflicts,
            neighbours: &self.neighbours,
            follows: self.follows,
            turn,
            own_pod: Some(&context.own_pod),
        }
    }
}
