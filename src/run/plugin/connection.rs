//! The cluster that the kubeconfig names, and the plugin's calls to it: each under a time-out.

use std::fmt::Debug;
use std::time::Duration;

use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::DeserializeGuard;
use kube::{Api, Client, Config, Resource};
use node_termination_operator::api::policy::{Ranking, TerminationPolicy};
use node_termination_operator::api::termination::NodeTermination;
use node_termination_operator::drain::budget::BudgetObject;
use node_termination_operator::drain::node::NodeObject;
use node_termination_operator::drain::pod::PodObject;
use node_termination_operator::drain::{Budget, Node, Pod};
use node_termination_operator::plugin::FIELD_MANAGER;
use node_termination_operator::plugin::args::Connection;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::failure::{Error, chain};

/// How long one call may take: a credential plugin, a VPN and a busy API server together.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How many objects one page of a list holds, as kubectl's `--chunk-size`.
const PAGE: u32 = 500;
/// A cluster, as a user.
pub(super) struct Cluster {
    client: Client,
    url: String,
    /// A proxy is set, and not used.
    proxied: bool,
}

impl Cluster {
    /// The cluster of the kubeconfig, or of the pod we run in. Nothing is asked yet.
    pub(super) async fn connect(connection: &Connection) -> Result<Self, Error> {
        let mut config = config(connection).await?;
        let proxied = config.proxy_url.take().is_some();
        if let Some(user) = &connection.impersonate {
            config.auth_info.impersonate = Some(user.clone());
            let groups = connection.impersonate_groups.clone();
            config.auth_info.impersonate_groups = Some(groups).filter(|g| !g.is_empty());
        }
        let url = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| Error::Config(chain(&error)))?;
        Ok(Self {
            client,
            url,
            proxied,
        })
    }

    /// All NodeTerminations, for a watch. One that can not be read stops no other.
    pub(super) fn records(&self) -> Api<DeserializeGuard<NodeTermination>> {
        Api::all(self.client.clone())
    }

    /// All NodeTerminations, or those of the node of that name.
    pub(super) async fn list(&self, node: Option<&str>) -> Result<Vec<NodeTermination>, Error> {
        let only = node.map(|node| format!("spec.nodeName={node}"));
        self.list_records(only).await
    }

    /// The NodeTermination of that name, if there is one. It is listed, for the answer to a get does not tell whether the kind
    /// is missing or the object.
    pub(super) async fn record(&self, name: &str) -> Result<Option<NodeTermination>, Error> {
        let found = self.list_records(Some(format!("metadata.name={name}")));
        Ok(found.await?.pop())
    }

    async fn list_records(&self, only: Option<String>) -> Result<Vec<NodeTermination>, Error> {
        let found = self.list_all(self.records(), "list NodeTerminations", only);
        let found = found
            .await
            .map_err(|error| not_installed(error, "NodeTermination"))?;
        Ok(readable(found, "NodeTerminations"))
    }

    /// Makes it.
    pub(super) async fn create(&self, object: &NodeTermination) -> Result<NodeTermination, Error> {
        let api = Api::<NodeTermination>::all(self.client.clone());
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let made = api.create(&params, object);
        let made = self.call("create the NodeTermination", made).await;
        made.map_err(|error| not_installed(error, "NodeTermination"))
    }

    /// Merges `body` into the NodeTermination of that name.
    pub(super) async fn patch(&self, name: &str, body: &Value) -> Result<NodeTermination, Error> {
        let api = Api::<NodeTermination>::all(self.client.clone());
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(body);
        self.call(
            "change the NodeTermination",
            api.patch(name, &params, &patch),
        )
        .await
    }

    /// The Node of that name, if there is one.
    pub(super) async fn node(&self, name: &str) -> Result<Option<Node>, Error> {
        let api = Api::<NodeObject>::all(self.client.clone());
        let found = self.call("get the Node", api.get_opt(name)).await?;
        Ok(found.map(Node::from))
    }

    /// The names of all nodes.
    pub(super) async fn node_names(&self) -> Result<Vec<String>, Error> {
        let api = Api::<NodeObject>::all(self.client.clone());
        let nodes = self.list_all(api, "list Nodes", None).await?;
        Ok(nodes.into_iter().map(|n| Node::from(n).name).collect())
    }

    /// Which policy speaks for which node.
    pub(super) async fn policies(&self) -> Result<Ranking, Error> {
        let api = Api::<DeserializeGuard<TerminationPolicy>>::all(self.client.clone());
        let found = self.list_all(api, "list TerminationPolicies", None).await;
        let found = found.map_err(|error| not_installed(error, "TerminationPolicy"))?;
        Ok(Ranking::of(&readable(found, "TerminationPolicies")))
    }

    /// The pods of a node.
    pub(super) async fn pods(&self, node: &str) -> Result<Vec<Pod>, Error> {
        let api = Api::<PodObject>::all(self.client.clone());
        let only = Some(format!("spec.nodeName={node}"));
        let found = self.list_all(api, "list the node's Pods", only).await?;
        Ok(found.into_iter().map(Pod::from).collect())
    }

    /// All disruption budgets.
    pub(super) async fn budgets(&self) -> Result<Vec<Budget>, Error> {
        let api = Api::<BudgetObject>::all(self.client.clone());
        let found = self.list_all(api, "list PodDisruptionBudgets", None);
        Ok(found.await?.into_iter().map(Budget::from).collect())
    }

    async fn list_all<K>(
        &self,
        api: Api<K>,
        act: &'static str,
        only: Option<String>,
    ) -> Result<Vec<K>, Error>
    where
        K: Resource + Clone + DeserializeOwned + Debug,
    {
        let mut params = ListParams {
            field_selector: only,
            ..ListParams::default().limit(PAGE)
        };
        let mut found = Vec::new();
        loop {
            let page = self.call(act, api.list(&params)).await?;
            found.extend(page.items);
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok(found);
            }
        }
    }

    async fn call<T>(
        &self,
        act: &'static str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(answer) => answer.map_err(|error| self.failed(act, error)),
            Err(_) => Err(self.unreachable(act, "no answer within 30 s")),
        }
    }

    /// The sentence for a call that has failed.
    pub(super) fn failed(&self, act: &'static str, error: kube::Error) -> Error {
        match error {
            kube::Error::Api(status) if status.is_forbidden() => Error::Forbidden {
                act,
                message: status.message,
            },
            kube::Error::Api(status) if status.code == 401 => Error::Unknown {
                act,
                message: status.message,
            },
            kube::Error::Api(status) => Error::Refused { act, status },
            kube::Error::Auth(error) => Error::Config(chain(&error)),
            kube::Error::SerdeError(error) => Error::Said(format!(
                "{act}: the answer can not be read: {error}; is this plugin older than the operator?"
            )),
            other => self.unreachable(act, &chain(&other)),
        }
    }

    fn unreachable(&self, act: &'static str, why: &str) -> Error {
        let proxy = if self.proxied {
            "; a proxy is set (HTTPS_PROXY, or proxy-url of the kubeconfig), which the plugin does not use"
        } else {
            ""
        };
        Error::Unreachable {
            act,
            url: self.url.clone(),
            why: format!("{why}{proxy}"),
        }
    }
}

async fn config(connection: &Connection) -> Result<Config, Error> {
    let options = KubeConfigOptions {
        context: connection.context.clone(),
        cluster: connection.cluster.clone(),
        user: connection.user.clone(),
    };
    let chosen = connection.kubeconfig.is_some()
        || options.context.is_some()
        || options.cluster.is_some()
        || options.user.is_some();
    let file = match &connection.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let config = match file {
        Ok(file) => Config::from_custom_kubeconfig(file, &options).await,
        Err(error) => Err(error),
    };
    match config {
        Ok(config) => Ok(config),
        // In a pod there is no kubeconfig, and none is missed.
        Err(error) if !chosen => Config::incluster().map_err(|_| Error::Config(chain(&error))),
        Err(error) => Err(Error::Config(chain(&error))),
    }
}

/// A list of a kind that the API server does not know is not found.
fn not_installed(error: Error, kind: &str) -> Error {
    if error.code() == Some(404) {
        return Error::NotInstalled(kind.to_owned());
    }
    error
}

/// The objects that can be read; how many can not is told.
fn readable<K>(objects: Vec<DeserializeGuard<K>>, kinds: &str) -> Vec<K> {
    let all = objects.len();
    let read: Vec<K> = objects.into_iter().filter_map(|o| o.0.ok()).collect();
    if read.len() < all {
        let unread = all - read.len();
        super::note(&format!(
            "warning: {unread} of {all} {kinds} can not be read; is this plugin older than the operator?"
        ));
    }
    read
}
