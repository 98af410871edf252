//! Lifecycle actions that instance metadata told of: it names neither group nor hook, so they are looked up, and with
//! the policy's access to AWS they are ours like any other.

use jiff::Timestamp;

use super::action;
use super::hooks;
use super::key::ActionKey;
use super::view::{HookTimeout, View};
use crate::api::condition::Statement;
use crate::api::policy::Action;
use crate::api::termination::{
    EffectivePolicy, LifecycleActionState, LifecycleActionStatus, LifecycleHook,
    NodeTerminationStatus, Signal, SignalKind,
};

/// What is known of the hooks that wait for an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The instance waits in these.
    Waiting(Vec<FoundHook>),
    /// It will wait in these: it is not there yet, as while its load balancer lets connections end.
    Soon {
        /// The hooks.
        hooks: Vec<FoundHook>,
        /// The instance's lifecycle state.
        state: String,
        /// When to look again.
        again_at: Timestamp,
    },
    /// It waits in none; why.
    Nothing(String),
    /// The group is not in reach of the policy's queue; why.
    NotOurs(String),
    /// The call failed.
    Failed {
        /// What was said.
        message: String,
        /// We may not ask: nothing is waited for.
        denied: bool,
        /// When to ask again.
        again_at: Timestamp,
    },
}

/// A hook that waits for an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundHook {
    /// The Auto Scaling group.
    pub group: String,
    /// The hook.
    pub hook: String,
    /// Its time-outs.
    pub timeout: HookTimeout,
}

impl Lookup {
    /// When to ask again by time alone.
    #[must_use]
    pub fn again_at(&self) -> Option<Timestamp> {
        match self {
            Self::Soon { again_at, .. } | Self::Failed { again_at, .. } => Some(*again_at),
            Self::Waiting(_) | Self::Nothing(_) | Self::NotOurs(_) => None,
        }
    }

    /// A release waits for a better answer.
    #[must_use]
    pub fn is_owed(&self) -> bool {
        matches!(self, Self::Soon { .. } | Self::Failed { denied: false, .. })
    }
}

/// The signal tells of a lifecycle action and names none.
#[must_use]
pub fn names_no_hook(signal: &Signal) -> bool {
    signal.kind == SignalKind::AutoScalingTermination && signal.lifecycle_hook.is_none()
}

/// The signal's hooks are to be looked up: somebody must complete them, and it has not been found out which they are.
pub(super) fn is_unfound(
    signal: &Signal,
    policy: &EffectivePolicy,
    status: &NodeTerminationStatus,
) -> bool {
    names_no_hook(signal)
        && action::of_signal(policy, signal) >= Action::Cordon
        && !status
            .lifecycle_actions
            .iter()
            .any(|a| a.signal_id == signal.id)
}

/// Nobody has asked yet for the hook that the signal names, or for those that it tells of.
pub(super) fn is_unread(view: &View<'_>, signal: &Signal) -> bool {
    match ActionKey::of_signal(signal) {
        Some(action) => !view.hooks.contains_key(&action),
        None => names_no_hook(signal) && !view.lookups.contains_key(&signal.id),
    }
}

/// When the instance goes on account of the signal, and whether that is a guess: a hook has not been read.
pub(super) fn deadline(
    view: &View<'_>,
    actions: &[LifecycleActionStatus],
    signal: &Signal,
    policy: &EffectivePolicy,
) -> (Timestamp, bool) {
    let by = |signal: &Signal, hook: Option<&HookTimeout>| {
        hooks::deadline(signal, hook, &policy.drain, &policy.lifecycle)
    };
    if !names_no_hook(signal) {
        let hook = ActionKey::of_signal(signal).and_then(|key| view.hooks.get(&key));
        let known = matches!(hook, Some(HookTimeout::Known { .. }));
        return (by(signal, hook), signal.lifecycle_hook.is_some() && !known);
    }
    // It is one termination: the hooks that other signals name are those that this one tells of.
    let signals = &view.object.spec.signals;
    let rows = actions.iter().filter_map(|action| {
        let signal = signals.iter().find(|s| s.id == action.signal_id)?;
        let hook = view.hooks.get(&ActionKey::from(action));
        Some((
            by(signal, hook),
            !matches!(hook, Some(HookTimeout::Known { .. })),
        ))
    });
    let earliest = rows.reduce(|a, b| (a.0.min(b.0), a.1 || b.1));
    let guess = (by(signal, None), policy.aws.is_some());
    earliest.unwrap_or_else(|| match view.lookups.get(&signal.id) {
        None => guess,
        Some(Lookup::Waiting(hooks) | Lookup::Soon { hooks, .. }) => hooks
            .iter()
            .map(|found| (by(signal, Some(&found.timeout)), false))
            .min()
            .unwrap_or(guess),
        Some(_) => (guess.0, false),
    })
}

/// The entries of hooks that were found and that no signal names itself.
pub(super) fn entries(
    view: &View<'_>,
    actions: &[LifecycleActionStatus],
) -> Vec<LifecycleActionStatus> {
    let mut new: Vec<LifecycleActionStatus> = Vec::new();
    for signal in &view.object.spec.signals {
        let Some(Lookup::Waiting(hooks)) = view.lookups.get(&signal.id) else {
            continue;
        };
        for found in hooks {
            let known = |a: &LifecycleActionStatus| is_about(a, &found.group, &found.hook);
            if !actions.iter().chain(&new).any(known) {
                new.push(LifecycleActionStatus {
                    signal_id: signal.id.clone(),
                    hook_name: found.hook.clone(),
                    auto_scaling_group_name: Some(found.group.clone()),
                    state: LifecycleActionState::Pending,
                    heartbeats: 0,
                    next_heartbeat_time: None,
                    result: None,
                    message: None,
                    completed_at: None,
                });
            }
        }
    }
    new
}

/// A signal names an action that may have been found already. One that we have not completed yet is the signal's from
/// now on, with its token. `true`: it was over before the signal's notice could have meant another.
pub(super) fn hand_over(
    actions: &mut Vec<LifecycleActionStatus>,
    signals: &[Signal],
    signal: &Signal,
    hook: &LifecycleHook,
) -> bool {
    let found = |a: &LifecycleActionStatus| {
        is_about(a, &hook.auto_scaling_group_name, &hook.hook_name)
            && signals
                .iter()
                .any(|s| s.id == a.signal_id && names_no_hook(s))
    };
    actions.retain(|a| a.state.is_over() || !found(a));
    let ended = |a: &LifecycleActionStatus| {
        let ours = matches!(
            a.state,
            LifecycleActionState::Completed | LifecycleActionState::AlreadyDone
        );
        ours && a
            .completed_at
            .as_ref()
            .is_some_and(|at| at.0 >= signal.notice_time.0)
    };
    actions.iter().any(|a| found(a) && ended(a))
}

fn is_about(action: &LifecycleActionStatus, group: &str, hook: &str) -> bool {
    action.hook_name == hook && action.auto_scaling_group_name.as_deref() == Some(group)
}

/// What is said of a lifecycle action that nobody could name: whether it is ours, in a word and a sentence.
pub(super) fn statement(
    kind: &'static str,
    view: &View<'_>,
    status: &NodeTerminationStatus,
) -> Option<Statement> {
    let policy = status.policy.as_ref()?;
    let mut signals = view.object.spec.signals.iter();
    let signal = signals.find(|s| is_unfound(s, policy, status))?;
    if policy.aws.is_none() {
        let message = "instance metadata told of a lifecycle action; the policy has no queue, by which its hook would be found, so it is not ours and ends by itself";
        return Some(Statement::new(kind, false, "NotOurs", message));
    }
    let (holds, reason, message) = match view.lookups.get(&signal.id)? {
        Lookup::Waiting(_) => return None,
        Lookup::Soon { state, .. } => (
            false,
            "Pending",
            format!("the instance does not wait in its lifecycle hooks yet: it is {state}"),
        ),
        Lookup::Nothing(why) => (true, "NothingWaits", why.clone()),
        Lookup::NotOurs(why) => (
            false,
            "NotOurs",
            format!(
                "the lifecycle hook that instance metadata told of is not ours and ends by itself: {why}"
            ),
        ),
        Lookup::Failed {
            message,
            denied: true,
            ..
        } => (
            false,
            "CallFailed",
            format!(
                "we may not look up the lifecycle hook that instance metadata told of, so it is not ours and ends by itself: {message}"
            ),
        ),
        Lookup::Failed { message, .. } => (
            false,
            "CallFailed",
            format!(
                "the lifecycle hook that instance metadata told of can not be looked up: {message}"
            ),
        ),
    };
    Some(Statement::new(kind, holds, reason, message))
}

/// What is said of a time-out that nobody could look up.
pub(super) fn guess(
    kind: &'static str,
    view: &View<'_>,
    status: &NodeTerminationStatus,
) -> Option<Statement> {
    let found = statement(kind, view, status)?;
    let unknown = matches!(found.reason.as_str(), "NotOurs" | "CallFailed");
    let message = "no lifecycle hook could be found to read its time-out; drain.timeoutSeconds is taken instead";
    unknown.then(|| Statement::new(kind, true, found.reason, message))
}
