//! The termination controller: one short, level-triggered pass after another carries an incident through.

mod act;
mod find;
mod memory;
mod notices;
mod observe;
mod pace;
mod report;
mod states;
mod triggers;
mod turns;
mod writes;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::{self, Action};
use kube::runtime::{applier, reflector::ObjectRef};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Notifier;
use super::leading::Parts;
use crate::api::termination::{EffectivePolicy, NodeTermination, Phase};
use crate::aws::HookCache;
use crate::clock;
use crate::cluster::{self, Attachments, Guarded, Views};
use crate::lifecycle::{self, Effect, Outcome};
use memory::Memories;
use states::States;
use turns::Turns;
use writes::Writes;

/// The loop turns at least this often.
const TURN: Duration = Duration::from_secs(5);
/// A loop that does not turn for this long hangs.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// After a conflict the watch brings the newer object at once.
const CONFLICT_PAUSE: Duration = Duration::from_millis(50);
/// After so many conflicts over a node others are busy writing to it,
const CONFLICTS_AT_ONCE: u32 = 5;
/// and it is tried this often.
const CONFLICT_STEP: Duration = Duration::from_millis(100);
/// A failed call of a pass is tried again after this, doubled each time,
const BACK_OFF_FIRST: Duration = Duration::from_millis(500);
/// up to this.
const BACK_OFF_LAST: Duration = Duration::from_secs(15);
/// One for which a right is missing is tried again after this at the latest: then it is asked for anew.
const FORBIDDEN_LAST: Duration = Duration::from_secs(5);

/// Everything that a pass may look at or act through.
pub struct Context {
    /// What every replica has.
    pub parts: Parts,
    /// The pods of draining nodes.
    pub views: Views,
    /// What is attached to nodes whose volumes are waited for.
    pub attachments: Attachments,
    /// Who tells others.
    pub notifier: Arc<Notifier>,
    states: States,
    hooks: HookCache,
    memories: Memories,
    turns: Turns,
    writes: Writes,
}

impl Deref for Context {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

/// A pass that must be tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call to the API server failed.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The stored object can not be read.
    #[error("the stored object can not be read: {0}")]
    Unreadable(String),
}

impl Error {
    fn reason(&self) -> &'static str {
        match self {
            Self::Cluster(error) => error.reason(),
            Self::Unreadable(_) => "Unreadable",
        }
    }
}

impl Context {
    /// A context with nothing remembered.
    #[must_use]
    pub fn new(
        parts: Parts,
        views: Views,
        attachments: Attachments,
        notifier: Arc<Notifier>,
    ) -> Self {
        Self {
            parts,
            views,
            attachments,
            notifier,
            states: States::default(),
            hooks: HookCache::default(),
            memories: Memories::default(),
            turns: Turns::default(),
            writes: Writes::default(),
        }
    }
}

/// Runs the controller until `stop`; passes under way end first.
pub async fn run(context: Arc<Context>, stop: CancellationToken) {
    tokio::join!(
        states::run(context.clone(), stop.clone()),
        writes::run(context.clone(), stop.clone()),
        passes(context, stop)
    );
}

async fn passes(context: Arc<Context>, stop: CancellationToken) {
    let pulse = context.health.pulse("termination controller", SILENCE_MAX);
    let triggers = triggers::stream(&context).take_until(stop.cancelled_owned());
    // As many passes as open incidents: a cordon must not wait for a pass that waits for AWS.
    let config = controller::Config::default();
    let (store, gone) = (context.terminations.store(), context.clone());
    let mut passes = applier(
        |object, context| Box::pin(on_its_own(object, context)),
        back_off,
        context,
        store,
        triggers.boxed(),
        config,
    )
    .boxed();
    let mut turn = tokio::time::interval(TURN);
    loop {
        tokio::select! {
            pass = passes.next() => match pass {
                Some(Err(error @ controller::Error::QueueError(_))) => tracing::error!(%error, "the termination controller's queue failed"),
                // No pass ran that could have taken its turn, or given it back.
                Some(Err(controller::Error::ObjectNotFound(object))) => gone.writes.forget(&object.name),
                Some(_) => {}
                None => return,
            },
            _ = turn.tick() => pulse.beat(),
        }
    }
}

/// One pass, as a task: kube polls all passes under way whenever one of them is woken, and in a burst a thousand wait
/// for the turn of their cordon.
async fn on_its_own(
    object: Arc<Guarded<NodeTermination>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let pass = AbortOnDropHandle::new(tokio::spawn(reconcile(object, context)));
    match pass.await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends, and whoever waits here with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// One pass.
#[tracing::instrument(skip_all, fields(nodetermination = object.name_any()))]
async fn reconcile(
    object: Arc<Guarded<NodeTermination>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let name = object.name_any();
    context.writes.enter(&name);
    let result = match &object.0 {
        Ok(object) => pass(object, &context).await,
        Err(invalid) => Err(Error::Unreadable(invalid.to_string())),
    };
    context.writes.leave(&name);
    // It may have gone while the pass ran, which has told of it since.
    context.unless_gone(reference(&name));
    match &result {
        Ok(_) => context.metrics.pass("termination", "Success"),
        Err(error) => context.metrics.pass("termination", error.reason()),
    }
    result
}

async fn pass(object: &NodeTermination, context: &Context) -> Result<Action, Error> {
    // When a lifecycle action has ended, or what a drain would do is known, the incident is released in the same pass,
    // with one report. Each such round ends at least one action, or is the only one of its sort.
    let next = loop {
        let (next, more) = Box::pin(round(object, context)).await?;
        if !more {
            break next;
        }
    };
    if !context.writes.is_waiting(&object.name_any()) {
        context.memories.succeeded(&object.name_any());
    }
    Ok(next.map_or_else(Action::await_change, requeue_at))
}

/// Observe, decide, act, report. Returns when to look again, and whether there is more to decide at once, which is
/// then still to be reported.
async fn round(
    object: &NodeTermination,
    context: &Context,
) -> Result<(Option<Timestamp>, bool), Error> {
    let seen = observe::observe(object, context);
    let turn = |policy: &EffectivePolicy| context.is_turn_of(&seen.object, policy);
    let view = seen.view(context, &turn, clock::now());
    let mut decision = lifecycle::decide(&view);
    let effects = std::mem::take(&mut decision.effects);
    if context.term.is_over() {
        // Unless the lease was renewed in this very moment, whoever leads next looks again.
        return Ok((Some(clock::now() + report::CALL_AGAIN), false));
    }
    if decision.finishing && !context.may_write(&seen.object).await {
        // What the last report tells would be lost if its pods were looked at no longer.
        return Ok((decision.wake, false));
    }
    if !decision.finishing && effects.iter().any(Effect::may_take_long) {
        context.writes.put_off(&object.name_any());
    }
    let (outcomes, failure) = act::act(&seen.object, &view, effects, context).await;
    let view = seen.view(context, &turn, clock::now());
    let mut status = decision.status;
    lifecycle::settle(&view, &mut status, &outcomes);
    let notified = notices::settled(object, context);
    lifecycle::notices::settle(&mut status, &notified);
    let before = seen.object.status.clone().unwrap_or_default();
    lifecycle::notices::reach(&before, &mut status, view.now);
    let more = outcomes.iter().any(Outcome::leads_on);
    if more && failure.is_none() {
        context.memories.with(object, |m| m.status = Some(status));
        return Ok((None, true));
    }
    if let Some(error) = failure.as_ref().filter(|e| !e.is_conflict()) {
        lifecycle::admit(&view, &mut status, error.reason(), &error.to_string());
    }
    let reported = if status.phase.is_some_and(Phase::is_finished) && !decision.finishing {
        report::let_go(&seen.object, &status, &notified, context).await
    } else {
        report::report(&seen, status, decision.finishing, context).await
    };
    let (next, failure) = match reported {
        Ok(next) => (next, failure),
        Err(error) => (None, failure.or(Some(error))),
    };
    let wake = [decision.wake, next].into_iter().flatten().min();
    match failure {
        Some(error) => {
            context.memories.with(object, |m| m.wake = wake);
            Err(error.into())
        }
        None => Ok((wake, false)),
    }
}

fn requeue_at(at: Timestamp) -> Action {
    let wait = Duration::try_from(at.duration_since(clock::now())).unwrap_or_default();
    Action::requeue(wait)
}

#[allow(clippy::needless_pass_by_value, reason = "the signature is kube's")]
fn back_off(object: Arc<Guarded<NodeTermination>>, error: &Error, context: Arc<Context>) -> Action {
    let Ok(object) = &object.0 else {
        tracing::error!(nodetermination = object.name_any(), %error, "skipped");
        return Action::await_change();
    };
    if context.terminations.get(&object.name_any()).is_none() {
        // What was remembered of it has been forgotten.
        return Action::await_change();
    }
    if let Error::Cluster(error) = error
        && error.is_conflict()
    {
        let conflicts = context.memories.with(object, |m| m.conflicts);
        let soon = conflicts <= CONFLICTS_AT_ONCE;
        return Action::requeue(if soon { CONFLICT_PAUSE } else { CONFLICT_STEP });
    }
    let (failures, wake) = context.memories.with(object, |m| {
        m.failures = m.failures.saturating_add(1);
        (m.failures, m.wake.take())
    });
    tracing::warn!(nodetermination = object.name_any(), reason = error.reason(), %error, failures, "pass failed, trying again");
    let wake = wake.map(|at| Duration::try_from(at.duration_since(clock::now())));
    let wake = wake.map(Result::unwrap_or_default);
    let jitter = jitter(&object.name_any());
    let forbidden = error.reason() == "Forbidden";
    Action::requeue(wait(failures, jitter, forbidden, wake))
}

/// How long after so many failures the next pass comes: when the failed one would have looked again at the latest, but
/// not at once. `jitter` is from 0 to 1.
fn wait(failures: u32, jitter: f64, forbidden: bool, wake: Option<Duration>) -> Duration {
    let doubled = BACK_OFF_FIRST * 2_u32.pow(failures.saturating_sub(1).min(5));
    let last = if forbidden {
        FORBIDDEN_LAST
    } else {
        BACK_OFF_LAST
    };
    let wait = doubled.min(last).mul_f64(0.5 + 0.5 * jitter);
    wake.map_or(wait, |wake| wait.min(wake.max(BACK_OFF_FIRST)))
}

/// A number from 0 to 1 for each incident: those whose passes failed together do not come again together.
fn jitter(name: &str) -> f64 {
    let (mut hasher, now) = (DefaultHasher::new(), clock::now());
    (name, now.subsec_nanosecond()).hash(&mut hasher);
    let [low, high, ..] = hasher.finish().to_le_bytes();
    f64::from(u16::from_le_bytes([low, high])) / f64::from(u16::MAX)
}

impl Context {
    /// Whether it is the incident's turn to write, in this pass. If not, it gets in line.
    async fn may_write(&self, object: &NodeTermination) -> bool {
        let (name, writes) = (object.name_any(), &self.writes);
        let turn = writes.turn(&name, &self.gate).await;
        turn.map(|turn| writes.keep(&name, turn)).is_some()
    }

    /// Whether no other incident is about to drain the node of that UID, or drains it.
    fn is_free(&self, node_uid: &str, incident: &str) -> bool {
        let drains = |name: &String| {
            let phase = self.memories.status(name).and_then(|s| s.phase);
            matches!(phase, None | Some(Phase::Pending | Phase::Draining))
        };
        !self
            .open_on(node_uid)
            .any(|name| name != incident && drains(&name))
    }

    /// The open incidents about the node of that UID.
    pub(super) fn open_on(&self, node_uid: &str) -> impl Iterator<Item = String> {
        let objects = self.terminations.all();
        objects.filter_map(move |object| {
            let object = object.0.as_ref().ok()?;
            let finished = object.phase().is_some_and(Phase::is_finished);
            (object.node_uid() == Some(node_uid) && !finished).then(|| object.name_any())
        })
    }
}

/// A reference to the incident of that name.
fn reference(name: &str) -> ObjectRef<Guarded<NodeTermination>> {
    ObjectRef::new(name)
}

#[cfg(test)]
mod tests;
