//! SDK clients per account, kept because they hold the cached credentials.

use std::collections::VecDeque;
use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::{SharedCredentialsProvider, SharedHttpClient};

use super::Account;
use super::time::{Listen, Now};

/// The most accounts kept: far more than the queues of one cluster, few enough to forget what policies no longer name.
const KEPT: usize = 64;

/// How long credentials may take to load. Shorter than the limit of a call, so that a role or metadata service that does
/// not answer is reported as such and not as a call that timed out.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(4);

/// The name under which our sessions appear in the role's audit log.
const SESSION_NAME: &str = "node-termination-operator";

/// The clients of one account; clones share connections and credentials.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    config: SdkConfig,
    pub(super) sqs: aws_sdk_sqs::Client,
    pub(super) auto_scaling: aws_sdk_autoscaling::Client,
}

impl Clients {
    pub(super) fn new(config: SdkConfig) -> Self {
        Self {
            sqs: aws_sdk_sqs::Client::from_conf(
                aws_sdk_sqs::config::Builder::from(&config)
                    .interceptor(Listen)
                    .build(),
            ),
            auto_scaling: aws_sdk_autoscaling::Client::from_conf(
                aws_sdk_autoscaling::config::Builder::from(&config)
                    .interceptor(Listen)
                    .build(),
            ),
            config,
        }
    }

    /// Made only for those who ask: few do.
    pub(super) fn ec2(&self) -> aws_sdk_ec2::Client {
        // Its answers tell no more about the time than those of the other two, which are called far more often.
        aws_sdk_ec2::Client::new(&self.config)
    }
}

/// The accounts used last, the latest at the back.
#[derive(Default, Debug)]
pub(super) struct Accounts(VecDeque<(Account, Clients)>);

impl Accounts {
    /// The clients of `account`, made on first use. The region is explicit, so nothing is asked over the network here.
    pub(super) async fn clients(&mut self, account: &Account, http: &SharedHttpClient) -> Clients {
        if let Some(clients) = self.find(account) {
            return clients;
        }
        let own = Account {
            role_arn: None,
            external_id: None,
            ..account.clone()
        };
        let own_clients = if let Some(clients) = self.find(&own) {
            clients
        } else {
            self.keep(own, Clients::new(own_config(&account.region, http).await))
        };
        let Some(role_arn) = &account.role_arn else {
            return own_clients;
        };
        let external_id = account.external_id.as_deref();
        let config = assume_role(&own_clients.config, role_arn, external_id).await;
        self.keep(account.clone(), Clients::new(config))
    }

    fn find(&mut self, account: &Account) -> Option<Clients> {
        let at = self.0.iter().position(|(kept, _)| kept == account)?;
        let entry = self.0.remove(at)?;
        let clients = entry.1.clone();
        self.0.push_back(entry);
        Some(clients)
    }

    pub(super) fn keep(&mut self, account: Account, clients: Clients) -> Clients {
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back((account, clients.clone()));
        clients
    }
}

/// The configuration of the environment, with the operator's own credentials.
pub(super) async fn own_config(region: &str, http: &SharedHttpClient) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .http_client(http.clone())
        .time_source(Now)
        .retry_config(RetryConfig::disabled())
        .identity_cache(identity_cache())
        .load()
        .await
}

/// `own`, with the credentials of a role that is assumed with the credentials of `own`.
pub(super) async fn assume_role(
    own: &SdkConfig,
    role_arn: &str,
    external_id: Option<&str>,
) -> SdkConfig {
    let mut role = AssumeRoleProvider::builder(role_arn)
        .session_name(SESSION_NAME)
        .configure(own);
    if let Some(external_id) = external_id {
        role = role.external_id(external_id);
    }
    let credentials = SharedCredentialsProvider::new(role.build().await);
    own.to_builder()
        .credentials_provider(credentials)
        .identity_cache(identity_cache())
        .build()
}

fn identity_cache() -> impl aws_sdk_sqs::config::ResolveCachedIdentity + 'static {
    IdentityCache::lazy()
        .load_timeout(CREDENTIALS_TIMEOUT)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(number: usize) -> Account {
        Account {
            region: format!("eu-west-{number}"),
            role_arn: None,
            external_id: None,
        }
    }

    #[test]
    fn the_account_unused_for_longest_is_forgotten() {
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .build();
        let mut accounts = Accounts::default();
        for number in 0..KEPT {
            accounts.keep(account(number), Clients::new(config.clone()));
        }
        assert!(accounts.find(&account(0)).is_some());

        accounts.keep(account(KEPT), Clients::new(config));

        assert_eq!(accounts.0.len(), KEPT);
        assert!(accounts.find(&account(0)).is_some());
        assert!(accounts.find(&account(1)).is_none());
    }
}
