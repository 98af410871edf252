//! The third step of a pass: carrying out what was decided. Each effect is bounded, timed out and idempotent.

use std::time::Duration;

use kube::ResourceExt;
use serde_json::Value;
use tokio::time::Instant;

use super::report::CALL_AGAIN;
use super::{Context, find, report};
use crate::api::termination::NodeTermination;
use crate::aws::{LifecycleResult as Verdict, Reason};
use crate::cluster::{self, nodes, status};
use crate::controller::hooks;
use crate::drain::Plan;
use crate::lifecycle::effect::LifecycleResult;
use crate::lifecycle::{self, ActionKey, Effect, HookTimeout, Outcome, View};

/// A lifecycle call that is refused again and again is tried at least this often.
const CALL_AGAIN_LAST: Duration = Duration::from_mins(1);

/// Why nothing can be done about an action that was found by a queue's account, which the policy no longer has.
const NOT_IN_REACH: &str = "the policy has no queue by whose account the hook is reached";

/// Carries out the effects in order. A failure does not stop the later ones: a heartbeat must not miss its time
/// because a node could not be patched. The first failure is the pass's.
pub(super) async fn act(
    object: &NodeTermination,
    view: &View<'_>,
    effects: Vec<Effect>,
    context: &Context,
) -> (Vec<Outcome>, Option<cluster::Error>) {
    let mut outcomes = Vec::new();
    let mut failure = None;
    // The node and its pods first: AWS may take its time. What nobody waits for comes last.
    let (last, effects): (Vec<_>, Vec<_>) = effects
        .into_iter()
        .partition(|e| *e == Effect::AddFinalizer);
    let (aws, cluster): (Vec<_>, Vec<_>) = effects.into_iter().partition(Effect::is_of_aws);
    for effect in cluster.into_iter().chain(aws).chain(last) {
        match Box::pin(carry_out(object, view, effect, context)).await {
            Ok(outcome) => outcomes.extend(outcome),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    (outcomes, failure)
}

async fn carry_out(
    object: &NodeTermination,
    view: &View<'_>,
    effect: Effect,
    context: &Context,
) -> Result<Option<Outcome>, cluster::Error> {
    let (node, uid) = (
        &object.spec.node_name,
        object.node_uid().unwrap_or_default(),
    );
    let ends = matches!(effect, Effect::CloseView | Effect::Withdraw);
    // Another open incident of this node still needs its pods' view and their place in the queue.
    if effect == Effect::CloseView {
        context.attachments.leave(&object.name_any());
    }
    let free = ends && context.is_free(uid, &object.name_any());
    match effect {
        Effect::Cordon { patch } => cordon(object, &patch, context).await?,
        Effect::Open { patch } => patch_node(object, &patch, context).await?,
        Effect::OutOfService { patch } => {
            patch_node(object, &patch, context).await?;
            // A machine that came back may fall silent again, and it runs: EC2 is asked anew.
            context.memories.with(object, |m| m.told = None);
        }
        Effect::AddFinalizer => add_finalizer(object, context).await?,
        Effect::OpenView { deadline } => context.views.open(node, uid, deadline),
        Effect::CloseView if free => context.views.close(uid),
        Effect::WatchVolumes => context.attachments.want(&object.name_any(), node),
        Effect::AskState { access } => {
            if let Some(instance_id) = object.instance_id() {
                let account = hooks::account_of(&access);
                let incident = object.name_any();
                context.states.want(&incident, account, instance_id);
            }
        }
        Effect::Offer(plan) => offer(object, view, plan, context),
        Effect::Preview(plan) => {
            return Ok(Some(Outcome::Previewed(context.evictor.preview(&plan))));
        }
        Effect::HandOver => {
            report::publish(object, lifecycle::hands_over(), context);
            context.hand_over.ask();
        }
        Effect::Withdraw if free => context.evictor.withdraw(uid),
        Effect::CloseView | Effect::Withdraw => {}
        Effect::ReadHook { action } => read_hook(object, action, context).await,
        Effect::FindHooks { signal_id, access } => {
            find::find(object, signal_id, &access, context).await;
        }
        Effect::Heartbeat { action } => {
            return Ok(call_lifecycle(object, action, None, context).await);
        }
        Effect::Complete { action, result } => {
            return Ok(call_lifecycle(object, action, Some(result), context).await);
        }
        Effect::RemoveFinalizer => {
            status::remove_finalizer(&context.clients.control, object).await?;
        }
    }
    Ok(None)
}

async fn cordon(
    object: &NodeTermination,
    patch: &Value,
    context: &Context,
) -> Result<(), cluster::Error> {
    let turn = context.gate.cordon().await;
    let closed = patch_node(object, patch, context).await;
    drop(turn);
    let first = object
        .status
        .as_ref()
        .is_none_or(|s| s.cordoned_at.is_none());
    if closed.is_ok() && first {
        context.timeline.reached(&object.name_any(), "cordoned");
    }
    closed
}

/// Adds the finalizer, once for each version of the object that is seen. It is no part of the cordon: in a burst it
/// would put off the last cordon by a third. What is left on a node whose record is deleted before is undone by
/// `controller::orphans`.
async fn add_finalizer(object: &NodeTermination, context: &Context) -> Result<(), cluster::Error> {
    let seen = object.resource_version();
    if context.memories.with(object, |m| m.finalized_from == seen) {
        return Ok(());
    }
    if !context.may_write(object).await {
        return Ok(());
    }
    status::add_finalizer(&context.clients.control, object).await?;
    context.memories.with(object, |m| m.finalized_from = seen);
    Ok(())
}

/// Patches the node, once for each version of it that is seen: the next one is on its way.
async fn patch_node(
    object: &NodeTermination,
    patch: &Value,
    context: &Context,
) -> Result<(), cluster::Error> {
    let seen = patch["metadata"]["resourceVersion"]
        .as_str()
        .map(str::to_owned);
    if seen.is_some() && context.memories.with(object, |m| m.patched_from == seen) {
        return Ok(());
    }
    if seen.is_some() && context.memories.with(object, |m| m.refused_from == seen) {
        return Err(cluster::Error::Stale { act: "patch node" });
    }
    let patched = nodes::patch(&context.clients.control, &object.spec.node_name, patch).await;
    context.memories.with(object, |m| match &patched {
        Ok(()) => m.patched_from = seen,
        Err(error) if error.is_conflict() => {
            m.refused_from = seen;
            m.conflicts = m.conflicts.saturating_add(1);
        }
        Err(_) => {}
    });
    patched
}

fn offer(object: &NodeTermination, view: &View<'_>, plan: Plan, context: &Context) {
    let unseen = |uid: &&String| !view.seen.contains(*uid);
    let new: Vec<String> = plan.remaining.iter().filter(unseen).cloned().collect();
    context.memories.with(object, |memory| {
        if memory.seen.is_empty() {
            memory.gone_before = Some(lifecycle::gone_before(view, &plan));
        }
        memory.seen.extend(new);
        memory.came.clone_from(&plan.came);
    });
    context.evictor.offer(view.object, plan.candidates);
}

async fn read_hook(object: &NodeTermination, action: ActionKey, context: &Context) {
    let timeout = match hooks::action_of(object, &action) {
        Some((account, named)) => {
            let (cache, aws) = (&context.hooks, &context.aws);
            hooks::timeout(cache, aws, &account, &named.group, &named.hook).await
        }
        None if is_out_of_reach(object) => HookTimeout::Unknown(NOT_IN_REACH.to_owned()),
        // It has just been found: the next pass sees it.
        None => return,
    };
    context.memories.with(object, |memory| {
        memory.hooks.insert(action, (Instant::now(), timeout))
    });
}

/// The policy has no access to AWS any more by which an action was found.
fn is_out_of_reach(object: &NodeTermination) -> bool {
    let policy = object.status.as_ref().and_then(|s| s.policy.as_ref());
    policy.is_some_and(|p| p.aws.is_none())
}

/// Keeps the lifecycle action alive, or ends it with `result`.
async fn call_lifecycle(
    object: &NodeTermination,
    key: ActionKey,
    result: Option<LifecycleResult>,
    context: &Context,
) -> Option<Outcome> {
    if is_too_soon(object, &key, context) {
        return None;
    }
    let Some((account, action)) = hooks::action_of(object, &key) else {
        let message = NOT_IN_REACH.to_owned();
        let failed = Outcome::CallFailed {
            action: key,
            message,
        };
        return is_out_of_reach(object).then_some(failed);
    };
    let lifecycle = context.aws.lifecycle(&account).await;
    let called = match result {
        None => lifecycle.heartbeat(&action).await,
        Some(LifecycleResult::Continue) => lifecycle.complete(&action, Verdict::Continue).await,
        Some(LifecycleResult::Abandon) => lifecycle.complete(&action, Verdict::Abandon).await,
    };
    match called {
        Err(error) if is_over(&error) => return Some(Outcome::NoSuchAction { action: key }),
        Err(error) => return Some(failed(object, key, &error, context)),
        Ok(()) => {}
    }
    context
        .memories
        .with(object, |m| m.calls_failed.remove(&key));
    let Some(result) = result else {
        return Some(Outcome::Beat { action: key });
    };
    tracing::info!(
        signal = key.signal_id,
        group = action.group,
        hook = action.hook,
        result = result.as_str(),
        "lifecycle action completed"
    );
    Some(Outcome::Completed {
        action: key,
        result,
    })
}

/// The action is over, or its group is gone.
fn is_over(error: &crate::aws::Error) -> bool {
    matches!(error.reason, Reason::NoActiveAction | Reason::NotFound)
}

/// A call that failed lately is not repeated by the next event of a pod: its time comes, ever more slowly.
fn is_too_soon(object: &NodeTermination, action: &ActionKey, context: &Context) -> bool {
    context.memories.with(object, |memory| {
        let last = memory.calls_failed.get(action);
        last.is_some_and(|(at, times)| at.elapsed() < back_off(*times))
    })
}

/// How long to wait after so many failures before the last.
pub(super) fn back_off(times: u32) -> Duration {
    (CALL_AGAIN * 2_u32.pow(times.min(4))).min(CALL_AGAIN_LAST)
}

fn failed(
    object: &NodeTermination,
    action: ActionKey,
    error: &crate::aws::Error,
    context: &Context,
) -> Outcome {
    context.memories.with(object, |memory| {
        let last = memory.calls_failed.get(&action);
        let times = last.map_or(0, |(_, times)| times + 1);
        let failed = (Instant::now(), times);
        memory.calls_failed.insert(action.clone(), failed);
    });
    tracing::warn!(signal = action.signal_id, hook = action.hook_name, reason = error.reason(), %error, "lifecycle call failed, trying again");
    Outcome::CallFailed {
        action,
        message: error.to_string(),
    }
}
