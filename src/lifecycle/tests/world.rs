//! A small world that carries out effects: one node, its pods, Auto Scaling, the record, and a process that may die.
//!
//! A pass runs when something that is watched has changed, or at the time that the last pass asked for, and not
//! otherwise: a wake that is forgotten leaves this world standing still.

mod act;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::api::Time;
use crate::api::termination::{
    EffectivePolicy, LifecycleHook, NodeTermination, NodeTerminationSpec, NodeTerminationStatus,
    Outcome as End, Phase, Signal, SignalKind, VolumesStatus,
};
use crate::drain::arrivals::Arrivals;
use crate::drain::budget::BudgetObject;
use crate::drain::pod::Owner;
use crate::drain::select::tests::pod;
use crate::drain::volumes::{NodeVolumes, attachment_name};
use crate::drain::{Attachment, Node, Pod, Queue};
use crate::lifecycle::effect::LifecycleResult;
use crate::lifecycle::view::Pods;
use crate::lifecycle::{
    ActionKey, Decision, Effect, HookTimeout, Lookup, Machine, Outcome, Told, View, admit, decide,
    settle,
};

/// When the notice comes.
pub(super) const NOTICE: i64 = 10_000;
/// More passes than this within a second are a loop without end.
const SPIN: u32 = 40;

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

    /// Lets time run until `done`, at most so many seconds.
    pub(super) fn run(&mut self, seconds: i64, done: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..seconds {
            self.turn();
            if done(self) {
                return true;
            }
            self.tick();
        }
        false
    }

    /// Lets so many seconds pass.
    pub(super) fn run_for(&mut self, seconds: i64) {
        self.run(seconds, |_| false);
        self.turn();
    }

    /// The second of the next pass, if nothing else happens before.
    pub(super) fn next_pass(&self) -> Option<i64> {
        let wake = self.memory.wake.map(Timestamp::as_second);
        if self.dirty { Some(self.now) } else { wake }
    }

    /// Every pass that is due this second.
    pub(super) fn turn(&mut self) {
        for passes in 0.. {
            let due = self.memory.wake.is_some_and(|w| w <= at(self.now));
            if self.dirty || due {
                self.dirty = false;
                self.pass();
            }
            self.serve();
            if !self.dirty && self.memory.wake.is_none_or(|w| w > at(self.now)) {
                return;
            }
            assert!(
                passes < SPIN,
                "passes without end at {}: {:?}",
                self.now - NOTICE,
                self.status()
            );
        }
    }

    fn tick(&mut self) {
        self.now += 1;
        let (gone, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pods)
            .into_iter()
            .partition(|p| !self.stuck && p.deletion.is_some_and(|d| d.ends <= at(self.now)));
        self.pods = left;
        if self.pods.is_empty() {
            // The node's own word is gone before the detach is tried.
            if let Some(node) = &mut self.node {
                node.volumes = NodeVolumes::default();
            }
            let before = self.attached.len();
            self.attached.iter_mut().for_each(|(_, after)| *after -= 1);
            self.attached.retain(|(_, after)| *after > 0);
            // Only who watches attachments hears of it.
            self.dirty |= self.memory.volumes && self.attached.len() != before;
        }
        for pod in gone {
            self.dirty = true;
            self.replacements.insert(pod.name);
            // The replacement is ready elsewhere: the budget has its room again.
            self.tell_budget();
        }
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

    /// One pass, as the controller runs it; it may die in the middle.
    pub(super) fn pass(&mut self) -> Decision {
        self.passes += 1;
        let dies_after = self.crashes.remove(&self.passes);
        self.memory.wake = None;
        let unknown_for = HookTimeout::UNKNOWN_FOR.as_secs();
        self.memory.hooks.retain(|_, (asked, timeout)| {
            matches!(timeout, HookTimeout::Known { .. }) || self.now - *asked < unknown_for
        });
        let hooks = self.memory.hooks.iter();
        self.known_hooks = hooks.map(|(k, (_, t))| (k.clone(), t.clone())).collect();
        self.known_lookups.clone_from(&self.memory.lookups);
        let was_open = !self.phase().is_some_and(Phase::is_finished);
        let decision = self.look(decide);
        let finishes = was_open && decision.status.phase.is_some_and(Phase::is_finished);
        assert_eq!(
            decision.finishing, finishes,
            "only the report that finishes says so"
        );
        let mut outcomes = Vec::new();
        for (done, effect) in decision.effects.iter().enumerate() {
            if dies_after == Some(done) {
                self.crash();
                return decision;
            }
            let patches = matches!(effect, Effect::Cordon { .. } | Effect::Open { .. });
            if patches && self.refused.is_some() {
                continue;
            }
            outcomes.extend(self.carry_out(effect));
            self.effects.push(effect.clone());
        }
        if dies_after == Some(decision.effects.len()) {
            self.crash();
            return decision;
        }
        let mut status = decision.status.clone();
        self.look(|view| settle(view, &mut status, &outcomes));
        if let Some(said) = self.refused.clone() {
            self.look(|view| admit(view, &mut status, "Forbidden", &said));
        }
        if outcomes.iter().any(Outcome::leads_on) {
            self.memory.status = Some(status);
            self.dirty = true;
            if dies_after.is_some() {
                self.crash();
            }
            return decision;
        }
        self.report(status);
        self.memory.wake = [decision.wake, self.call_again()]
            .into_iter()
            .flatten()
            .min();
        if dies_after.is_some() {
            self.crash();
        }
        decision
    }

    /// A new leader: it knows what is stored, and looks at everything.
    pub(super) fn crash(&mut self) {
        self.memory = Memory::default();
        self.dirty = true;
        self.tell_budget();
    }

    /// What was told of hooks is too old.
    pub(super) fn forget_hooks(&mut self) {
        self.memory.hooks.clear();
    }

    fn look<T>(&mut self, see: impl FnOnce(&View<'_>) -> T) -> T {
        let mut object = self.object.clone();
        if let Some(status) = &self.memory.status {
            object.status = Some(status.clone());
        }
        let stored = object
            .status
            .as_ref()
            .and_then(|s| s.pods.as_ref())
            .map_or(0, |p| p.gone);
        let gone_before = *self.memory.gone_before.get_or_insert(stored);
        let uid = self.object.node_uid().unwrap_or_default();
        let (work, forced) = (self.memory.queue.work(uid), self.memory.queue.forced(uid));
        let stored = self.object.status.iter().flat_map(|s| &s.lifecycle_actions);
        let recorded = stored.map(ActionKey::from).collect();
        let pods: Vec<_> = self.pods.iter().cloned().map(Arc::new).collect();
        let attached: Option<Vec<Attachment>> =
            Some(self.attached.iter().map(|(a, _)| a.clone()).collect());
        see(&View {
            now: at(self.now),
            object: &object,
            machine: Machine::of(&object, self.node.as_ref()),
            anew: self
                .node
                .as_ref()
                .filter(|n| n.uid != uid && n.instance_id.as_deref() == object.instance_id()),
            policy: self.policy.as_ref(),
            hooks: &self.known_hooks,
            lookups: &self.known_lookups,
            recorded: &recorded,
            stored: self.object.status.as_ref(),
            pods: self.memory.view.map(|opened| Pods {
                pods: &pods,
                quiet_for: SignedDuration::from_secs(self.now - opened.max(self.arrived)),
                work: &work,
                forced,
            }),
            attachments: attached.as_deref().filter(|_| self.memory.volumes),
            told: self.memory.told.as_ref(),
            seen: &self.memory.seen,
            came: &self.memory.came,
            may_hand_over: self.may_hand_over,
            gone_before,
            outage: self.outage,
            conflicts: 0,
            neighbours: &[],
            follows: self.follows,
            turn: &|_| self.turn_comes,
            own_pod: self.own_pod.as_deref(),
        })
    }

    /// Stores the record, unless it tells of mere progress. Finished without a finalizer, a deleted object goes.
    fn report(&mut self, status: NodeTerminationStatus) {
        let substance = |s: &NodeTerminationStatus| {
            let mut s = s.clone();
            s.pods = None;
            s.volumes.iter_mut().for_each(VolumesStatus::uncount);
            s.conditions.iter_mut().for_each(|c| c.message.clear());
            s
        };
        let news = self.object.status.as_ref().map(substance) != Some(substance(&status));
        let untouched = status.phase == Some(Phase::Pending) && status.cordoned_at.is_none();
        if news && !untouched {
            self.object.status = Some(status.clone());
            self.dirty = true;
        }
        self.memory.status = Some(status);
    }

    fn call_again(&self) -> Option<Timestamp> {
        let status = self.status();
        let failing = status
            .lifecycle_actions
            .iter()
            .any(|a| !a.state.is_over() && a.message.is_some());
        (failing || status.phase == Some(Phase::Releasing)).then(|| at(self.now + 5))
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
