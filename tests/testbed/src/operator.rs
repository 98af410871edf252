//! The operator under test: installed as its users install it, run as a process of its own.

mod pod;

use std::{
    path::Path,
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::Context;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
    runtime::watcher,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::control_plane::{Builder, ports};
use crate::{Child, ControlPlane, aws::Aws, cluster::await_count};

/// The namespace and the service account of the manifests.
pub const NAME: &str = "node-termination-operator";
/// The user that the manifests' roles are bound to.
pub const USER: &str = "system:serviceaccount:node-termination-operator:node-termination-operator";

/// The files of the repository that make an installation without the Deployment: the kinds,
const KINDS: [&str; 2] = [
    "crds/terminationpolicies.yaml",
    "crds/nodeterminations.yaml",
];
/// and the account with its roles.
const ACCOUNT: [&str; 4] = [
    "manifests/base/namespace.yaml",
    "manifests/base/service-account.yaml",
    "manifests/base/cluster-role.yaml",
    "manifests/base/role.yaml",
];
/// Between two looks at an endpoint that nothing can watch.
const LOOK: Duration = Duration::from_millis(50);
/// How long the operator may take to become ready, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The service account of the agents, in the namespace [`NAME`].
pub const AGENT: &str = "node-termination-operator-agent";
/// The labels of the agents' pods and their `DaemonSet`.
const AGENT_LABELS: &str =
    "app.kubernetes.io/name=node-termination-operator,app.kubernetes.io/component=agent";

/// Applies the agent's manifests as `kubectl apply -k` does: its account with its role, the admission policy, the
/// `DaemonSet`.
pub async fn install_agent(control_plane: &ControlPlane, repository: &Path) -> anyhow::Result<()> {
    let folder = repository.join("manifests/agent");
    let folder = folder.to_str().context("the path is not UTF-8")?;
    let apply = ["apply", "--server-side", "-k", folder];
    control_plane.kubectl(&apply).await.map(drop)
}

/// A token of the agents' service account as the kubelet gets it for the agent's pod on that node; the pod of the
/// `DaemonSet` is waited for.
pub async fn agent_token(client: &Client, node: &str) -> anyhow::Result<String> {
    let pods = Api::<Pod>::namespaced(client.clone(), NAME);
    let on_node = watcher::Config::default()
        .labels(AGENT_LABELS)
        .fields(&format!("spec.nodeName={node}"));
    await_count(pods.clone(), on_node, 1, |_| true).await?;
    let params = ListParams::default()
        .labels(AGENT_LABELS)
        .fields(&format!("spec.nodeName={node}"));
    let pod = pods.list(&params).await?.items.pop().context("no pod")?;
    pod_token(client, AGENT, pod).await
}

/// A token of that service account in the namespace [`NAME`], as the kubelet gets it for the pod.
pub async fn pod_token(client: &Client, account: &str, pod: Pod) -> anyhow::Result<String> {
    let bound = BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: pod.metadata.name,
        uid: pod.metadata.uid,
    };
    token(client, account, Some(bound)).await
}

/// A token of the agents' service account that is bound to nothing.
pub async fn unbound_agent_token(client: &Client) -> anyhow::Result<String> {
    token(client, AGENT, None).await
}

async fn token(
    client: &Client,
    account: &str,
    bound: Option<BoundObjectReference>,
) -> anyhow::Result<String> {
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), NAME);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            bound_object_ref: bound,
            expiration_seconds: Some(3600),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let params = PostParams::default();
    let answer = accounts
        .create_token_request(account, &params, &request)
        .await?;
    Ok(answer.status.context("no token")?.token)
}

/// A control plane on which [`USER`] can be used. Pass `audit` to have its requests counted.
pub async fn control_plane(audit: bool) -> anyhow::Result<ControlPlane> {
    builder().audit(audit).start().await
}

/// The options of a control plane on which [`USER`] can be used.
#[must_use]
pub fn builder() -> Builder {
    let groups = [
        "system:serviceaccounts",
        "system:serviceaccounts:node-termination-operator",
        "system:authenticated",
    ];
    ControlPlane::builder().user(USER, &groups)
}

/// Applies the custom resource definitions and the roles of the repository, as `kubectl apply` does.
pub async fn install(control_plane: &ControlPlane, repository: &Path) -> anyhow::Result<()> {
    install_account(control_plane, repository).await?;
    install_kinds(control_plane, repository).await
}

/// Applies the namespace, the service account and its roles only.
pub async fn install_account(
    control_plane: &ControlPlane,
    repository: &Path,
) -> anyhow::Result<()> {
    apply(control_plane, repository, &ACCOUNT).await
}

/// Applies the custom resource definitions only, and waits until the API server serves them.
pub async fn install_kinds(control_plane: &ControlPlane, repository: &Path) -> anyhow::Result<()> {
    apply(control_plane, repository, &KINDS).await?;
    let established = [
        "wait",
        "--for=condition=Established",
        "crd",
        "terminationpolicies.nodetermination.dev",
        "nodeterminations.nodetermination.dev",
    ];
    control_plane.kubectl(&established).await.map(drop)
}

async fn apply(
    control_plane: &ControlPlane,
    repository: &Path,
    files: &[&str],
) -> anyhow::Result<()> {
    for file in files {
        let path = repository.join(file);
        let path = path.to_str().context("the path is not UTF-8")?;
        let mut apply = vec!["apply", "--server-side", "-f", path];
        if file.ends_with("service-account.yaml") || file.ends_with("/role.yaml") {
            apply.extend(["-n", NAME]);
        }
        control_plane.kubectl(&apply).await?;
    }
    Ok(())
}

/// A running operator. It is killed when this is dropped.
#[derive(Debug)]
pub struct Operator {
    child: Child,
    identity: String,
    port: u16,
}

impl Operator {
    /// Starts `binary` as the replica `identity`, with a lease of `lease_seconds`, under the manifests' roles and the
    /// documented IAM policy. The environment `extra` comes last.
    pub fn start(
        binary: &Path,
        control_plane: &ControlPlane,
        aws: &Aws,
        identity: &str,
        lease_seconds: u16,
        extra: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        aws.hold_to_policy();
        let mut command = Command::new(binary);
        command
            .arg("controller")
            .env("NTO_NAMESPACE", NAME)
            .env("NTO_IDENTITY", identity)
            .env("NTO_LEASE_DURATION_SECONDS", lease_seconds.to_string())
            .env("KUBECONFIG", control_plane.kubeconfig_for(USER)?)
            .envs(aws.env())
            .envs(extra.iter().copied());
        Self::spawn(command, control_plane, identity)
    }

    /// Starts `binary` as the agent `identity` with that kubeconfig, which holds its token, and with this environment.
    pub fn start_agent(
        binary: &Path,
        control_plane: &ControlPlane,
        kubeconfig: &Path,
        identity: &str,
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(binary);
        command
            .arg("agent")
            .env("KUBECONFIG", kubeconfig)
            .envs(environment.iter().copied());
        Self::spawn(command, control_plane, identity)
    }

    fn spawn(
        mut command: Command,
        control_plane: &ControlPlane,
        identity: &str,
    ) -> anyhow::Result<Self> {
        let [port, ..] = ports::free()?;
        command
            .env("NTO_LOG_FORMAT", "text")
            .env("NTO_LOG_LEVEL", "info,node_termination_operator=debug")
            .env("NTO_HTTP_ADDRESS", format!("127.0.0.1:{port}"))
            .env("NO_COLOR", "1");
        let log = control_plane
            .folder()
            .join(format!("{identity}-{port}.log"));
        let child = Child::spawn(identity, &command, &log)?;
        Ok(Self {
            child,
            identity: identity.to_owned(),
            port,
        })
    }

    /// The replica's name.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Child {
        &self.child
    }

    /// Waits until `/readyz` says that it is ready.
    pub async fn await_ready(&self) -> anyhow::Result<()> {
        self.await_answer("/readyz", |code, _| code == 200).await
    }

    /// Waits until it leads.
    pub async fn await_leader(&self) -> anyhow::Result<()> {
        let leads = "node_termination_operator_leader 1";
        self.await_answer("/metrics", |_, body| body.lines().any(|l| l == leads))
            .await
    }

    /// Whether it leads now.
    pub async fn leads(&self) -> bool {
        let leads = "node_termination_operator_leader 1";
        self.get("/metrics")
            .await
            .is_ok_and(|(_, body)| body.lines().any(|l| l == leads))
    }

    /// Status code and body of one of its endpoints.
    pub async fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        let code = head.split(' ').nth(1).context("no status code")?;
        Ok((code.parse()?, body.to_owned()))
    }

    /// The sum of all samples of a metric whose line holds all of `labels`.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> anyhow::Result<f64> {
        let (_, body) = self.get("/metrics").await?;
        let lines = body.lines().filter(|l| {
            let rest = l.strip_prefix(name);
            rest.is_some_and(|r| r.starts_with(['{', ' '])) && labels.iter().all(|x| l.contains(x))
        });
        let values = lines.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(values.sum())
    }

    /// SIGKILL.
    pub fn kill(&self) {
        self.child.kill();
    }

    /// SIGTERM, and how it ended within `limit`.
    pub async fn terminate(&self, limit: Duration) -> anyhow::Result<ExitStatus> {
        self.child.terminate()?;
        self.child.wait(limit).await
    }

    /// Polls an endpoint, for nothing can watch it, until it answers so; or says what the process logged last.
    pub async fn await_answer(
        &self,
        path: &str,
        good: impl Fn(u16, &str) -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.child.check()?;
            let answer = self.get(path).await;
            if answer.as_ref().is_ok_and(|(code, body)| good(*code, body)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let tail = self.child.tail();
                anyhow::bail!("{} {path} still answers {answer:?}\n{tail}", self.identity);
            }
            sleep(LOOK).await;
        }
    }
}
