//! One node's monitor: the agent that reads the metadata of the instance that it runs on.
//!
//! ```text
//! who am I (own token) ─► my Node ─► its policy ─► poll the documents ─► record what is new (one apply)
//! ```
//!
//! A turn does what is due and says how long to rest. Whatever fails shows in `/readyz` and the metrics, is backed off
//! from, and stops nothing else; when nothing happens, nothing is sent but what the watch of the policies needs.

mod feed;
mod policies;
mod state;

use std::collections::HashSet;
use std::time::Duration;

use kube::runtime::reflector::ObjectRef;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::pace::{back_off, jitter};
use super::record::{Recorder, Settled, Verdict};
use crate::api::policy::TerminationPolicy;
use crate::api::termination::Signal;
use crate::aws::{Document, Metadata};
use crate::cluster::{
    self, Guarded, OwnNode,
    own_node::{self, Me},
};
use crate::drain::Node;
use crate::event::Heard;
use crate::telemetry::Health;
use feed::Feeds;
use policies::{Versions, poll_interval, versions};
pub use state::State;

/// The longest wait after failures: a service that is repaired is heard in time for most of a spot notice.
const BACK_OFF_LAST: Duration = Duration::from_secs(15);
/// The longest wait of an agent that can not know which node or instance it is on: somebody has to change something.
const STRANGER_BACK_OFF_LAST: Duration = Duration::from_mins(1);
/// An agent with nothing to do shows that it lives this often.
const BEAT: Duration = Duration::from_secs(30);
/// A turn that takes longer hangs: its calls have time-outs of two and ten seconds.
const SILENCE_MAX: Duration = Duration::from_mins(3);
/// More signals than this are not remembered as settled; then each is sent once more, which changes nothing.
const SETTLED_MAX: usize = 1024;

/// The monitor's parts.
pub struct Monitor {
    /// The instance's metadata.
    pub metadata: Metadata,
    /// Where signals go. Its node store holds the monitor's own node alone.
    pub recorder: Recorder,
    /// Where the monitor shows that it lives.
    pub health: Health,
    /// Where the monitor's state is told.
    pub state: State,
}

/// What is known from one turn to the next; all of it can be asked for again.
#[derive(Default)]
struct Memory {
    own: Option<OwnNode>,
    node: Option<Node>,
    /// The policy of the node, as it was last looked at, has no imds source.
    idle: bool,
    /// The policies as they were when the node was last looked at.
    versions: Versions,
    /// The instance that the metadata speaks of, once it is the node's.
    instance_id: Option<String>,
    feeds: Feeds,
    /// Signals that are recorded and are not sent again.
    recorded: HashSet<String>,
    /// Signals that there was nothing to record of, as the policies were.
    unwanted: HashSet<String>,
    /// Failures in a row to learn who we are.
    lost: u32,
    /// Failures in a row to record.
    unrecorded: u32,
    record_due: Option<Instant>,
}

impl Memory {
    fn knows(&self, id: &str) -> bool {
        self.recorded.contains(id) || self.unwanted.contains(id)
    }

    fn settle(&mut self, id: String, settled: &Settled) {
        let known = match settled {
            Settled::Recorded(_) => &mut self.recorded,
            Settled::Nothing(_) => &mut self.unwanted,
        };
        if known.len() >= SETTLED_MAX {
            known.clear();
        }
        known.insert(id);
    }

    /// Notes whether all that was to be recorded is.
    fn note(&mut self, all: bool) {
        if all {
            self.unrecorded = 0;
            self.record_due = None;
        } else {
            self.record_due = Some(Instant::now() + back_off(self.unrecorded, BACK_OFF_LAST));
            self.unrecorded += 1;
        }
    }
}

/// Why there is nothing to poll, in a word and in a sentence.
struct Lost {
    reason: &'static str,
    message: String,
    /// The longest wait before it is tried again.
    wait: Duration,
}

impl Lost {
    /// A call failed: the next one may not.
    fn call(reason: &'static str, message: String) -> Self {
        Self {
            reason,
            message,
            wait: BACK_OFF_LAST,
        }
    }

    /// Somebody has to change something.
    fn stranger(reason: &'static str, message: String) -> Self {
        Self {
            reason,
            message,
            wait: STRANGER_BACK_OFF_LAST,
        }
    }
}

/// The agent's node, if it is one that is held to its node.
fn agent(me: Me) -> Result<OwnNode, Lost> {
    match me {
        Me::Agent(own) => Ok(own),
        Me::NotBound => {
            let message = "the agent's token is not bound to a node: the agent must run as a pod, with the token that \
                the kubelet gives it";
            Err(Lost::stranger("NotBound", message.to_owned()))
        }
        Me::Other(user) => {
            let message = format!(
                "the agent is {user:.320}, whom its admission policy does not hold: its service account must be named \
                 node-termination-operator-agent"
            );
            Err(Lost::stranger("OtherAccount", message))
        }
    }
}

impl Monitor {
    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(Box::pin(self.work())).await;
    }

    async fn work(&mut self) {
        let pulse = self.health.pulse("metadata monitor", SILENCE_MAX);
        let mut changes = self.recorder.policies.changes();
        let mut memory = Memory::default();
        while timeout(BEAT, self.recorder.policies.synced())
            .await
            .is_err()
        {
            pulse.beat();
        }
        loop {
            let next = self.turn(&mut memory).await;
            pulse.beat();
            self.rest(next.min(Instant::now() + BEAT), &memory, &mut changes)
                .await;
        }
    }

    /// Does what is due. Returns when the next turn is.
    async fn turn(&mut self, memory: &mut Memory) -> Instant {
        let interval = match self.prepare(memory).await {
            Ok(interval) => interval,
            Err(lost) => {
                self.state.missing(lost.reason, &lost.message);
                // Nothing of what is known may be true any more.
                memory.node = None;
                memory.instance_id = None;
                let pause = back_off(memory.lost, lost.wait);
                memory.lost += 1;
                return Instant::now() + pause;
            }
        };
        memory.lost = 0;
        let Some(interval) = interval else {
            self.state.ready("Idle", "no policy has an imds source");
            return Instant::now() + BEAT;
        };
        self.poll(memory, interval).await
    }

    /// Who we are, what our policy asks for, and whether the metadata is that of our node. Asks only for what is not
    /// known, or may have changed with the policies.
    async fn prepare(&self, memory: &mut Memory) -> Result<Option<Duration>, Lost> {
        let versions = versions(&self.recorder.policies);
        if memory.node.is_none() || memory.versions != versions {
            let node = self.look(memory).await?;
            self.recorder.nodes.only(node.clone());
            memory.node = Some(node);
            memory.versions = versions;
            // What one policy ignores another may want.
            memory.unwanted.clear();
        }
        let node = memory.node.as_ref();
        let own = node.and_then(|node| self.own_interval(node));
        memory.idle = own.is_none();
        // The node's labels are not watched: it may be another policy's by now, as is seen before a notice is recorded.
        let interval = own.or_else(|| {
            let policies = self.recorder.policies.all();
            let each = policies.filter_map(|p| p.0.as_ref().ok().and_then(poll_interval));
            each.min()
        });
        if interval.is_some() && memory.instance_id.is_none() {
            let named = node.and_then(|node| node.instance_id.as_deref());
            memory.instance_id = Some(self.instance(named).await?);
        }
        Ok(interval)
    }

    /// How often the policy of the node wants metadata to be read, if it does.
    fn own_interval(&self, node: &Node) -> Option<Duration> {
        let policies = &self.recorder.policies;
        let policy = policies.get(&policies.for_node(node)?.name)?;
        policy.0.as_ref().ok().and_then(poll_interval)
    }

    /// The node that our token is bound to, as it stands now.
    async fn look(&self, memory: &mut Memory) -> Result<Node, Lost> {
        let client = &self.recorder.client;
        let failed = |error: cluster::Error| Lost::call(error.reason(), error.to_string());
        let own = match &memory.own {
            Some(own) => own.clone(),
            None => agent(own_node::identify(client).await.map_err(failed)?)?,
        };
        let node = own_node::look(client, &own).await.map_err(failed)?;
        // A node that came back under its name is known by the next token.
        memory.own = node.is_some().then(|| own.clone());
        node.ok_or_else(|| {
            let message = format!("there is no node {} with UID {}", own.name, own.uid);
            Lost::stranger("NodeNotFound", message)
        })
    }

    /// The instance of the metadata, if it is the one that the node's provider ID names.
    async fn instance(&self, named: Option<&str>) -> Result<String, Lost> {
        let read = self.metadata.read(Document::InstanceId).await;
        let told = read.map_err(|e| Lost::call(e.reason(), feed::explained(&e)))?;
        let told = told.unwrap_or_default().trim().to_owned();
        if named == Some(told.as_str()) {
            return Ok(told);
        }
        let named = named.unwrap_or("none");
        let message = format!(
            "the metadata is that of instance {told:.32}, the node's provider ID names {named}: nothing is recorded"
        );
        Err(Lost::stranger("IdentityMismatch", message))
    }

    /// Reads the documents that are due and records what is new.
    async fn poll(&mut self, memory: &mut Memory, interval: Duration) -> Instant {
        if let Some(due) = memory.feeds.due().filter(|due| *due > Instant::now()) {
            return due;
        }
        let instance = memory.instance_id.clone().unwrap_or_default();
        // Agents that started together shall not poll together.
        let next = Instant::now() + interval.mul_f64(0.9 + 0.2 * jitter());
        let mut new = memory.feeds.read(&self.metadata, &instance, next).await;
        new.retain(|signal| !memory.knows(&signal.id));
        if new.is_empty() {
            memory.note(true);
        } else if memory.record_due.is_none_or(|due| due <= Instant::now()) {
            let all = self.record(memory, &instance, new).await;
            memory.note(all);
        }
        self.tell(memory);
        memory.feeds.due().unwrap_or(next)
    }

    /// Records signals under the policy that speaks for the node as it is now. `false`: one must be tried again.
    async fn record(&self, memory: &mut Memory, instance: &str, new: Vec<Signal>) -> bool {
        let node = match self.look(memory).await {
            Ok(node) => node,
            Err(Lost {
                reason, message, ..
            }) => {
                tracing::warn!(reason, message, "a notice waits: the own node is not known");
                return false;
            }
        };
        if node.instance_id.as_deref() != Some(instance) {
            // The next turn looks who we are.
            memory.node = None;
            memory.instance_id = None;
            return false;
        }
        self.recorder.nodes.only(node.clone());
        memory.idle = self.own_interval(&node).is_none();
        memory.node = Some(node);
        if memory.idle {
            // Looked at again, ever more rarely, for as long as the notice stands there.
            return false;
        }
        let mut all = true;
        for signal in new {
            let id = signal.id.clone();
            let instance_id = instance.to_owned();
            let heard = Heard {
                instance_id,
                signal,
            };
            match self.recorder.record(&heard).await {
                Verdict::Settled(settled) => memory.settle(id, &settled),
                Verdict::UnknownInstance | Verdict::MaybeUnknown | Verdict::Later(_) => all = false,
            }
        }
        all
    }

    fn tell(&mut self, memory: &Memory) {
        match memory.feeds.failing() {
            _ if memory.idle => {
                let message = "the policy of this node has no imds source";
                self.state.ready("Idle", message);
            }
            _ if memory.unrecorded > 0 => {
                let message = "a notice could not be recorded yet";
                self.state.missing("NotRecorded", message);
            }
            Some((reason, message)) => self.state.missing(reason, &message),
            None => {
                let message = "the instance metadata is read";
                self.state.ready("Polling", message);
            }
        }
    }

    /// Rests until then, or until the policies change: more than their status.
    async fn rest(
        &self,
        until: Instant,
        memory: &Memory,
        changes: &mut broadcast::Receiver<ObjectRef<Guarded<TerminationPolicy>>>,
    ) {
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                news = changes.recv() => match news {
                    Err(RecvError::Closed) => return sleep_until(until).await,
                    // One who looks for the node knows it anew in any case.
                    _ if memory.node.is_none() => {}
                    _ if versions(&self.recorder.policies) != memory.versions => return,
                    _ => {}
                },
            }
        }
    }
}
