//! A controller from start to end: what every replica keeps, who leads, and how it stops.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::Context;
use node_termination_operator::api::policy::TerminationPolicy;
use node_termination_operator::api::termination::NodeTermination;
use node_termination_operator::aws::{self, Aws};
use node_termination_operator::cluster::events::Events;
use node_termination_operator::cluster::{self, AgentWatch, Clients, Gate, Nodes, Objects};
use node_termination_operator::controller::{
    self, Evictor, HandOver, NotifyOptions, Parts, Standing, Term,
};
use node_termination_operator::telemetry::{self, Health, Timeline};
use node_termination_operator::{clock, leader, source};
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{METRICS_PREFIX, terminated};
use crate::args::Controller;

/// The lease's name.
const LEASE: &str = "node-termination-operator";
/// Calls in flight get this long after SIGTERM; then the lease is released and the process ends, within five seconds.
const GRACE: Duration = Duration::from_secs(3);
/// How long the release of the lease may take.
const RELEASE: Duration = Duration::from_secs(1);

/// Runs a controller until SIGTERM or SIGINT.
pub(super) async fn serve(options: &Controller) -> anyhow::Result<()> {
    let server = telemetry::bind(options.process.http_address).await?;
    let clients = Clients::infer()
        .await
        .context("no cluster: set KUBECONFIG, or run in a pod")?;
    let (identity, namespace) = (options.identity(), options.namespace());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), identity, namespace, http = %server.address(), "starts");

    let mut registry = Registry::with_prefix(METRICS_PREFIX);
    clock::register(&mut registry);
    cluster::register(&mut registry);
    telemetry::register_build(&mut registry, "controller");
    let (health, stop) = (Health::default(), CancellationToken::new());
    let lease = leader::Config {
        namespace: namespace.clone(),
        name: LEASE.to_owned(),
        identity: identity.clone(),
        lease_duration: options.lease_duration(),
    };
    let elector = leader::Elector::new(
        clients.control.clone(),
        lease,
        leader::Metrics::register(&mut registry),
    );
    let term = Term::new(elector.until());
    let notifications = NotifyOptions {
        namespace: namespace.clone(),
        allow_http: options.allow_http_notifications,
        cluster: options.cluster_name(),
    };
    let parts = parts(
        clients,
        &mut registry,
        &health,
        (notifications, &identity, term),
        &stop,
    )?;

    tokio::spawn(server.serve(
        Arc::new(RwLock::new(registry)),
        health.clone(),
        stop.clone(),
    ));
    tokio::spawn(readiness(
        parts.clone(),
        elector.failing(),
        health,
        stop.clone(),
    ));

    let (leading, step_down) = (elector.subscribe(), elector.step_down());
    let resign = CancellationToken::new();
    let mut election = tokio::spawn(elector.run(resign.clone()));
    let mut work = tokio::spawn(lead_when_elected(parts, leading, step_down, stop.clone()));

    tokio::select! {
        told = terminated() => told?,
        // The lease must not outlive the work: another replica can do it.
        ended = &mut work => anyhow::bail!("the controllers ended by themselves: {ended:?}"),
        ended = &mut election => anyhow::bail!("the election ended by itself: {ended:?}"),
    }
    tracing::info!("stops");
    stop.cancel();
    if tokio::time::timeout(GRACE, work).await.is_err() {
        tracing::warn!("calls in flight did not end in time");
    }
    resign.cancel();
    let _ = tokio::time::timeout(RELEASE, election).await;
    tracing::info!("stopped");
    Ok(())
}

/// What every replica keeps: stores, filled by watches, and the ways out.
fn parts(
    clients: Clients,
    registry: &mut Registry,
    health: &Health,
    (notifications, identity, term): (NotifyOptions, &str, Term),
    stop: &CancellationToken,
) -> anyhow::Result<Parts> {
    let gate = Gate::default();
    let nodes = Arc::new(Nodes::default());
    let metrics = controller::Metrics::register(registry);
    let events = Events::start(clients.control.clone(), identity.to_owned(), stop.clone());
    let evictor = Arc::new(Evictor::new(
        clients.evictions.clone(),
        gate.clone(),
        metrics.clone(),
        events.clone(),
        term.clone(),
    ));
    tokio::spawn(cluster::watch::nodes(
        clients.stores.clone(),
        nodes.clone(),
        stop.clone(),
    ));
    let engine = evictor.clone();
    let budgets = cluster::watch::budgets(clients.stores.clone(), stop.clone(), move |event| {
        engine.budgets(event);
    });
    tokio::spawn(budgets);
    let policies = Objects::<TerminationPolicy>::start(clients.stores.clone(), stop.clone());
    let terminations = Objects::<NodeTermination>::start(clients.stores.clone(), stop.clone());
    Standing::register(registry, &terminations, &policies, &metrics);
    Ok(Parts {
        policies,
        terminations,
        aws: Aws::new(aws::Metrics::register(registry))?,
        events,
        timeline: Timeline::register(registry),
        source_metrics: source::Metrics::register(registry).begun_at_zero(),
        health: health.clone(),
        agents: AgentWatch::start(
            clients.stores.clone(),
            &notifications.namespace,
            stop.clone(),
        ),
        hand_over: HandOver::default(),
        term,
        own_pod: format!("{}/{identity}", notifications.namespace),
        notifications,
        clients,
        nodes,
        evictor,
        gate,
        metrics,
    })
}

/// Leads whenever elected; what was begun ends before the next election is heard.
async fn lead_when_elected(
    parts: Parts,
    mut leading: watch::Receiver<bool>,
    step_down: Arc<Notify>,
    stop: CancellationToken,
) {
    while stop.run_until_cancelled(becomes(&mut leading, true)).await == Some(true) {
        let term = stop.child_token();
        parts.hand_over.begin_term();
        let mut work = tokio::spawn(controller::lead(parts.clone(), term.clone()));
        tokio::select! {
            biased;
            // Nothing is left to hand over then.
            _ = becomes(&mut leading, false) => {}
            () = parts.hand_over.asked() => {
                term.cancel();
                // A call that takes longer does no harm: it carries the UID or version that it was decided by.
                let _ = tokio::time::timeout(GRACE, &mut work).await;
                parts.hand_over.done();
                step_down.notify_one();
                let _ = becomes(&mut leading, false).await;
            }
            () = stop.cancelled() => {}
            // Nobody told it to end.
            _ = &mut work => return,
        }
        term.cancel();
        if !work.is_finished() {
            let _ = work.await;
        }
    }
}

/// Waits until we lead, or lead no more. `false`: the election has ended.
async fn becomes(leading: &mut watch::Receiver<bool>, wanted: bool) -> bool {
    leading.wait_for(|leads| *leads == wanted).await.is_ok()
}

/// Ready: the stores are filled, so the API server is reachable and serves our kinds. Lists what is missing.
async fn readiness(
    parts: Parts,
    mut api_failing: watch::Receiver<Option<&'static str>>,
    health: Health,
    stop: CancellationToken,
) {
    let nodes = health.check("nodes");
    let policies = health.check("terminationpolicies");
    let terminations = health.check("nodeterminations");
    let api = health.check("api server");
    policies.set_missing("not listed yet: are the custom resource definitions installed?");
    terminations.set_missing("not listed yet: are the custom resource definitions installed?");
    let synced = async {
        tokio::join!(
            async {
                if parts.policies.synced().await {
                    policies.set_ready();
                }
            },
            async {
                if parts.terminations.synced().await {
                    terminations.set_ready();
                }
            },
            async {
                parts.nodes.synced().await;
                nodes.set_ready();
            },
        )
    };
    let reachable = async {
        loop {
            match *api_failing.borrow_and_update() {
                None => api.set_ready(),
                Some(reason) => api.set_missing(format!("the lease can not be read: {reason}")),
            }
            if api_failing.changed().await.is_err() {
                return;
            }
        }
    };
    let _ = stop
        .run_until_cancelled(async { tokio::join!(synced, reachable) })
        .await;
}
