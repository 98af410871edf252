//! The command line of each server.

use super::Servers;
use crate::control_plane::{
    audit,
    credentials::{CONTROLLER_MANAGER, KUBELETS, SCHEDULER},
};

/// How simulated nodes and pods behave, one file per stage.
const STAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/stages");

impl Servers {
    pub(super) fn etcd_arguments(&self) -> Vec<String> {
        let client = format!("http://127.0.0.1:{}", self.ports.etcd);
        let peer = format!("http://127.0.0.1:{}", self.ports.etcd_peer);
        vec![
            format!("--data-dir={}", self.folder().join("etcd").display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            // Data need not survive a power cut, and a test should not wait for the disk.
            "--unsafe-no-fsync".into(),
            "--log-level=warn".into(),
        ]
    }

    pub(super) fn api_server_arguments(&self) -> Vec<String> {
        let file = |name: &str| self.credentials.file(name).display().to_string();
        let mut arguments = vec![
            format!("--etcd-servers=http://127.0.0.1:{}", self.ports.etcd),
            "--bind-address=127.0.0.1".into(),
            "--advertise-address=127.0.0.1".into(),
            format!("--secure-port={}", self.ports.api_server),
            // Nothing in the cluster connects to the Service `kubernetes`, and a loopback address
            // is no valid endpoint of it.
            "--endpoint-reconciler-type=none".into(),
            "--service-cluster-ip-range=10.96.0.0/16".into(),
            "--authorization-mode=RBAC".into(),
            format!("--token-auth-file={}", file("tokens.csv")),
            format!("--tls-cert-file={}", file("server.crt")),
            format!("--tls-private-key-file={}", file("server.key")),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", file("accounts.pub")),
            format!(
                "--service-account-signing-key-file={}",
                file("accounts.key")
            ),
        ];
        if self.audit {
            arguments.extend(audit::arguments(self.folder()));
        }
        arguments
    }

    pub(super) fn controller_manager_arguments(&self) -> anyhow::Result<Vec<String>> {
        let file = |name: &str| self.credentials.file(name).display().to_string();
        Ok(vec![
            self.kubeconfig_of(CONTROLLER_MANAGER)?,
            "--use-service-account-credentials".into(),
            format!(
                "--service-account-private-key-file={}",
                file("accounts.key")
            ),
            format!("--root-ca-file={}", file("ca.crt")),
            "--leader-elect=false".into(),
            "--secure-port=0".into(),
            // Its default of 20 requests a second would make the test, not the operator, slow.
            "--kube-api-qps=1000".into(),
            "--kube-api-burst=2000".into(),
        ])
    }

    pub(super) fn scheduler_arguments(&self) -> anyhow::Result<Vec<String>> {
        Ok(vec![
            self.kubeconfig_of(SCHEDULER)?,
            "--leader-elect=false".into(),
            "--secure-port=0".into(),
            "--kube-api-qps=1000".into(),
            "--kube-api-burst=2000".into(),
        ])
    }

    pub(super) fn kwok_arguments(&self) -> anyhow::Result<Vec<String>> {
        let configuration = [
            "kwok",
            "node-initialize",
            "node-heartbeat-with-lease",
            "pod-ready",
            "pod-complete",
            "pod-delete",
        ];
        let mut arguments = vec![
            self.kubeconfig_of(KUBELETS)?,
            "--manage-all-nodes=true".into(),
            // As a kubelet's: kube-controller-manager holds a node for lost without one.
            "--node-lease-duration-seconds=40".into(),
        ];
        arguments.extend(configuration.map(|name| format!("--config={STAGES}/{name}.yaml")));
        Ok(arguments)
    }

    fn kubeconfig_of(&self, user: &str) -> anyhow::Result<String> {
        Ok(format!(
            "--kubeconfig={}",
            self.credentials.kubeconfig(user)?.display()
        ))
    }
}
