//! What runs only while this process leads.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::hand_over::HandOver;
use super::term::Term;
use super::{Evictor, Metrics, Notifier, NotifyOptions, orphans, policy, prune, termination};
use crate::api::policy::TerminationPolicy;
use crate::api::termination::NodeTermination;
use crate::aws::Aws;
use crate::cluster::events::Events;
use crate::cluster::{AgentWatch, Attachments, Clients, Gate, Nodes, Objects, Views};
use crate::source::{self, Recorder, Supervisor};
use crate::telemetry::{Health, Timeline};

/// The engine turns every ten seconds with nothing to do.
const EVICTOR_SILENCE_MAX: Duration = Duration::from_mins(1);

/// What every replica has at hand, so that a new leader is warm.
#[derive(Clone)]
pub struct Parts {
    /// Connections to the API server.
    pub clients: Clients,
    /// Nodes.
    pub nodes: Arc<Nodes>,
    /// Policies.
    pub policies: Objects<TerminationPolicy>,
    /// Incidents.
    pub terminations: Objects<NodeTermination>,
    /// How the agents are.
    pub agents: AgentWatch,
    /// The eviction engine, which is told of budgets always.
    pub evictor: Arc<Evictor>,
    /// The write gate.
    pub gate: Gate,
    /// The way into AWS.
    pub aws: Aws,
    /// Kubernetes Events.
    pub events: Events,
    /// Stop-watches.
    pub timeline: Timeline,
    /// What the controllers count.
    pub metrics: Metrics,
    /// What the sources count.
    pub source_metrics: source::Metrics,
    /// Where loops show that they turn.
    pub health: Health,
    /// The operator's own pod, as namespace/name.
    pub own_pod: String,
    /// How leadership is given up by choice.
    pub hand_over: HandOver,
    /// How long it lasts.
    pub term: Term,
    /// How notifications are sent.
    pub notifications: NotifyOptions,
}

/// Leads until `stop`: takes no new work then, and finishes the calls in flight. Nothing that only a leader knows
/// outlives it.
pub async fn lead(parts: Parts, stop: CancellationToken) {
    if stop.run_until_cancelled(warm(&parts)).await.is_none() {
        return;
    }
    parts.metrics.begin();
    let recorder = Recorder {
        client: parts.clients.control.clone(),
        gate: parts.gate.clone(),
        nodes: parts.nodes.clone(),
        policies: parts.policies.clone(),
        timeline: parts.timeline.clone(),
        metrics: parts.source_metrics.clone(),
    };
    let notifier = Arc::new(Notifier::new(
        parts.clients.stores.clone(),
        parts.notifications.clone(),
        parts.policies.clone(),
        parts.metrics.clone(),
        parts.term.clone(),
    ));
    let policy = Arc::new(policy::Context {
        clients: parts.clients.clone(),
        nodes: parts.nodes.clone(),
        policies: parts.policies.clone(),
        terminations: parts.terminations.clone(),
        agents: parts.agents.clone(),
        supervisor: Arc::new(Supervisor::new(
            parts.aws.clone(),
            recorder,
            parts.health.clone(),
        )),
        notifier: notifier.clone(),
        metrics: parts.metrics.clone(),
        health: parts.health.clone(),
        term: parts.term.clone(),
        uncovered_told: false.into(),
    });
    let views = Views::new(parts.clients.views.clone(), parts.gate.clone());
    let attachments = Attachments::new(parts.clients.stores.clone(), parts.gate.clone());
    let (evictor, timeline, metrics) = (
        parts.evictor.clone(),
        parts.timeline.clone(),
        parts.metrics.clone(),
    );
    let pulse = parts.health.pulse("eviction engine", EVICTOR_SILENCE_MAX);
    let termination = Arc::new(termination::Context::new(
        parts,
        views.clone(),
        attachments.clone(),
        notifier.clone(),
    ));
    tokio::join!(
        policy::run(policy, stop.clone()),
        termination::run(termination.clone(), stop.clone()),
        evictor.run(pulse, stop.clone()),
        notifier.run(stop.clone()),
        orphans::run(termination.clone(), stop.clone()),
        prune::run(termination, stop),
    );
    views.close_all();
    attachments.close();
    timeline.clear();
    metrics.clear();
}

/// Waits until every store has been filled once: a node that is not known yet is not a node that is gone.
async fn warm(parts: &Parts) {
    let ((), (), policies, terminations) = tokio::join!(
        parts.nodes.synced(),
        parts.evictor.budgets_known(),
        parts.policies.synced(),
        parts.terminations.synced()
    );
    if !(policies && terminations) {
        tracing::error!("a store's watch has ended");
    }
}
