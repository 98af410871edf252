//! How a policy is doing, from what its monitors say.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::Context;
use crate::api::condition::{
    self, FORBIDDEN, HEARTBEAT_SHORTENED, NODES_NOT_KNOWN, NOTIFICATIONS_VALID,
    OBSERVE_CONSUMES_MESSAGES, OVERLAPS_KARPENTER, OVERLAPS_MANAGED_NODES, READY, RECONCILING,
    SPOT_NODES_UNCOVERED, STALLED, Statement,
};
use crate::api::policy::{
    Mode, Source, SourceState, SourceStatus, TerminationPolicy, TerminationPolicyStatus,
};
use crate::api::termination::Phase;
use crate::api::{Time, bounded};
use crate::clock;
use crate::cluster::Agents;
use crate::cluster::agents::AGENT_LABELS;
use crate::cluster::denied;
use crate::controller::notifier::Trouble;
use crate::drain::Node;
use crate::source::supervisor::QueueKey;

/// A new Node gets its provider ID within this, from its kubelet or the cloud provider.
const IDENTIFIED: SignedDuration = SignedDuration::from_mins(1);
/// The longest message of a source, in bytes: the field's maximum is 1024.
const MESSAGE_MAX: usize = 1024;
/// Reasons that only a person can remove.
const STALLING: [&str; 5] = [
    "AccessDenied",
    "NotFound",
    "Credentials",
    "InvalidRequest",
    "NoAgent",
];

/// The status that the policy should have.
pub(super) fn of(
    policy: &TerminationPolicy,
    troubles: &[Trouble],
    context: &Context,
) -> TerminationPolicyStatus {
    let now = clock::now();
    let stored = policy.status.clone().unwrap_or_default();
    let sources: Vec<SourceStatus> = policy
        .spec
        .sources
        .iter()
        .map(|s| source(s, context, &stored, now))
        .collect();
    let survey = context.survey();
    let uncovered = survey.spot_nodes_uncovered();
    let nodes = survey.policy(&policy.name_any());
    let polling = sources
        .iter()
        .filter(|s| s.state == SourceState::Polling)
        .count();
    let mut status = TerminationPolicyStatus {
        observed_generation: policy.metadata.generation,
        conditions: stored.conditions,
        matched_nodes: nodes.nodes,
        open_terminations: open_terminations(policy, context),
        ready_sources: format!("{polling}/{}", sources.len()),
        sources,
    };
    state(&mut status, now);
    observe_consumes_messages(policy, &mut status, now);
    notifications_valid(policy, troubles, &mut status, now);
    for (kind, said) in [
        (FORBIDDEN, forbidden()),
        (NODES_NOT_KNOWN, nodes_not_known(policy, context, now)),
        (OVERLAPS_KARPENTER, nodes.overlaps_karpenter()),
        (OVERLAPS_MANAGED_NODES, nodes.overlaps_managed_nodes()),
        (SPOT_NODES_UNCOVERED, uncovered),
        (HEARTBEAT_SHORTENED, heartbeat_shortened(policy, context)),
    ] {
        match said {
            Some((reason, message)) => {
                if condition::find(&status.conditions, kind).is_none() {
                    tracing::warn!(condition = kind, message, "a policy wants a look");
                }
                let statement = Statement::new(kind, true, reason, message);
                let generation = status.observed_generation;
                condition::set(&mut status.conditions, statement, generation, now);
            }
            None => condition::remove(&mut status.conditions, kind),
        }
    }
    status
}

/// What the operator's roles do not allow.
fn forbidden() -> Option<(&'static str, String)> {
    let denied = denied::all();
    let first = denied.iter().map(|d| d.since).min()?;
    let what: Vec<&str> = denied.iter().map(|d| d.what.as_str()).collect();
    let message = format!(
        "since {first:.0} the operator's roles do not let it {}: apply its manifests",
        what.join(", ")
    );
    Some(("RoleMissing", message))
}

/// Nodes that have had the time to get a provider ID and have none.
fn nodes_not_known(
    policy: &TerminationPolicy,
    context: &Context,
    now: Timestamp,
) -> Option<(&'static str, String)> {
    if policy.spec.sources.iter().all(|s| s.sqs.is_none()) {
        return None;
    }
    unidentified(&context.nodes.all(), now)
}

fn unidentified(nodes: &[Arc<Node>], now: Timestamp) -> Option<(&'static str, String)> {
    let settled = |n: &&Arc<Node>| {
        n.created
            .is_none_or(|at| now.duration_since(at) > IDENTIFIED)
    };
    let unknown = nodes.iter().filter(|n| !n.has_provider_id).filter(settled);
    let mut names: Vec<&str> = unknown.map(|n| n.name.as_str()).collect();
    names.sort_unstable();
    let first = names.first()?;
    let message = format!(
        "{} nodes have no spec.providerID, {first} the first: any of them may be the instance of a message that no node \
         is found for, so such messages are given back until their own deadline",
        names.len()
    );
    Some(("NoProviderID", message))
}

/// To record what it hears, a policy that only observes must take the messages, and nobody else gets them then.
fn observe_consumes_messages(
    policy: &TerminationPolicy,
    status: &mut TerminationPolicyStatus,
    now: Timestamp,
) {
    let queues = policy.spec.sources.iter().filter(|s| s.sqs.is_some());
    let names: Vec<&str> = queues.map(|s| s.name.as_str()).collect();
    if policy.spec.mode != Mode::Observe || names.is_empty() {
        condition::remove(&mut status.conditions, OBSERVE_CONSUMES_MESSAGES);
        return;
    }
    let message = format!(
        "mode Observe acknowledges what it has recorded, but for launches: the queue of {} must be read by nobody who is \
         to act on its messages",
        names.join(", ")
    );
    let statement = Statement::new(OBSERVE_CONSUMES_MESSAGES, true, "ModeObserve", message);
    let generation = status.observed_generation;
    condition::set(&mut status.conditions, statement, generation, now);
}

/// Whether everybody can be told who is to be, as far as that shows before anything is sent.
fn notifications_valid(
    policy: &TerminationPolicy,
    troubles: &[Trouble],
    status: &mut TerminationPolicyStatus,
    now: Timestamp,
) {
    if policy.spec.notifications.is_empty() {
        condition::remove(&mut status.conditions, NOTIFICATIONS_VALID);
        return;
    }
    let told: Vec<&str> = troubles.iter().map(|t| t.message.as_str()).collect();
    let (reason, message) = match troubles.first() {
        None => ("Valid", "every notification can be sent".to_owned()),
        Some(first) => (first.reason, told.join("; ")),
    };
    let before = condition::find(&status.conditions, NOTIFICATIONS_VALID);
    if !troubles.is_empty() && before.is_none_or(|c| c.message != message) {
        tracing::warn!(reason, message, "a notification can not be sent");
    }
    let statement = Statement::new(NOTIFICATIONS_VALID, troubles.is_empty(), reason, message);
    let generation = status.observed_generation;
    condition::set(&mut status.conditions, statement, generation, now);
}

/// Whether they differ as they are stored, which is in whole seconds.
pub(super) fn differs(stored: &TerminationPolicyStatus, status: &TerminationPolicyStatus) -> bool {
    serde_json::to_value(stored).ok() != serde_json::to_value(status).ok()
}

fn source(
    source: &Source,
    context: &Context,
    stored: &TerminationPolicyStatus,
    now: Timestamp,
) -> SourceStatus {
    let (state, reason, message, since) = match source.sqs.as_ref().map(QueueKey::of) {
        None => {
            let (state, reason, message) = agents(context.agents.agents());
            (state, reason.to_owned(), message, now)
        }
        Some(None) => unsupported(
            "InvalidRequest",
            "neither the queue URL nor sqs.region names a region",
            now,
        ),
        Some(Some(key)) => match context.supervisor.state(&key) {
            Some(monitor) => (
                monitor.state,
                monitor.reason,
                monitor.message,
                monitor.since,
            ),
            None => (
                SourceState::Starting,
                "Starting".to_owned(),
                "its monitor starts".to_owned(),
                now,
            ),
        },
    };
    let message = bounded(message, MESSAGE_MAX);
    let same = stored
        .sources
        .iter()
        .find(|s| s.name == source.name && s.state == state && s.reason == reason);
    let since = same.map_or(Time(since), |s| s.since.clone());
    let message = same.map_or(message, |s| s.message.clone());
    SourceStatus {
        name: source.name.clone(),
        state,
        reason,
        message,
        since,
    }
}

/// How the agents, which read the metadata, are together. In words that stay true as long as the state does: what is
/// said of a state is not said anew while it lasts.
fn agents(known: Agents) -> (SourceState, &'static str, String) {
    match known {
        Agents::NotRead => {
            let message = "the agents' DaemonSet has not been read";
            (SourceState::Starting, "Starting", message.to_owned())
        }
        Agents::Absent => {
            let message = format!(
                "no DaemonSet with the labels {AGENT_LABELS} is in the operator's namespace: apply manifests/agent"
            );
            (SourceState::Unsupported, "NoAgent", message)
        }
        Agents::Running { desired, ready } => {
            if ready > 0 && u64::from(ready) * 10 >= u64::from(desired) * 9 {
                let message = "at least nine of ten agents are ready";
                (SourceState::Polling, "Polling", message.to_owned())
            } else {
                let message = "fewer than nine of ten agents are ready: look at their DaemonSet";
                let state = SourceState::BackingOff;
                (state, "AgentsNotReady", message.to_owned())
            }
        }
    }
}

fn unsupported(
    reason: &str,
    message: &str,
    now: Timestamp,
) -> (SourceState, String, String, Timestamp) {
    (
        SourceState::Unsupported,
        reason.to_owned(),
        message.to_owned(),
        now,
    )
}

/// What the latest incident under these settings met: a hook that times out before the next heartbeat.
fn heartbeat_shortened(
    policy: &TerminationPolicy,
    context: &Context,
) -> Option<(&'static str, String)> {
    let (name, generation) = (policy.name_any(), policy.metadata.generation);
    let told = context.terminations.all().filter_map(|object| {
        let object = object.0.as_ref().ok()?;
        let status = object.status.as_ref()?;
        let settings = status.policy.as_ref()?;
        let said = condition::find(&status.conditions, HEARTBEAT_SHORTENED)?;
        let ours = settings.name == name && Some(settings.generation) == generation;
        let at = (status.started_at.as_ref()?.0, object.name_any());
        (ours && said.status == "True").then(|| (at, said.message.clone()))
    });
    let ((_, incident), message) = told.max()?;
    let message = format!("NodeTermination {incident}: {message}");
    Some(("IntervalNotBelowTimeout", message))
}

fn open_terminations(policy: &TerminationPolicy, context: &Context) -> u32 {
    let name = policy.name_any();
    let open = context.terminations.all().filter(|t| {
        let status = t.0.as_ref().ok().and_then(|t| t.status.as_ref());
        status.is_some_and(|s| {
            !s.phase.is_some_and(Phase::is_finished)
                && s.policy.as_ref().is_some_and(|p| p.name == name)
        })
    });
    u32::try_from(open.count()).unwrap_or(u32::MAX)
}

/// Ready, Reconciling, Stalled: Ready while every source polls; Stalled when one waits for a person.
fn state(status: &mut TerminationPolicyStatus, now: Timestamp) {
    let worst = status
        .sources
        .iter()
        .find(|s| s.state != SourceState::Polling && STALLING.contains(&s.reason.as_str()));
    let first = worst.or_else(|| {
        status
            .sources
            .iter()
            .find(|s| s.state != SourceState::Polling)
    });
    let (reason, message) = match first {
        None => ("Polling".to_owned(), "every source polls".to_owned()),
        Some(source) => (
            source.reason.clone(),
            format!("source {}: {}", source.name, source.message),
        ),
    };
    let generation = status.observed_generation;
    let mut say = |kind, holds: bool| {
        if holds || kind == READY {
            condition::set(
                &mut status.conditions,
                Statement::new(kind, holds, reason.clone(), message.clone()),
                generation,
                now,
            );
        } else {
            condition::remove(&mut status.conditions, kind);
        }
    };
    say(READY, first.is_none());
    say(RECONCILING, first.is_some() && worst.is_none());
    say(STALLED, worst.is_some());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drain::node::NodeObject;

    #[test]
    fn a_node_that_may_be_any_instance_is_named_once_it_has_had_a_minute() {
        let node = |name: &str, provider: Option<&str>| {
            let object = serde_json::json!({
                "metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"providerID": provider},
            });
            Arc::new(Node::from(
                serde_json::from_value::<NodeObject>(object).unwrap(),
            ))
        };
        let known = node("a", Some("aws:///eu-west-1a/i-0a1b2c3d4e5f60718"));
        let nodes = [known.clone(), node("c", None), node("b", Some(""))];
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let late = at("2026-01-01T00:02:00Z");
        assert_eq!(unidentified(&nodes, at("2026-01-01T00:00:30Z")), None);
        assert_eq!(unidentified(&[known], late), None);
        let (_, message) = unidentified(&nodes, late).unwrap();
        assert!(message.starts_with("2 nodes have no spec.providerID, b the first"));
    }

    #[test]
    fn metadata_is_read_while_nine_of_ten_agents_are_ready() {
        let said = |desired, ready| agents(Agents::Running { desired, ready });
        for (desired, ready, reason) in [
            (0, 0, "AgentsNotReady"),
            (1, 0, "AgentsNotReady"),
            (1, 1, "Polling"),
            (10, 8, "AgentsNotReady"),
            (10, 9, "Polling"),
            (11, 9, "AgentsNotReady"),
            (11, 10, "Polling"),
            (1000, 900, "Polling"),
        ] {
            assert_eq!(said(desired, ready).1, reason, "{ready} of {desired}");
        }
        // The words are kept while the state lasts: a number of agents would soon be another one.
        assert_eq!(said(10, 8), said(10, 2));
        assert_eq!(said(10, 9), said(10, 10));
        assert_eq!(agents(Agents::NotRead).1, "Starting");
        let (state, reason, message) = agents(Agents::Absent);
        assert_eq!((state, reason), (SourceState::Unsupported, "NoAgent"));
        assert!(STALLING.contains(&reason) && message.ends_with("apply manifests/agent"));
    }
}
