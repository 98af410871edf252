//! What was seen from outside in one run: by watches of an observer, in the API server's audit log, and in the AWS
//! stand-in's record. Plain data, so that every checker can be tried on a made-up history.

mod incident;
mod node;
mod pod;
#[cfg(test)]
pub mod sample;
mod trouble;

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use testbed::aws::{EndedBy, Outcome};

pub use incident::IncidentLife;
pub use node::{MARK, NodeLife, NodeState};
pub use pod::{Gone, PodLife};
pub use trouble::{Cause, Trouble, Troubles};

use crate::plan::deed::DeedKind;
use crate::plan::{NoticeKind, Pool, Story};

/// One run, over.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub seed: u64,
    pub started: Timestamp,
    /// When nothing failed any more, and when the observer stopped looking.
    pub calm: Timestamp,
    pub ended: Timestamp,
    pub nodes: Vec<NodeLife>,
    pub pods: Vec<PodLife>,
    pub incidents: Vec<IncidentLife>,
    pub budgets: Vec<BudgetLife>,
    /// What the operator asked for: pods to be deleted and evicted, nodes to be changed.
    pub orders: Vec<Order>,
    pub node_writes: Vec<NodeWrite>,
    /// The incidents that the operator recorded, by name, from the audit log.
    pub recorded: Vec<(Timestamp, String)>,
    pub actions: Vec<ActionLife>,
    pub notices: Vec<Sent>,
    pub deeds: Vec<Done>,
    pub troubles: Troubles,
    pub processes: Vec<ProcessLife>,
    /// The instances of messages that are left in a queue, and what they say.
    pub left: Vec<(String, String)>,
    /// Calls whose form AWS would refuse.
    pub refused_calls: Vec<String>,
    /// The operators' requests in the audit log, as lines, for reports.
    pub audit: Vec<(Timestamp, String)>,
}

/// One budget, and the room it had.
#[derive(Clone, Debug, Default)]
pub struct BudgetLife {
    pub name: String,
    pub namespace: String,
    pub selector: Vec<(String, String)>,
    /// `disruptionsAllowed` from each time on.
    pub room: Vec<(Timestamp, i32)>,
}

/// How a pod was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Evict,
    Delete,
}

/// The operator has told a pod to end.
#[derive(Clone, Debug)]
pub struct Order {
    pub time: Timestamp,
    pub answered: Timestamp,
    pub verb: Verb,
    /// `namespace/name`.
    pub pod: String,
    /// The UID that it was to have.
    pub uid: Option<String>,
    pub grace: Option<i64>,
    pub code: u16,
}

impl Order {
    pub fn accepted(&self) -> bool {
        (200..300).contains(&self.code)
    }
}

/// The operator has changed a node.
#[derive(Clone, Debug)]
pub struct NodeWrite {
    pub time: Timestamp,
    pub node: String,
    pub code: u16,
}

/// One lifecycle action of Auto Scaling.
#[derive(Clone, Debug)]
pub struct ActionLife {
    pub instance: String,
    pub token: String,
    pub ended: Option<(Timestamp, EndedBy)>,
    /// A `DescribeLifecycleHooks` for its group has failed: its end was not known.
    pub unread: bool,
    /// Every `CompleteLifecycleAction` for it.
    pub completions: Vec<(Timestamp, Outcome)>,
}

/// A notice that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub time: Timestamp,
    /// The node, by its number.
    pub node: usize,
    pub kind: NoticeKind,
    /// When the machine goes on its account, by what was said.
    pub deadline: Option<Timestamp>,
}

/// What somebody has done, or tried: while the API server is away nobody can tell.
#[derive(Clone, Debug)]
pub struct Done {
    pub time: Timestamp,
    pub node: usize,
    pub kind: DeedKind,
    /// It was answered with success.
    pub certain: bool,
}

/// One process of the operator.
#[derive(Clone, Debug)]
pub struct ProcessLife {
    pub name: String,
    /// How it ended, if nobody had killed it.
    pub ended: Option<String>,
    pub peak_rss: u64,
    pub log: String,
}

impl History {
    /// The node of a name and UID.
    pub fn node_by_uid(&self, uid: &str) -> Option<&NodeLife> {
        self.nodes.iter().find(|n| n.uid == uid)
    }

    /// The node of that name at that time.
    pub fn node_at(&self, name: &str, time: Timestamp) -> Option<&NodeLife> {
        let named = self.nodes.iter().filter(|n| n.name == name);
        named
            .filter(|n| n.gone.is_none_or(|g| g >= time))
            .min_by_key(|n| n.number)
    }

    /// All incidents of a node.
    pub fn incidents_of(&self, node: &NodeLife) -> impl Iterator<Item = &IncidentLife> {
        self.incidents.iter().filter(|i| i.node_uid == node.uid)
    }

    /// The notices about a node.
    pub fn notices_of(&self, node: &NodeLife) -> impl Iterator<Item = &Sent> {
        self.notices.iter().filter(|n| n.node == node.number)
    }

    /// What people did to a node.
    pub fn deeds_to(&self, node: &NodeLife) -> impl Iterator<Item = &Done> {
        self.deeds.iter().filter(|d| d.node == node.number)
    }

    /// When somebody first took the decision about a node's incident into his own hands: canceled, deleted or held it, or
    /// deleted the Node.
    pub fn taken_over(&self, node: &NodeLife) -> Option<Timestamp> {
        let by_hand = |d: &&Done| {
            matches!(
                d.kind,
                DeedKind::Cancel
                    | DeedKind::DeleteIncident
                    | DeedKind::DeleteNode
                    | DeedKind::Hold { .. }
            )
        };
        self.deeds_to(node).filter(by_hand).map(|d| d.time).min()
    }

    /// The budgets that select a pod.
    pub fn budgets_of(&self, pod: &PodLife) -> impl Iterator<Item = &BudgetLife> {
        self.budgets.iter().filter(move |b| {
            pod.namespace() == b.namespace
                && b.selector
                    .iter()
                    .all(|(key, value)| pod.labels.get(key) == Some(value))
        })
    }

    /// The pod of that UID.
    pub fn pod(&self, uid: &str) -> Option<&PodLife> {
        self.pods.iter().find(|p| p.uid == uid)
    }
}

impl NodeLife {
    /// Whether its policy does anything about its story.
    pub fn is_acted_on(&self) -> bool {
        let only_told = self.story == Story::Rebalance && self.pool != Pool::Respect;
        self.pool.acts() && self.story != Story::Quiet && !only_told
    }
}

/// `time` + so many seconds.
pub fn after(time: Timestamp, seconds: i64) -> Timestamp {
    time + SignedDuration::from_secs(seconds)
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs_f64();
        let accepted = |verb| {
            let accepted = self
                .orders
                .iter()
                .filter(|o| o.accepted() && o.verb == verb);
            accepted.count()
        };
        let rss = self.processes.iter().map(|p| p.peak_rss).max();
        write!(
            f,
            "{} incidents, {} pods seen, {} evicted, {} forced, {} lifecycle actions, {} processes, peak RSS {} MB; \
             {:.0} s of chaos, ended after {:.0} s",
            self.incidents.len(),
            self.pods.len(),
            accepted(Verb::Evict),
            accepted(Verb::Delete),
            self.actions.len(),
            self.processes.len(),
            rss.unwrap_or_default() / 1_000_000,
            seconds(self.started, self.calm),
            seconds(self.started, self.ended)
        )
    }
}
