//! Who else drains a policy's nodes, and which spot nodes have no policy, as the nodes' labels tell it.
//!
//! Karpenter (`karpenter.sh/nodepool`, its well-known labels), EKS managed node groups (`eks.amazonaws.com/nodegroup`)
//! and EKS Auto Mode (`eks.amazonaws.com/compute-type: auto`, the EKS User Guide) drain their nodes on notices that a
//! policy may act on too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{self, Stream, StreamExt};

use crate::api::policy::{Action, Mode, Ranking};
use crate::api::termination::{EffectivePolicy, SignalKind};
use crate::cluster::Nodes;
use crate::controller::received::received;
use crate::drain::Node;

/// Nodes come in swarms, and each of their policies' counts with them: they are looked at so long after the first.
const SETTLE: Duration = Duration::from_secs(5);
/// A message names so many nodes.
const EXAMPLES: usize = 3;

const NODE_POOL: &str = "karpenter.sh/nodepool";
const NODE_GROUP: &str = "eks.amazonaws.com/nodegroup";
const COMPUTE_TYPE: (&str, &str) = ("eks.amazonaws.com/compute-type", "auto");
/// What says that a node is a spot instance: Karpenter and Auto Mode, EKS managed node groups, and what kops, eksctl
/// and the AWS examples have the kubelets of other groups say.
const SPOT: [(&str, &str); 3] = [
    ("karpenter.sh/capacity-type", "spot"),
    ("eks.amazonaws.com/capacityType", "SPOT"),
    ("node.kubernetes.io/lifecycle", "spot"),
];

type Labels = BTreeMap<String, String>;

/// Who drains a node besides us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Other {
    Karpenter,
    AutoMode,
    NodeGroup,
}

impl Other {
    fn of(labels: &Labels) -> Option<Self> {
        // Auto Mode is Karpenter run by EKS: its nodes carry both labels.
        if has(labels, COMPUTE_TYPE) {
            Some(Self::AutoMode)
        } else if labels.contains_key(NODE_GROUP) {
            Some(Self::NodeGroup)
        } else if labels.contains_key(NODE_POOL) {
            Some(Self::Karpenter)
        } else {
            None
        }
    }

    /// What it drains a node for (Karpenter's documentation, "Interruption"; EKS User Guide, "Managed node groups").
    fn kinds(self) -> &'static [SignalKind] {
        match self {
            Self::Karpenter | Self::AutoMode => &[
                SignalKind::SpotInterruption,
                SignalKind::ScheduledMaintenance,
                SignalKind::InstanceStateChange,
                SignalKind::CapacityReservation,
            ],
            Self::NodeGroup => &[
                SignalKind::SpotInterruption,
                SignalKind::RebalanceRecommendation,
                SignalKind::AutoScalingTermination,
            ],
        }
    }

    /// Whether a node of its own would be closed or drained by the policy for the same reason.
    fn overlaps(self, policy: &EffectivePolicy) -> bool {
        let acts = |kind: &SignalKind| policy.actions.of(*kind) >= Action::Cordon;
        policy.mode == Mode::Enforce && self.kinds().iter().any(acts)
    }
}

fn has(labels: &Labels, (key, value): (&str, &str)) -> bool {
    labels.get(key).is_some_and(|v| v == value)
}

fn is_spot(labels: &Labels) -> bool {
    SPOT.iter().any(|label| has(labels, *label))
}

/// How many nodes, and the first of them by name.
#[derive(Debug, Default)]
pub(super) struct Found {
    count: usize,
    first: BTreeSet<String>,
}

impl Found {
    fn add(&mut self, name: &str) {
        self.count += 1;
        if self.first.len() < EXAMPLES || self.first.last().is_some_and(|l| name < l.as_str()) {
            self.first.insert(name.to_owned());
        }
        if self.first.len() > EXAMPLES {
            self.first.pop_last();
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// As in "a, b, c": at most three of them.
    fn examples(&self) -> String {
        let names: Vec<&str> = self.first.iter().map(String::as_str).collect();
        names.join(", ")
    }
}

/// The nodes of one policy.
#[derive(Debug, Default)]
pub(super) struct OfPolicy {
    /// All of them.
    pub(super) nodes: u32,
    karpenter: Found,
    managed: Found,
}

impl OfPolicy {
    /// Why a condition about nodes of Karpenter holds, if it does.
    pub(super) fn overlaps_karpenter(&self) -> Option<(&'static str, String)> {
        let (found, all) = (&self.karpenter, self.nodes);
        let message = format!(
            "{} of its {all} nodes are Karpenter's ({NODE_POOL}), such as {}: Karpenter drains them on the same notices, and \
             two drain one node; exclude them with nodeSelector",
            found.count,
            found.examples()
        );
        (found.count > 0).then_some(("NodesOfKarpenter", message))
    }

    /// Why a condition about nodes that EKS manages holds, if it does.
    pub(super) fn overlaps_managed_nodes(&self) -> Option<(&'static str, String)> {
        let (found, all) = (&self.managed, self.nodes);
        let message = format!(
            "{} of its {all} nodes are managed by EKS ({NODE_GROUP}, or {} {}), such as {}: EKS drains them on the same \
             notices, and two drain one node; exclude them with nodeSelector",
            found.count,
            COMPUTE_TYPE.0,
            COMPUTE_TYPE.1,
            found.examples()
        );
        (found.count > 0).then_some(("NodesOfEKS", message))
    }
}

/// What one look at all nodes tells.
#[derive(Debug, Default)]
pub(super) struct Survey {
    policies: HashMap<String, OfPolicy>,
    uncovered: Found,
}

impl Survey {
    /// Looks each node's policy up, once.
    pub(super) fn of(nodes: &[Arc<Node>], ranking: &Ranking) -> Self {
        let mut survey = Self::default();
        for node in nodes {
            let other = Other::of(&node.labels);
            let Some(policy) = ranking.speaks_for(&node.labels) else {
                if other.is_none() && is_spot(&node.labels) {
                    survey.uncovered.add(&node.name);
                }
                continue;
            };
            if !survey.policies.contains_key(&policy.name) {
                let name = policy.name.clone();
                survey.policies.insert(name, OfPolicy::default());
            }
            let Some(ours) = survey.policies.get_mut(&policy.name) else {
                continue;
            };
            ours.nodes = ours.nodes.saturating_add(1);
            match other.filter(|other| other.overlaps(policy)) {
                Some(Other::Karpenter) => ours.karpenter.add(&node.name),
                Some(Other::AutoMode | Other::NodeGroup) => ours.managed.add(&node.name),
                None => {}
            }
        }
        survey
    }

    /// What it tells of one policy.
    pub(super) fn policy(mut self, name: &str) -> OfPolicy {
        self.policies.remove(name).unwrap_or_default()
    }

    /// Spot nodes that nobody drains: no policy, and none of the others.
    pub(super) fn uncovered(&self) -> &Found {
        &self.uncovered
    }

    /// Why a condition about spot nodes without a policy holds, if it does.
    pub(super) fn spot_nodes_uncovered(&self) -> Option<(&'static str, String)> {
        let found = &self.uncovered;
        let message = format!(
            "{} spot nodes have no policy, such as {}: what is heard of them is acknowledged, and nothing is done; let a \
             policy's nodeSelector select them",
            found.count,
            found.examples()
        );
        (found.count > 0).then_some(("NoPolicy", message))
    }
}

/// What a node's labels say of it here; ordinary nodes are not kept.
type Class = (Option<Other>, bool);

const ORDINARY: Class = (None, false);

/// What was last said of each node that is not ordinary.
#[derive(Default)]
struct Classes(HashMap<Arc<str>, Class>);

impl Classes {
    fn of(nodes: &[Arc<Node>]) -> Self {
        let classes = nodes.iter().map(|n| (n.name.as_str().into(), class(n)));
        Self(classes.filter(|(_, class)| *class != ORDINARY).collect())
    }

    /// Takes one change, or all there are. Returns whether a node's class is another one now.
    fn note(&mut self, changed: Option<Arc<str>>, nodes: &Nodes) -> bool {
        let Some(name) = changed else {
            let now = Self::of(&nodes.all());
            let same = now.0 == self.0;
            *self = now;
            return !same;
        };
        let now = nodes.get(&name).map_or(ORDINARY, |node| class(&node));
        let before = if now == ORDINARY {
            self.0.remove(&name)
        } else {
            self.0.insert(name, now)
        };
        before.unwrap_or(ORDINARY) != now
    }
}

fn class(node: &Node) -> Class {
    (Other::of(&node.labels), is_spot(&node.labels))
}

/// Tells, soon after the first of them, that nodes which others drain, or spot nodes, have come or gone. Any other news
/// of a node costs a look at its labels.
pub(super) fn changes(nodes: Arc<Nodes>) -> impl Stream<Item = ()> + Send {
    // Subscribed to before the nodes are looked at: what changes meanwhile is looked at twice, not missed.
    let changes = received(nodes.changes()).boxed();
    let classes = Classes::of(&nodes.all());
    let state = (changes, classes, nodes);
    stream::unfold(state, |(mut changes, mut classes, nodes)| async move {
        while !classes.note(changes.next().await?, &nodes) {}
        tokio::time::sleep(SETTLE).await;
        while let Some(Some(change)) = changes.next().now_or_never() {
            classes.note(change, &nodes);
        }
        Some(((), (changes, classes, nodes)))
    })
}

#[cfg(test)]
mod tests;
