//! The lease in the cluster: read, and written only as it was read.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};

use super::Config;

/// Why a lease could not be read or written. To be too late is no error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server did not answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The API server refused: most often a missing permission.
    #[error("refused: {0}")]
    Refused(#[source] kube::Error),
    /// The API server was not reached, or its answer not understood.
    #[error("request failed: {0}")]
    Failed(#[source] kube::Error),
}

impl Error {
    /// The word for logs and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TimedOut(_) => "TimedOut",
            Self::Refused(_) => "Refused",
            Self::Failed(_) => "Failed",
        }
    }
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(_) => Self::Refused(error),
            _ => Self::Failed(error),
        }
    }
}

/// The one lease, and who we are in it.
#[derive(Clone, Debug)]
pub(super) struct Leases {
    api: Api<Lease>,
    name: String,
    identity: String,
    duration_seconds: i32,
}

impl Leases {
    pub(super) fn new(client: Client, config: &Config) -> Self {
        // Rounded up: a candidate that waits longer than we think does no harm.
        let duration = config.lease_duration;
        let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
        Self {
            api: Api::namespaced(client, &config.namespace),
            name: config.name.clone(),
            identity: config.identity.clone(),
            duration_seconds: i32::try_from(seconds).unwrap_or(i32::MAX),
        }
    }

    pub(super) async fn get(&self) -> Result<Option<Lease>, Error> {
        Ok(self.api.get_opt(&self.name).await?)
    }

    /// Creates the lease as ours; false if somebody was faster.
    pub(super) async fn create(&self) -> Result<bool, Error> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(self.spec(None)),
        };
        written(self.api.create(&PostParams::default(), &lease).await)
    }

    /// Writes the lease as ours over `seen`; false if it has changed since.
    pub(super) async fn hold(&self, mut seen: Lease) -> Result<bool, Error> {
        seen.spec = Some(self.spec(seen.spec.as_ref()));
        self.replace(&seen).await
    }

    /// Gives the lease up, as client-go does: no holder, a duration of one second. False if it is not ours.
    pub(super) async fn release(&self) -> Result<bool, Error> {
        let Some(mut lease) = self.get().await? else {
            return Ok(false);
        };
        let Some(spec) = lease.spec.as_mut() else {
            return Ok(false);
        };
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            return Ok(false);
        }
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        self.replace(&lease).await
    }

    async fn replace(&self, lease: &Lease) -> Result<bool, Error> {
        let params = PostParams::default();
        written(self.api.replace(&self.name, &params, lease).await)
    }

    /// The lease as ours, after `seen`. The times are for readers; nobody's decision rests on them.
    fn spec(&self, seen: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let mut spec = seen.cloned().unwrap_or_default();
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            let taken_over = i32::from(seen.is_some());
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default() + taken_over);
            spec.acquire_time = Some(now.clone());
            spec.holder_identity = Some(self.identity.clone());
        }
        spec.renew_time = Some(now);
        spec.lease_duration_seconds = Some(self.duration_seconds);
        spec
    }
}

/// 409: created or changed by somebody else since we looked.
fn written(result: kube::Result<Lease>) -> Result<bool, Error> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error.into()),
    }
}
