//! An agent from start to end: one watch, one monitor.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::Context;
use node_termination_operator::api::policy::TerminationPolicy;
use node_termination_operator::aws::{self, Metadata};
use node_termination_operator::clock;
use node_termination_operator::cluster::{Clients, Gate, Nodes, Objects, outage};
use node_termination_operator::source::{self, Recorder, imds};
use node_termination_operator::telemetry::{self, Health, Timeline};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use super::{METRICS_PREFIX, terminated};
use crate::args::Agent;

/// A record in flight gets this long after SIGTERM. One that is cut off is sent again by the next agent.
const GRACE: Duration = Duration::from_secs(1);

/// Runs an agent until SIGTERM or SIGINT.
pub(super) async fn serve(options: &Agent) -> anyhow::Result<()> {
    let server = telemetry::bind(options.process.http_address).await?;
    let clients = Clients::infer()
        .await
        .context("no cluster: run in a pod, or set KUBECONFIG")?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), http = %server.address(), "starts");

    let mut registry = Registry::with_prefix(METRICS_PREFIX);
    clock::register(&mut registry);
    outage::register(&mut registry);
    let (health, stop) = (Health::default(), CancellationToken::new());
    let monitor = monitor(&clients, &mut registry, &health, &stop);
    let registry = Arc::new(RwLock::new(registry));
    tokio::spawn(server.serve(registry, health, stop.clone()));
    let mut work = tokio::spawn(monitor.run(stop.clone()));
    tokio::select! {
        told = terminated() => told?,
        ended = &mut work => anyhow::bail!("the monitor ended by itself: {ended:?}"),
    }
    tracing::info!("stops");
    stop.cancel();
    let _ = tokio::time::timeout(GRACE, work).await;
    Ok(())
}

fn monitor(
    clients: &Clients,
    registry: &mut Registry,
    health: &Health,
    stop: &CancellationToken,
) -> imds::Monitor {
    let recorder = Recorder {
        client: clients.control.clone(),
        gate: Gate::default(),
        nodes: Arc::new(Nodes::default()),
        policies: Objects::<TerminationPolicy>::start(clients.stores.clone(), stop.clone()),
        timeline: Timeline::register(registry),
        metrics: source::Metrics::register(registry),
    };
    imds::Monitor {
        metadata: Metadata::new(aws::Metrics::register(registry)),
        recorder,
        health: health.clone(),
        state: imds::State::register(registry, health),
    }
}
