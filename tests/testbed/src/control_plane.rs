//! A whole Kubernetes control plane on loopback, up in about five seconds.
//!
//! etcd, kube-apiserver with RBAC, kube-controller-manager and kube-scheduler are the real ones;
//! [kwok](https://kwok.sigs.k8s.io) plays the kubelet of every node, so nodes and pods are objects
//! only. How they behave is in `stages/`. With `TESTBED_KUBECONFIG` set, that cluster is used
//! instead and no process is started.

mod audit;
mod builder;
mod credentials;
mod external;
pub mod ports;
mod servers;

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

pub use audit::{AuditEntry, AuditLog};
pub use builder::Builder;

use crate::binaries::Binaries;
use external::External;
use servers::Servers;

/// How long the API server and the whole control plane may take to get ready.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// How often [`ControlPlane::supervise`] looks.
const SUPERVISION: Duration = Duration::from_secs(1);

/// A running control plane. Dropped, it takes all its processes and files with it.
#[derive(Debug)]
pub struct ControlPlane {
    cluster: Cluster,
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    url: String,
}

#[derive(Debug)]
enum Cluster {
    Own(Box<Servers>),
    External(External),
}

impl ControlPlane {
    /// Starts one with the default options.
    pub async fn start() -> anyhow::Result<Self> {
        Self::builder().start().await
    }

    /// Options for one that is not started yet.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    async fn own(options: Builder) -> anyhow::Result<Self> {
        let binaries = tokio::task::spawn_blocking(Binaries::resolve).await??;
        let servers = Servers::prepare(binaries, &options)?;
        let control_plane = Self {
            kubectl: servers.binaries().path("kubectl"),
            kubeconfig: servers.credentials().kubeconfig(credentials::ADMIN)?,
            url: servers.url(),
            cluster: Cluster::Own(Box::new(servers)),
        };
        control_plane.up().await?;
        Ok(control_plane)
    }

    async fn external(kubeconfig: PathBuf) -> anyhow::Result<Self> {
        let config = config(&kubeconfig).await?;
        Ok(Self {
            cluster: Cluster::External(External::new(&kubeconfig)?),
            kubectl: Binaries::any_kubectl(),
            url: config.cluster_url.to_string(),
            kubeconfig,
        })
    }

    async fn up(&self) -> anyhow::Result<()> {
        let servers = self.servers()?;
        servers.start_etcd()?;
        self.start_api_server().await?;
        servers.start_controllers()?;
        servers
            .await_condition("the controllers", Servers::check, || {
                self.default_account_exists()
            })
            .await
    }

    /// The first thing in the cluster that only a working kube-controller-manager makes.
    async fn default_account_exists(&self) -> anyhow::Result<()> {
        let accounts = kube::Api::<k8s_openapi::api::core::v1::ServiceAccount>::namespaced(
            self.client().await?,
            "default",
        );
        accounts.get("default").await?;
        Ok(())
    }

    /// The address of the API server.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A kubeconfig file with all permissions (`system:masters`).
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The kubeconfig file of a user named with [`Builder::user`]. In a cluster that is not ours,
    /// the file impersonates the user.
    pub fn kubeconfig_for(&self, user: &str) -> anyhow::Result<PathBuf> {
        match &self.cluster {
            Cluster::Own(servers) => servers.credentials().kubeconfig(user),
            Cluster::External(cluster) => cluster.kubeconfig_for(user),
        }
    }

    /// A kubeconfig file with the token of a service account, as a pod has it; its name is `name`. Fails in a cluster
    /// that is not ours.
    pub fn kubeconfig_with_token(&self, name: &str, token: &str) -> anyhow::Result<PathBuf> {
        let credentials = self.servers()?.credentials();
        credentials.kubeconfig_of(name, &self.url, token)
    }

    /// A kubeconfig file of a user named with [`Builder::user`] that leads to the API server by another address, such as
    /// a [`crate::proxy::Proxy`]'s; its name is `name`. Fails in a cluster that is not ours.
    pub fn kubeconfig_by(&self, name: &str, user: &str, url: &str) -> anyhow::Result<PathBuf> {
        let credentials = self.servers()?.credentials();
        let text = std::fs::read_to_string(credentials.kubeconfig(user)?)?;
        let file: serde_json::Value = serde_json::from_str(&text)?;
        let token = file["users"][0]["user"]["token"].as_str();
        credentials.kubeconfig_of(name, url, token.context("no token")?)
    }

    /// A new client with all permissions. It belongs to the tokio runtime it is made in.
    pub async fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::try_from(config(&self.kubeconfig).await?)?)
    }

    /// A new client of a user named with [`Builder::user`].
    pub async fn client_for(&self, user: &str) -> anyhow::Result<Client> {
        Ok(Client::try_from(
            config(&self.kubeconfig_for(user)?).await?,
        )?)
    }

    /// A new client that asks once, as the operator's do: kube's own retries would hide a refusal.
    pub async fn client_without_retries(&self, kubeconfig: &Path) -> anyhow::Result<Client> {
        let mut config = config(kubeconfig).await?;
        config.default_retry = false;
        Ok(Client::try_from(config)?)
    }

    /// Runs kubectl with all permissions and returns its stdout; its stderr is in the error.
    pub async fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut kubectl = tokio::process::Command::new(&self.kubectl);
        kubectl
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments)
            .kill_on_drop(true);
        if let Cluster::Own(servers) = &self.cluster {
            kubectl
                .arg("--cache-dir")
                .arg(servers.folder().join("kubectl"));
        }
        let output = kubectl.output().await.context("run kubectl")?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            bail!("kubectl {}: {}", arguments.join(" "), message.trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The requests the API server has answered. Fails without [`Builder::audit`].
    pub fn audit_log(&self) -> anyhow::Result<AuditLog> {
        let servers = self.servers()?;
        servers
            .audit_log()
            .context("the control plane was started without `.audit(true)`")
    }

    /// A folder for files of the test, such as logs; removed with the control plane.
    #[must_use]
    pub fn folder(&self) -> &Path {
        match &self.cluster {
            Cluster::Own(servers) => servers.folder(),
            Cluster::External(cluster) => cluster.folder(),
        }
    }

    /// Starts the API server on the same port and data, and waits until it is ready.
    pub async fn start_api_server(&self) -> anyhow::Result<()> {
        let servers = self.servers()?;
        servers.start_api_server()?;
        servers
            .await_condition("the API server", Servers::check_stores, || self.ready())
            .await?;
        servers.keep_up()
    }

    /// Kills the API server. Watches break and requests fail until it is started again. Beyond 40
    /// seconds the Leases of the nodes run out.
    pub fn stop_api_server(&self) -> anyhow::Result<()> {
        self.servers()?.stop_api_server();
        Ok(())
    }

    /// Kills the API server, starts it again on the same port and data, and waits until it is
    /// ready.
    pub async fn restart_api_server(&self) -> anyhow::Result<()> {
        self.stop_api_server()?;
        self.start_api_server().await
    }

    /// Kills etcd under the running API server, starts it again on the same port and data, and waits until the API
    /// server is ready. Meanwhile requests fail or hang.
    pub async fn restart_etcd(&self) -> anyhow::Result<()> {
        let servers = self.servers()?;
        servers.stop_etcd();
        servers.start_etcd()?;
        servers
            .await_condition("the API server", Servers::check_stores, || self.ready())
            .await?;
        servers.keep_up()
    }

    /// Starts the controllers again that end by themselves, such as a scheduler that finds its cache wrong after an
    /// outage. It goes on until etcd or the API server ends unasked.
    pub async fn supervise(&self) -> anyhow::Result<Infallible> {
        let servers = self.servers()?;
        loop {
            servers.keep_up()?;
            tokio::time::sleep(SUPERVISION).await;
        }
    }

    /// Ends every process and removes every file, as a drop does.
    pub fn stop(self) {}

    /// Whether the servers are ours to stop and to audit: false with `TESTBED_KUBECONFIG`.
    #[must_use]
    pub fn is_own(&self) -> bool {
        matches!(self.cluster, Cluster::Own(_))
    }

    /// An error with the end of the log of the first server that no longer runs.
    pub fn check(&self) -> anyhow::Result<()> {
        match &self.cluster {
            Cluster::Own(servers) => servers.check(),
            Cluster::External(_) => Ok(()),
        }
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let request = axum::http::Request::get("/readyz").body(Vec::new())?;
        self.client().await?.request_text(request).await?;
        Ok(())
    }

    fn servers(&self) -> anyhow::Result<&Servers> {
        match &self.cluster {
            Cluster::Own(servers) => Ok(servers),
            Cluster::External(_) => {
                bail!("the cluster of TESTBED_KUBECONFIG is not ours: unset it for this test")
            }
        }
    }
}

async fn config(kubeconfig: &Path) -> anyhow::Result<Config> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    Ok(Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?)
}
