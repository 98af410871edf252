//! Many watches over few connections: HTTP/2, as client-go does it.
//!
//! Over HTTP/1.1 each watch keeps a connection with its TLS state and buffers, 0.2 MB, and opens it when the API server
//! has the least time for a handshake. A server that only speaks HTTP/1.1 gets that.

use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client as Http, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config};
use tower::BoxError;
use tower::util::{MapErrLayer, MapFutureLayer, option_layer};

/// kube-apiserver serves 100 requests at once over one connection (`--http2-max-streams-per-connection`), and there are
/// at most 256 views.
const LANES: usize = 4;
/// A connection on which nothing was heard for so long is asked whether it is alive,
const PING_AFTER: Duration = Duration::from_secs(10);
/// and given up when it does not answer within this.
const PONG_WITHIN: Duration = Duration::from_secs(5);

/// Connections that long-lived requests share; cheap to clone.
#[derive(Clone)]
pub struct Lanes(Arc<[Arc<Client>; LANES]>);

impl Lanes {
    /// A client for each connection. None is opened yet.
    ///
    /// # Errors
    /// The credentials of the configuration can not be used.
    pub(super) fn new(config: &Config) -> anyhow::Result<Self> {
        let lane = || lane(config).map(Arc::new);
        Ok(Self(Arc::new([lane()?, lane()?, lane()?, lane()?])))
    }

    /// One client for all of them.
    #[cfg(test)]
    pub(super) fn one(client: &Client) -> Self {
        Self(Arc::new(std::array::from_fn(|_| Arc::new(client.clone()))))
    }

    /// The one with the fewest users. Whoever holds it counts as one.
    #[must_use]
    pub fn least_used(&self) -> Arc<Client> {
        let [first, others @ ..] = &*self.0;
        let fewer = |a, b| if users(b) < users(a) { b } else { a };
        others.iter().fold(first, fewer).clone()
    }
}

fn users(lane: &Arc<Client>) -> usize {
    Arc::strong_count(lane)
}

/// kube's own stack, but for the protocol, which it does not let one choose.
fn lane(config: &Config) -> anyhow::Result<Client> {
    let http: Http<_, Body> = Http::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(PING_AFTER)
        .http2_keep_alive_timeout(PONG_WITHIN)
        .build(connector(config)?);
    let client = ClientBuilder::new(http, &config.default_namespace)
        .with_layer(&config.base_uri_layer())
        .with_layer(&MapErrLayer::new(BoxError::from))
        .with_layer(&option_layer(config.auth_layer()?))
        .with_layer(&config.extra_headers_layer()?)
        .with_layer(&MapFutureLayer::new(|answer| super::heard(answer, "views")));
    Ok(client.build())
}

fn connector(config: &Config) -> anyhow::Result<HttpsConnector<HttpConnector>> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(config.connect_timeout);
    let mut tls = HttpsConnectorBuilder::new()
        .with_tls_config(config.rustls_client_config()?)
        .https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = name.clone().try_into()?;
        tls = tls.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    Ok(tls.enable_all_versions().wrap_connector(tcp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn users_spread_over_all_lanes_and_a_lane_that_was_left_is_the_next() {
        let config = Config::new("http://127.0.0.1:1".parse().unwrap());
        let lanes = Lanes::new(&config).unwrap();
        let mut held: Vec<_> = (0..8).map(|_| lanes.least_used()).collect();
        assert!(
            lanes.0.iter().all(|lane| users(lane) == 3),
            "its own and two"
        );
        let left = held.remove(5);
        let place = Arc::as_ptr(&left);
        drop(left);
        assert_eq!(Arc::as_ptr(&lanes.least_used()), place);
    }
}
