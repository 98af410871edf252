//! A small world that carries out effects: one node, its pods, Auto Scaling, the record, and a process that may die.
//!
//! A pass runs when something that is watched has changed, or at the time that the last pass asked for, and not
//! otherwise: a wake that is forgotten leaves this world standing still.

mod act;
mod pass;
mod time;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::api::Time;
use crate::api::termination::{
    EffectivePolicy, LifecycleHook, NodeTermination, NodeTerminationSpec, NodeTerminationStatus,
    Outcome as End, Phase, Signal, SignalKind,
};
use crate::drain::arrivals::Arrivals;
use crate::drain::budget::BudgetObject;
use crate::drain::pod::Owner;
use crate::drain::select::tests::pod;
use crate::drain::volumes::{NodeVolumes, attachment_name};
use crate::drain::{Attachment, Node, Pod, Queue};
use crate::lifecycle::effect::LifecycleResult;
use crate::lifecycle::{ActionKey, Effect, HookTimeout, Lookup, Told};

/// When the notice comes.
pub(super) const NOTICE: i64 = 10_000;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(super) fn signal(kind: SignalKind, number: u32) -> Signal {
    let waits = kind == SignalKind::AutoScalingTermination;
    let id = format!("{}-{number:016x}", kind.as_str());
    Signal {
        deadline: (!waits).then(|| Time(at(NOTICE + 120))),
        lifecycle_hook: waits.then(LifecycleHook::default),
        ..Signal::new(id, kind, Time(at(NOTICE)))
    }
}

pub(super) fn spot() -> Signal {
    signal(SignalKind::SpotInterruption, 0)
}

pub(super) fn hook(number: u32) -> Signal {
    signal(SignalKind::AutoScalingTermination, number)
}

/// What instance metadata tells of a lifecycle action: no group, no hook, no token.
pub(super) fn told() -> Signal {
    Signal {
        lifecycle_hook: None,
        ..signal(SignalKind::AutoScalingTermination, 99)
    }
}

/// A lifecycle action as Auto Scaling keeps it.
#[derive(Clone, Debug, Default)]
pub(super) struct Action {
    pub active: bool,
    pub completed: Vec<LifecycleResult>,
    pub beats: Vec<i64>,
    /// The completion is denied.
    pub denied: bool,
    /// Heartbeats are refused.
    pub throttled: bool,
}

/// What the process knows and loses.
#[derive(Default)]
struct Memory {
    status: Option<NodeTerminationStatus>,
    seen: BTreeSet<String>,
    gone_before: Option<u32>,
    came: Arrivals,
    /// Hooks' time-outs, and when they were asked for.
    hooks: BTreeMap<ActionKey, (i64, HookTimeout)>,
    lookups: BTreeMap<String, Lookup>,
    queue: Queue,
    /// Since when the node's pods are watched.
    view: Option<i64>,
    /// Attachments are watched.
    volumes: bool,
    told: Option<Told>,
    wake: Option<Timestamp>,
}

#[allow(
    clippy::struct_excessive_bools,
    reason = "what a test switches in its world"
)]
pub(super) struct World {
    pub now: i64,
    pub object: NodeTermination,
    pub node: Option<Node>,
    pub pods: Vec<Pod>,
    pub policy: Option<EffectivePolicy>,
    pub actions: BTreeMap<String, Action>,
    /// The actions of hooks that no signal names, by hook.
    pub unnamed: BTreeMap<String, Action>,
    /// What is said instead of them when they are looked up.
    pub lookup: Option<Lookup>,
    /// What hooks say when asked.
    pub timeout: HookTimeout,
    /// Pods that run elsewhere in place of those that have gone, by name.
    pub replacements: BTreeSet<String>,
    /// Every effect that was carried out.
    pub effects: Vec<Effect>,
    /// How often each pod, by UID, was told to end while it was not ending yet.
    pub told: BTreeMap<String, u32>,
    pub forced: u32,
    /// The n-th pass dies after so many effects; one more than it has: after its report.
    pub crashes: BTreeMap<usize, usize>,
    /// Evictions that the budget of `app=db` allows.
    pub allowed: i32,
    /// Pods that it counts; with no more than it wants it can never be met.
    pub expected: i32,
    /// A webhook denies whatever is asked about pods.
    pub webhook: bool,
    /// The operator may not evict.
    pub forbidden: bool,
    /// The node may not be patched: what is said.
    pub refused: Option<String>,
    /// Terminating pods do not go.
    pub stuck: bool,
    pub arrived: i64,
    /// Volumes that are attached to the node, and how long after the pods they are detached.
    pub attached: Vec<(Attachment, i64)>,
    /// The state that EC2 tells when it is asked, and how often it was.
    pub state: Option<Told>,
    pub asked: u32,
    /// EC2's answers take long.
    pub mute: bool,
    /// No list of the node's pods ever comes.
    pub unlisted: bool,
    /// Another incident of the node drains it.
    pub follows: bool,
    /// The operator's own pod, as namespace/name.
    pub own_pod: Option<String>,
    /// Another replica may take over.
    pub may_hand_over: bool,
    /// When the API server last gave no answer.
    pub outage: Option<(Timestamp, Timestamp)>,
    /// The policy's limit has room.
    pub turn_comes: bool,
    /// Something that is watched has changed.
    pub dirty: bool,
    /// Hooks' time-outs as the running pass has found them.
    known_hooks: BTreeMap<ActionKey, HookTimeout>,
    known_lookups: BTreeMap<String, Lookup>,
    memory: Memory,
    /// How many there have been.
    pub passes: usize,
}

impl World {
    pub(super) fn new(signals: Vec<Signal>, policy: EffectivePolicy) -> Self {
        let spec = NodeTerminationSpec {
            node_name: "n".into(),
            node_uid: Some("node-uid".into()),
            instance_id: Some("i-0a1b2c3d4e5f60718".into()),
            hold: false,
            cancel: false,
            signals,
        };
        let mut object = NodeTermination::new("i-0a1b2c3d4e5f60718", spec);
        object.metadata.generation = Some(1);
        let mut world = Self {
            now: NOTICE,
            object,
            node: Some(node()),
            pods: Vec::new(),
            policy: Some(policy),
            actions: BTreeMap::new(),
            unnamed: BTreeMap::new(),
            lookup: None,
            timeout: HookTimeout::Known {
                heartbeat: SignedDuration::from_secs(300),
                global: SignedDuration::from_secs(30_000),
            },
            replacements: BTreeSet::new(),
            effects: Vec::new(),
            told: BTreeMap::new(),
            forced: 0,
            crashes: BTreeMap::new(),
            allowed: 1,
            expected: 4,
            webhook: false,
            forbidden: false,
            refused: None,
            stuck: false,
            arrived: 0,
            attached: Vec::new(),
            state: None,
            asked: 0,
            mute: false,
            unlisted: false,
            follows: false,
            own_pod: None,
            may_hand_over: false,
            outage: None,
            turn_comes: true,
            dirty: true,
            known_hooks: BTreeMap::new(),
            known_lookups: BTreeMap::new(),
            memory: Memory::default(),
            passes: 0,
        };
        world.expect_actions();
        world.tell_budget();
        world
    }

    /// Another signal is recorded.
    pub(super) fn hear(&mut self, signal: Signal) {
        self.object.spec.signals.push(signal);
        self.expect_actions();
        self.change();
    }

    /// Somebody edits the object's spec.
    pub(super) fn change(&mut self) {
        self.object.metadata.generation = self.object.metadata.generation.map(|g| g + 1);
        self.dirty = true;
    }

    /// The group has this hook too, and the instance waits in it.
    pub(super) fn wait_in(&mut self, hook: &str) {
        let action = Action {
            active: true,
            ..Action::default()
        };
        self.unnamed.insert(hook.to_owned(), action);
    }

    /// Volumes are mounted by the node's pods; each is detached so long after the last of them.
    pub(super) fn attach(&mut self, detached_after: &[i64]) {
        let handles = (0..detached_after.len()).map(|n| format!("vol-{n}"));
        let handles: Vec<String> = handles.collect();
        let attachment = |handle: &String| Attachment {
            name: attachment_name("ebs", handle, "n").into(),
            node: "n".into(),
            volume: Some(format!("pv-{handle}").into()),
        };
        let attached = handles.iter().map(attachment);
        self.attached = attached.zip(detached_after.iter().copied()).collect();
        if let Some(node) = &mut self.node {
            node.volumes = NodeVolumes::mounted("ebs", &handles);
        }
    }

    /// The node as it was before, with the volumes that it has now.
    pub(super) fn bare(&self) -> Node {
        let volumes = self.node.as_ref().map(|n| n.volumes.clone());
        Node {
            volumes: volumes.unwrap_or_default(),
            ..node()
        }
    }

    fn expect_actions(&mut self) {
        for signal in self
            .object
            .spec
            .signals
            .iter()
            .filter(|s| s.lifecycle_hook.is_some())
        {
            self.actions.entry(signal.id.clone()).or_insert(Action {
                active: true,
                ..Action::default()
            });
        }
    }

    pub(super) fn add_pods(&mut self, web: usize, db: usize) {
        self.pods.extend((0..web).map(|n| pod(&format!("web-{n}"))));
        self.pods.extend((0..db).map(|n| {
            let labels = std::iter::once(("app".to_owned(), "db".to_owned())).collect();
            let owner = Owner {
                kind: "StatefulSet".into(),
                api_version: "apps/v1".into(),
                name: "db".into(),
            };
            Pod {
                labels,
                owner: Some(owner),
                ..pod(&format!("db-{n}"))
            }
        }));
    }

    pub(super) fn status(&self) -> NodeTerminationStatus {
        self.memory
            .status
            .clone()
            .or_else(|| self.object.status.clone())
            .unwrap_or_default()
    }

    pub(super) fn phase(&self) -> Option<Phase> {
        self.status().phase
    }

    pub(super) fn end(&self) -> Option<End> {
        self.status().outcome
    }

    pub(super) fn tell_budget(&mut self) {
        let object: BudgetObject = serde_json::from_value(json!({
            "metadata": {"name": "db", "namespace": "web", "generation": 1},
            "spec": {"selector": {"matchLabels": {"app": "db"}}},
            "status": {"disruptionsAllowed": self.allowed, "currentHealthy": 3, "desiredHealthy": 2, "expectedPods": self.expected,
                "observedGeneration": 1},
        }))
        .unwrap();
        self.memory
            .queue
            .budget_changed(object.into(), at(self.now));
    }
}

/// The node as it was before anything happened to it.
pub(super) fn node() -> Node {
    Node {
        name: "n".into(),
        uid: "node-uid".into(),
        resource_version: "1".into(),
        created: None,
        labels: BTreeMap::new(),
        has_provider_id: true,
        instance_id: Some("i-0a1b2c3d4e5f60718".into()),
        ready: true,
        boot_id: Some("boot-1".into()),
        unschedulable: false,
        taints: vec![],
        cordon: None,
        volumes: NodeVolumes::default(),
    }
}

/// The node without what every write changes.
pub(super) fn content(node: Option<&Node>) -> Option<Node> {
    node.cloned().map(|node| Node {
        resource_version: String::new(),
        ..node
    })
}

pub(super) fn is_released(world: &World) -> bool {
    world.phase() == Some(Phase::Released)
}
