//! The small HTTP server: `/healthz`, `/readyz` and `/metrics`.

mod bounded;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Health;
use bounded::Bounded;

/// The content type of the `OpenMetrics` text format, version 1.0.0 of its specification.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long answers under way may take to end after the stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The metrics of the process.
pub type SharedRegistry = Arc<RwLock<Registry>>;

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or is none of ours.
    #[error("cannot listen on {address}")]
    Bind {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// Listens on `address`; port 0 takes a free one. `[::]` is every address, of IPv4 too: all those of IPv4 where the
/// kernel has no IPv6.
pub async fn bind(address: SocketAddr) -> Result<Server, Error> {
    let failed = |source| Error::Bind { address, source };
    let every = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let listener = match TcpListener::bind(address).await {
        Err(error) if every && error.kind() != ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    };
    let listener = listener.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Server { listener, address })
}

impl Server {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`, and then for at most two seconds more what is under way.
    ///
    /// `/healthz` and `/readyz` answer 200, or 503 with what is wrong, one per line.
    pub async fn serve(self, registry: SharedRegistry, health: Health, stop: CancellationToken) {
        let listener = Bounded::new(self.listener);
        let stopped = stop.clone().cancelled_owned();
        let served =
            axum::serve(listener, router(registry, health)).with_graceful_shutdown(stopped);
        let patience = async {
            stop.cancelled().await;
            sleep(STOP_TIMEOUT).await;
        };
        tokio::select! {
            // Never fails: a connection that does is its own affair.
            _ = served => {}
            () = patience => {}
        }
    }
}

fn router(registry: SharedRegistry, health: Health) -> Router {
    let readiness = health.clone();
    Router::new()
        .route(
            "/healthz",
            get(async move || verdict(&health.silent(Instant::now()))),
        )
        .route("/readyz", get(async move || verdict(&readiness.missing())))
        .route("/metrics", get(async move || metrics(&registry)))
}

fn verdict(wrong: &[String]) -> (StatusCode, String) {
    if wrong.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, wrong.join("\n") + "\n")
}

fn metrics(registry: &RwLock<Registry>) -> Response {
    let registry = registry.read().unwrap_or_else(PoisonError::into_inner);
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests;
