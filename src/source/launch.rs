//! Instances that launch: their messages are leased until the Node is Ready, then their hooks are completed.
//!
//! The lease is short, so that after a crash the message comes to somebody else; a message that is let go loses nothing.
//! No record is made: the message is the record.

mod hook;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::message::patience;
use super::pace::back_off;
use super::record::Recorder;
use super::sqs::BACK_OFF_LAST;
use crate::api::policy::Mode;
use crate::aws::{
    Account, Aws, HookCache, LifecycleAction, LifecycleResult, Message, Queue, Reason,
};
use crate::clock;
use crate::cluster::nodes::Resolution;
use crate::drain::Node;
use crate::event::Launch;
use hook::{Ends, ends_of};

/// Launches that are held at once for one queue; each costs a call every 20 s. Others wait in the queue.
const HELD_MAX: usize = 256;
/// One step of a lease: so much later another replica takes over.
const LEASE: Duration = Duration::from_secs(30);
/// The next step is taken this long after the last.
const RENEW: Duration = Duration::from_secs(20);
/// A step that failed is tried again after this.
const RENEW_AGAIN: Duration = Duration::from_secs(2);
/// A message is hidden for at most 12 hours after its receipt (SQS Developer Guide, "Visibility timeout"); with room for
/// what lies between the receipt and the first step. Then it is received anew.
const LEASED_MAX: Duration = Duration::from_mins(12 * 60 - 5);

/// The launches of one queue; cheap to clone.
#[derive(Clone)]
pub(super) struct Launches {
    queue: Queue,
    aws: Aws,
    recorder: Recorder,
    visibility: Duration,
    hooks: HookCache,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What becomes of a message that was held.
enum Parting {
    /// Delete it: nothing is left to do.
    Done(&'static str),
    /// Give it back after this.
    Back(Duration, &'static str),
    /// It was given back by itself.
    Lost,
}

impl Parting {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Done(outcome) | Self::Back(_, outcome) => outcome,
            Self::Lost => "LeaseLost",
        }
    }
}

impl Launches {
    /// Holds nothing yet. Messages are received with this visibility time-out; at `stop` all are given back.
    pub(super) fn new(
        queue: Queue,
        aws: Aws,
        recorder: Recorder,
        visibility: Duration,
        stop: CancellationToken,
    ) -> Self {
        Self {
            queue,
            aws,
            recorder,
            visibility,
            hooks: HookCache::default(),
            slots: Arc::new(Semaphore::new(HELD_MAX)),
            tasks: TaskTracker::new(),
            stop,
        }
    }

    /// Whether the instance is a node already that no policy speaks for, or one that only observes.
    pub(super) fn is_left_alone(&self, launch: &Launch) -> bool {
        match self.recorder.nodes.resolve(&launch.instance_id) {
            Resolution::Node(node) => self.why_not(&node).is_some(),
            Resolution::Unknown | Resolution::NotYet => false,
        }
    }

    /// Why the hooks of a node are to be left alone, if they are.
    fn why_not(&self, node: &Node) -> Option<&'static str> {
        match self.recorder.policies.for_node(node) {
            None => Some("NoPolicy"),
            Some(policy) if policy.mode == Mode::Observe => Some("Observed"),
            Some(_) => None,
        }
    }

    /// Holds the message until the instance's Node is Ready, in a task of its own. Beyond the bound it is left.
    pub(super) fn hold(&self, message: &Message, launch: Launch) {
        let Ok(slot) = self.slots.clone().try_acquire_owned() else {
            self.recorder.metrics.launch("TooMany");
            return;
        };
        let held = Held {
            launches: self.clone(),
            message: message.clone(),
            launch,
            _slot: slot,
        };
        self.tasks.spawn(held.run());
    }

    /// Waits until every message is given back; after `stop` only.
    pub(super) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// One launch that is held.
struct Held {
    launches: Launches,
    message: Message,
    launch: Launch,
    _slot: OwnedSemaphorePermit,
}

impl Held {
    async fn run(self) {
        let metrics = &self.launches.recorder.metrics;
        metrics.launch("Leased");
        metrics.launches_held(1);
        let (instance, group) = (
            &self.launch.instance_id,
            &self.launch.hook.auto_scaling_group_name,
        );
        tracing::debug!(instance, group, "a launch is held");
        let parting = tokio::select! {
            biased;
            () = self.launches.stop.cancelled() => Parting::Back(Duration::ZERO, "LetGo"),
            completed = self.complete_when_ready() => completed,
            ended = self.lease() => ended,
        };
        let outcome = parting.outcome();
        metrics.launch(outcome);
        let (queue, receipt) = (&self.launches.queue, self.message.receipt.clone());
        let failed = match parting {
            Parting::Done(_) => queue.delete(&[receipt]).await,
            Parting::Back(after, _) => queue.release(&[(receipt, after)]).await,
            Parting::Lost => Vec::new(),
        };
        tracing::info!(
            instance,
            group,
            hook = self.launch.hook.hook_name,
            outcome,
            "launch"
        );
        for (_, error) in failed {
            tracing::warn!(instance, %error, "the message of a launch could not be settled; it comes again");
        }
        metrics.launches_held(-1);
    }

    /// Completes the hook as soon as the Node is Ready; calls that fail are repeated.
    async fn complete_when_ready(&self) -> Parting {
        let hook = &self.launch.hook;
        let action = LifecycleAction {
            group: hook.auto_scaling_group_name.clone(),
            hook: hook.hook_name.clone(),
            token: Some(hook.action_token.clone()),
            instance_id: self.launch.instance_id.clone(),
        };
        let lifecycle = self.launches.aws.lifecycle(&self.account()).await;
        for failures in 0.. {
            let node = self.ready_node().await;
            if let Some(outcome) = self.launches.why_not(&node) {
                return self.back(outcome);
            }
            match lifecycle.complete(&action, LifecycleResult::Continue).await {
                Ok(()) => return Parting::Done("Completed"),
                Err(error) if error.reason == Reason::NoActiveAction => {
                    return Parting::Done("AlreadyOver");
                }
                Err(error) => {
                    self.launches.recorder.metrics.launch("CallFailed");
                    tracing::warn!(instance = action.instance_id, %error, "a launch could not be completed, trying again");
                }
            }
            if self
                .ends()
                .await
                .heartbeat
                .is_some_and(|end| end < clock::now())
            {
                return self.back("Overdue");
            }
            sleep(back_off(failures, BACK_OFF_LAST)).await;
        }
        Parting::Lost
    }

    /// The instance's Node, once it is Ready.
    async fn ready_node(&self) -> Arc<Node> {
        let nodes = &self.launches.recorder.nodes;
        let mut changes = nodes.changes();
        loop {
            if let Some(node) = self.node().filter(|node| node.ready) {
                return node;
            }
            if matches!(changes.recv().await, Err(RecvError::Closed)) {
                std::future::pending::<()>().await;
            }
        }
    }

    fn node(&self) -> Option<Arc<Node>> {
        match self
            .launches
            .recorder
            .nodes
            .resolve(&self.launch.instance_id)
        {
            Resolution::Node(node) => Some(node),
            Resolution::Unknown | Resolution::NotYet => None,
        }
    }

    /// Keeps the message hidden for as long as it is worth it.
    async fn lease(&self) -> Parting {
        let received = Instant::now();
        let mut hidden_until = received + self.launches.visibility;
        loop {
            if received.elapsed() + LEASE > LEASED_MAX {
                return Parting::Back(Duration::ZERO, "LetGo");
            }
            let step = [(self.message.receipt.clone(), LEASE)];
            let failed = self.launches.queue.release(&step).await;
            if failed.is_empty() {
                hidden_until = Instant::now() + LEASE;
                let ends = self.ends().await;
                let now = clock::now();
                if ends.global < now {
                    return Parting::Done("Expired");
                }
                let ready = self.node().is_some_and(|node| node.ready);
                match ends.heartbeat {
                    Some(end) if end < now && !ready => return self.back("Overdue"),
                    Some(end) if end > now => sleep(RENEW.min(until(end, now))).await,
                    _ => sleep(RENEW).await,
                }
            } else if Instant::now() >= hidden_until {
                return Parting::Lost;
            } else {
                sleep(RENEW_AGAIN).await;
            }
        }
    }

    /// Gives the message back as if it were somebody else's.
    fn back(&self, outcome: &'static str) -> Parting {
        Parting::Back(patience(self.message.receive_count), outcome)
    }

    async fn ends(&self) -> Ends {
        let group = &self.launch.hook.auto_scaling_group_name;
        let Launches { aws, hooks, .. } = &self.launches;
        ends_of(
            &self.launch,
            &hooks.hooks(aws, &self.account(), group).await,
        )
    }

    fn account(&self) -> Account {
        let hook = &self.launch.hook;
        Account {
            region: hook.region.clone(),
            role_arn: hook.role_arn.clone(),
            external_id: hook.external_id.clone(),
        }
    }
}

/// From now to a later time, and a moment more, so that it has passed then.
fn until(end: Timestamp, now: Timestamp) -> Duration {
    let left = Duration::try_from(end.duration_since(now)).unwrap_or_default();
    left + Duration::from_millis(100)
}
