//! The third step of a pass: carrying out what was decided. Each effect is bounded, timed out and idempotent.

use kube::ResourceExt;
use serde_json::Value;
use tokio::time::Instant;

use super::Context;
use crate::api::termination::{NodeTermination, Signal};
use crate::aws::{LifecycleResult as Verdict, Reason};
use crate::cluster::{self, nodes, status};
use crate::controller::hooks;
use crate::drain::Plan;
use crate::lifecycle::effect::LifecycleResult;
use crate::lifecycle::{self, Effect, Outcome, View};

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
    for effect in effects {
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
    let (node, uid) = (&object.spec.node_name, &object.spec.node_uid);
    match effect {
        Effect::Cordon {
            patch,
            add_finalizer,
        } => cordon(object, &patch, add_finalizer, context).await?,
        Effect::Open { patch } => patch_node(object, &patch, context).await?,
        Effect::AddFinalizer => add_finalizer(object, context).await?,
        Effect::OpenView { deadline } => context.views.open(node, uid, deadline),
        Effect::CloseView => context.views.close(uid),
        Effect::Offer(plan) => offer(object, view, plan, context),
        Effect::Withdraw => context.evictor.withdraw(uid),
        Effect::ReadHook { signal_id } => read_hook(object, signal_id, context).await,
        Effect::Heartbeat { signal_id } => return Ok(heartbeat(object, signal_id, context).await),
        Effect::Complete { signal_id, result } => {
            return Ok(complete(object, signal_id, result, context).await);
        }
        Effect::RemoveFinalizer => {
            status::remove_finalizer(&context.clients.control, object).await?;
        }
    }
    Ok(None)
}

/// The cordon, and beside it the finalizer: neither waits for the other.
async fn cordon(
    object: &NodeTermination,
    patch: &Value,
    finalize: bool,
    context: &Context,
) -> Result<(), cluster::Error> {
    let turn = context.gate.cordon().await;
    let finalized = async {
        if finalize {
            add_finalizer(object, context).await
        } else {
            Ok(())
        }
    };
    let (closed, finalized) = tokio::join!(patch_node(object, patch, context), finalized);
    drop(turn);
    if closed.is_ok() {
        context.timeline.reached(&object.name_any(), "cordoned");
    }
    closed.and(finalized)
}

/// Adds the finalizer, once for each version of the object that is seen.
async fn add_finalizer(object: &NodeTermination, context: &Context) -> Result<(), cluster::Error> {
    let seen = object.resource_version();
    if context.memories.with(object, |m| m.finalized_from == seen) {
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
    nodes::patch(&context.clients.control, &object.spec.node_name, patch).await?;
    context.memories.with(object, |m| m.patched_from = seen);
    Ok(())
}

fn offer(object: &NodeTermination, view: &View<'_>, plan: Plan, context: &Context) {
    let unseen = |uid: &&String| !view.seen.contains(*uid);
    let new: Vec<String> = plan.remaining.iter().filter(unseen).cloned().collect();
    context.memories.with(object, |memory| {
        if memory.seen.is_empty() {
            memory.gone_before = Some(lifecycle::gone_before(view, &plan));
        }
        memory.seen.extend(new);
    });
    context.evictor.offer(
        &object.spec.node_name,
        &object.spec.node_uid,
        plan.candidates,
    );
}

async fn read_hook(object: &NodeTermination, signal_id: String, context: &Context) {
    let Some(hook) = signal(object, &signal_id).and_then(|s| s.lifecycle_hook.as_ref()) else {
        return;
    };
    let timeout = context.hooks.read(&context.aws, hook).await;
    context.memories.with(object, |memory| {
        memory.hooks.insert(signal_id, (Instant::now(), timeout))
    });
}

async fn heartbeat(
    object: &NodeTermination,
    signal_id: String,
    context: &Context,
) -> Option<Outcome> {
    let (account, action) =
        hooks::action_of(&object.spec.instance_id, signal(object, &signal_id)?)?;
    let beaten = context
        .aws
        .lifecycle(&account)
        .await
        .heartbeat(&action)
        .await;
    Some(match beaten {
        Ok(()) => Outcome::Beat { signal_id },
        Err(error) if error.reason == Reason::NoActiveAction => Outcome::NoSuchAction { signal_id },
        Err(error) => failed(signal_id, &error),
    })
}

async fn complete(
    object: &NodeTermination,
    signal_id: String,
    result: LifecycleResult,
    context: &Context,
) -> Option<Outcome> {
    let (account, action) =
        hooks::action_of(&object.spec.instance_id, signal(object, &signal_id)?)?;
    let verdict = match result {
        LifecycleResult::Continue => Verdict::Continue,
        LifecycleResult::Abandon => Verdict::Abandon,
    };
    let completed = context
        .aws
        .lifecycle(&account)
        .await
        .complete(&action, verdict)
        .await;
    Some(match completed {
        Ok(()) => {
            tracing::info!(
                signal = signal_id,
                group = action.group,
                hook = action.hook,
                result = result.as_str(),
                "lifecycle action completed"
            );
            Outcome::Completed { signal_id, result }
        }
        Err(error) if error.reason == Reason::NoActiveAction => Outcome::NoSuchAction { signal_id },
        Err(error) => failed(signal_id, &error),
    })
}

fn failed(signal_id: String, error: &crate::aws::Error) -> Outcome {
    tracing::warn!(signal = signal_id, reason = error.reason(), %error, "lifecycle call failed, trying again");
    Outcome::CallFailed {
        signal_id,
        message: error.to_string(),
    }
}

fn signal<'a>(object: &'a NodeTermination, id: &str) -> Option<&'a Signal> {
    object.spec.signals.iter().find(|s| s.id == id)
}
