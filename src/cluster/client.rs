//! Three clients, which are three connection pools: an eviction never holds what a cordon waits for.

use kube::{Client, Config};

/// The clients of the three sorts of traffic.
#[derive(Clone)]
pub struct Clients {
    /// Records, cordons, status, lease, events.
    pub control: Client,
    /// Lists and watches: each watch keeps a connection of its own.
    pub views: Client,
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
        let client = || Client::try_from(config.clone());
        Ok(Self {
            control: client()?,
            views: client()?,
            evictions: client()?,
        })
    }
}
