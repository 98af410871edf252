//! Effects on AWS in our own words: queues of notices, lifecycle hooks of Auto Scaling groups, instances by their tags and
//! reservations, instance metadata.
//!
//! An error of the SDK becomes a [`Reason`] of ours here and nowhere else. Nothing here retries: whoever calls knows how
//! long a call is still worth it, backs off, and sees every single call in the metrics.

mod accounts;
mod call;
mod error;
mod hooks;
mod instances;
mod lifecycle;
mod metadata;
mod metrics;
mod proxy;
mod queue;
#[cfg(test)]
mod tests;
mod time;

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_sdk_sqs::config::SharedHttpClient;
use tokio::sync::{Mutex, Semaphore};

use accounts::{Accounts, Clients};

pub use error::{Error, Operation, Reason};
pub use hooks::HookCache;
pub use instances::{Instances, Reservations, States};
pub use lifecycle::{Hook, Instance, Lifecycle, LifecycleAction, LifecycleResult};
pub use metadata::{Document, Metadata};
pub use metrics::Metrics;
pub use proxy::BadProxy;
pub use queue::{Message, Queue, ReceiptHandle};

/// The most calls to Auto Scaling in flight at once, over all accounts: its API is throttled per account and region, and
/// the same allowance serves the group's own scaling.
const AUTO_SCALING_CALLS: usize = 8;

/// Where a call goes and with whose credentials.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Account {
    /// The AWS region, such as `eu-west-1`.
    pub region: String,
    /// The IAM role to assume; without one the operator's own credentials are used.
    pub role_arn: Option<String>,
    /// The external ID that the role's trust policy asks for.
    pub external_id: Option<String>,
}

/// The way into AWS: one HTTP client for everything, credentials cached per [`Account`]. Clones share all of it.
///
/// The standard environment (`AWS_ENDPOINT_URL`, `AWS_ROLE_ARN`, profiles, `HTTPS_PROXY`, …) is honoured.
#[derive(Clone, Debug)]
pub struct Aws {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    http: SharedHttpClient,
    accounts: Mutex<Accounts>,
    auto_scaling: Arc<Semaphore>,
    metrics: Metrics,
}

impl Aws {
    /// A way into AWS that counts its calls in `metrics`. Nothing is sent before the first use of an account.
    ///
    /// # Errors
    /// The environment names a proxy that is none.
    pub fn new(metrics: Metrics) -> Result<Self, BadProxy> {
        let shared = Shared {
            http: proxy::http_client(proxy::of_env()?),
            accounts: Mutex::default(),
            auto_scaling: Arc::new(Semaphore::new(AUTO_SCALING_CALLS)),
            metrics,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The queue at `url`, used as `account`. Sends nothing: a missing queue or role shows at the first call.
    pub async fn queue(&self, account: &Account, url: &str) -> Queue {
        let clients = self.clients(account).await;
        Queue::new(clients.sqs, url, self.shared.metrics.clone())
    }

    /// The Auto Scaling groups of `account`. Sends nothing.
    pub async fn lifecycle(&self, account: &Account) -> Lifecycle {
        let clients = self.clients(account).await;
        let permits = Arc::clone(&self.shared.auto_scaling);
        Lifecycle::new(clients.auto_scaling, permits, self.shared.metrics.clone())
    }

    /// The instances of `account` that carry a tag with one of these keys. Sends nothing.
    pub async fn instances(&self, account: &Account, tag_keys: BTreeSet<String>) -> Instances {
        let clients = self.clients(account).await;
        Instances::new(clients.ec2(), tag_keys, self.shared.metrics.clone())
    }

    /// The capacity reservations of `account`. Sends nothing.
    pub async fn reservations(&self, account: &Account) -> Reservations {
        let clients = self.clients(account).await;
        Reservations::new(clients.ec2(), self.shared.metrics.clone())
    }

    /// The states of instances of `account`. Sends nothing.
    pub async fn states(&self, account: &Account) -> States {
        let clients = self.clients(account).await;
        States::new(clients.ec2(), self.shared.metrics.clone())
    }

    async fn clients(&self, account: &Account) -> Clients {
        let mut accounts = self.shared.accounts.lock().await;
        accounts.clients(account, &self.shared.http).await
    }
}
