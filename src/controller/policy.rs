//! The policy controller: keeps the monitors that policies ask for, and tells each policy how it is doing.

mod coverage;
mod status;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use kube::ResourceExt;
use kube::runtime::controller::{self, Action};
use kube::runtime::{applier, reflector::ObjectRef};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Notifier;
use super::metrics::Metrics;
use super::received::received;
use super::term::Term;
use crate::api::policy::TerminationPolicy;
use crate::api::termination::NodeTermination;
use crate::cluster::{self, AgentWatch, CALL_TIMEOUT, Clients, Guarded, Nodes, Objects};
use crate::source::{Supervisor, supervisor};
use crate::telemetry::Health;
use coverage::Survey;

/// Counts of nodes and open incidents may be this old.
const RECOUNT: Duration = Duration::from_secs(30);
/// A failed status write is tried again after this.
const RETRY: Duration = Duration::from_secs(5);

/// Everything that a pass may look at or act through.
pub struct Context {
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
    /// Who tells others.
    pub notifier: Arc<Notifier>,
    /// The monitors.
    pub supervisor: Arc<Supervisor>,
    /// What is counted.
    pub metrics: Metrics,
    /// Where the loop shows that it turns.
    pub health: Health,
    /// How long leadership lasts.
    pub term: Term,
    /// Whether the log says that spot nodes have no policy.
    pub uncovered_told: AtomicBool,
}

/// A pass that must be tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The status could not be written.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
}

/// Runs the controller until `stop`, then stops all monitors.
pub async fn run(context: Arc<Context>, stop: CancellationToken) {
    let pulse = context.health.pulse("policy controller", CALL_TIMEOUT * 6);
    let triggers = triggers(&context).take_until(stop.cancelled_owned());
    let (store, supervisor) = (context.policies.store(), context.supervisor.clone());
    let config = controller::Config::default();
    let mut passes = applier(
        |policy, context| Box::pin(reconcile(policy, context)),
        back_off,
        context,
        store,
        triggers.boxed(),
        config,
    )
    .boxed();
    let mut turn = tokio::time::interval(RETRY);
    loop {
        tokio::select! {
            pass = passes.next() => if pass.is_none() { break },
            _ = turn.tick() => pulse.beat(),
        }
    }
    supervisor.stop().await;
}

/// All policies once, then each that changes, and all of them when a monitor's or the agents' state changes, and when
/// nodes come that others drain, or that are spot instances.
fn triggers(
    context: &Arc<Context>,
) -> impl Stream<Item = Result<ObjectRef<Guarded<TerminationPolicy>>, Infallible>> + Send + use<> {
    let policies = received(context.policies.changes());
    // Whichever monitor it was: all policies are looked at.
    let monitors = received(context.supervisor.changes()).map(|_| None);
    let agents = changed(context.agents.changes()).map(|()| None);
    let denied = changed(cluster::denied::changes()).map(|()| None);
    let nodes = coverage::changes(context.nodes.clone()).map(|()| None);
    let others = [
        monitors.boxed(),
        agents.boxed(),
        denied.boxed(),
        nodes.boxed(),
    ];
    let others = stream::select_all(others);
    let context = context.clone();
    stream::once(async { None })
        .chain(stream::select(policies.boxed(), others))
        .flat_map(move |changed| {
            // A change may be a deletion, for which no pass runs: monitors are set right here.
            context.set_monitors();
            context.survey();
            stream::iter(changed.map_or_else(|| context.policies.references(), |one| vec![one]))
        })
        .map(Ok)
}

/// Each change of a watched value, until it changes no more.
fn changed<T>(value: watch::Receiver<T>) -> impl Stream<Item = ()> + Send
where
    T: Send + Sync + 'static,
{
    stream::unfold(value, async |mut value| {
        value.changed().await.ok().map(|()| ((), value))
    })
}

impl Context {
    fn set_monitors(&self) {
        let policies: Vec<_> = self.policies.all().collect();
        let wanted = supervisor::wanted(policies.iter().filter_map(|p| p.0.as_ref().ok()));
        self.supervisor.run_exactly(&wanted);
    }

    /// Looks at all nodes, and tells of spot nodes without a policy: there may be no policy that could.
    fn survey(&self) -> Survey {
        let survey = Survey::of(&self.nodes.all(), &self.policies.ranking());
        self.metrics.uncovered(survey.uncovered().count());
        let found = survey.spot_nodes_uncovered();
        let told = self.uncovered_told.swap(found.is_some(), Ordering::Relaxed);
        if let Some((_, message)) = found.filter(|_| !told) {
            tracing::warn!(message, "spot nodes have no policy");
        }
        survey
    }
}

#[tracing::instrument(skip_all, fields(terminationpolicy = policy.name_any()))]
async fn reconcile(
    policy: Arc<Guarded<TerminationPolicy>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let Ok(policy) = &policy.0 else {
        tracing::error!("the stored policy can not be read; it is skipped");
        return Ok(Action::await_change());
    };
    let troubles = context.notifier.troubles(policy).await;
    let status = status::of(policy, &troubles, &context);
    if policy
        .status
        .as_ref()
        .is_none_or(|stored| status::differs(stored, &status))
    {
        if context.term.is_over() {
            // Unless the lease was renewed in this very moment, whoever leads next says how the policy is doing.
            return Ok(Action::requeue(RETRY));
        }
        let written =
            cluster::status::report_policy(&context.clients.control, policy, &status).await;
        context.metrics.pass(
            "policy",
            written
                .as_ref()
                .map_or_else(cluster::Error::reason, |()| "Success"),
        );
        match written {
            Err(error) if error.is_not_found() => return Ok(Action::await_change()),
            other => other?,
        }
    }
    Ok(Action::requeue(RECOUNT))
}

#[allow(clippy::needless_pass_by_value, reason = "the signature is kube's")]
fn back_off(
    policy: Arc<Guarded<TerminationPolicy>>,
    error: &Error,
    _context: Arc<Context>,
) -> Action {
    tracing::warn!(terminationpolicy = policy.name_any(), %error, "pass failed, trying again");
    Action::requeue(RETRY)
}

#[cfg(test)]
mod tests;
