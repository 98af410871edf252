//! Clients of their own for each sort of traffic, and so connections: an eviction never holds what a cordon waits for.

mod lanes;

use std::time::Instant;

use kube::client::ClientBuilder;
use kube::{Client, Config};
use tower::util::MapFutureLayer;

use super::{outage, requests};
use crate::clock::{self, Server};
pub use lanes::Lanes;

/// The clients of the four sorts of traffic.
#[derive(Clone)]
pub struct Clients {
    /// Records, cordons, status, lease, events.
    pub control: Client,
    /// Lists and watches of the stores, a handful: each watch keeps a connection of its own.
    pub stores: Client,
    /// The pods of the nodes that drain: hundreds of watches.
    pub views: Lanes,
    /// Evictions and deletions of pods, which may take 30 seconds each.
    pub evictions: Client,
}

impl Clients {
    /// Clients for the cluster of the kubeconfig or of the pod we run in.
    ///
    /// kube's own retries are off: they would hide a disruption budget's refusal, which is a 429, behind up to
    /// fifteen more requests. Every caller of ours looks again by itself.
    ///
    /// # Errors
    /// The configuration can not be found or read.
    pub async fn infer() -> anyhow::Result<Self> {
        let mut config = Config::infer().await?;
        config.default_retry = false;
        let client = |name| {
            let heard = MapFutureLayer::new(move |answer| heard(answer, name));
            ClientBuilder::try_from(config.clone())
                .map(|builder| builder.with_layer(&heard).build())
        };
        Ok(Self {
            control: client("control")?,
            stores: client("stores")?,
            views: Lanes::new(&config)?,
            evictions: client("evictions")?,
        })
    }
}

#[cfg(test)]
impl Clients {
    /// One client for all traffic.
    pub(crate) fn one(client: &Client) -> Self {
        Self {
            control: client.clone(),
            stores: client.clone(),
            views: Lanes::one(client),
            evictions: client.clone(),
        }
    }
}

/// Every answer tells what time it is, and that the API server is there. That of a watch begins at once.
async fn heard<B, E>(
    answer: impl Future<Output = Result<http::Response<B>, E>>,
    client: &'static str,
) -> Result<http::Response<B>, E> {
    let sent = Instant::now();
    let result = answer.await;
    let well = |answer: &http::Response<B>| !answer.status().is_server_error();
    outage::ended(result.as_ref().is_ok_and(well));
    let code = result.as_ref().ok().map(|answer| answer.status().as_u16());
    requests::answered(client, code);
    if let Ok(answer) = &result {
        let date = answer.headers().get(http::header::DATE);
        let date = date.and_then(|d| d.to_str().ok());
        clock::heard(Server::Api, date, sent.elapsed());
    }
    result
}
