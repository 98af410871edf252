//! A control plane that charts are installed on.

use std::fs;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use node_termination_operator::api::policy::TerminationPolicy;
use node_termination_operator::api::termination::NodeTermination;
use serde_json::{Value, json};
use testbed::ControlPlane;
use testbed::binaries::Binaries;

use crate::helm::{NAMESPACE, OPERATOR, Said, helm, values_file};

/// The name of the operator's release, and of its objects.
pub const NAME: &str = "node-termination-operator";
/// One of the definitions.
pub const POLICIES: &str = "terminationpolicies.nodetermination.dev";

/// A control plane and who installs there.
pub struct Cluster {
    pub control_plane: ControlPlane,
    pub client: Client,
}

impl Cluster {
    pub async fn new() -> Self {
        let control_plane = ControlPlane::start().await.unwrap();
        let client = control_plane.client().await.unwrap();
        Self {
            control_plane,
            client,
        }
    }

    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        self.control_plane.kubectl(arguments).await.unwrap()
    }

    /// Runs helm against this cluster, in the one namespace.
    pub fn helm(&self, arguments: &[&str]) -> Said {
        let kubeconfig = self.control_plane.kubeconfig().to_str().unwrap();
        helm(
            &[
                arguments,
                &["--namespace", NAMESPACE, "--kubeconfig", kubeconfig],
            ]
            .concat(),
        )
    }

    /// Installs or upgrades a chart as the release of its name.
    pub fn upgrade(&self, release: &str, chart: &str, values: &Value, more: &[&str]) -> Said {
        let file = values_file(values);
        let install = [
            "upgrade",
            "--install",
            release,
            chart,
            "--create-namespace",
            "--values",
            &file,
        ];
        let said = self.helm(&[&install, more].concat());
        fs::remove_file(file).unwrap();
        said
    }

    pub fn upgrade_crds(&self, chart: &str, more: &[&str]) -> Said {
        self.upgrade("node-termination-operator-crds", chart, &json!({}), more)
    }

    pub fn upgrade_operator(&self, values: &Value, more: &[&str]) -> Said {
        self.upgrade(NAME, OPERATOR, values, more)
    }

    pub async fn definition(&self) -> CustomResourceDefinition {
        Api::all(self.client.clone()).get(POLICIES).await.unwrap()
    }

    pub async fn policies(&self) -> Vec<(String, String)> {
        let policies = Api::<TerminationPolicy>::all(self.client.clone());
        let found = policies.list(&ListParams::default()).await.unwrap();
        found
            .into_iter()
            .map(|p| (p.name_any(), p.uid().unwrap()))
            .collect()
    }

    pub async fn policy_names(&self) -> Vec<String> {
        let policies = self.policies().await.into_iter();
        policies.map(|(name, _)| name).collect()
    }

    pub async fn deployment(&self) -> Option<Deployment> {
        let deployments = Api::namespaced(self.client.clone(), NAMESPACE);
        deployments.get_opt(NAME).await.unwrap()
    }

    /// Makes a policy and a record that no release knows of.
    pub async fn apply_objects_of_others(&self) {
        let policy = json!({
            "apiVersion": "nodetermination.dev/v1alpha1", "kind": "TerminationPolicy",
            "metadata": {"name": "by-hand"}, "spec": {"sources": [{"name": "metadata", "imds": {}}]},
        });
        let record = json!({
            "apiVersion": "nodetermination.dev/v1alpha1", "kind": "NodeTermination",
            "metadata": {"name": "by-hand"}, "spec": {"nodeName": "somewhere"},
        });
        for object in [policy, record] {
            let file = values_file(&object);
            self.kubectl(&["apply", "--server-side", "-f", &file]).await;
        }
    }

    pub async fn record_exists(&self) -> bool {
        let records = Api::<NodeTermination>::all(self.client.clone());
        records.get_opt("by-hand").await.unwrap().is_some()
    }
}

/// The kinds of the Prometheus operator, from its own module.
pub async fn apply_monitoring_kinds(cluster: &Cluster) {
    let module = "github.com/prometheus-operator/prometheus-operator";
    let files = Binaries::module_files("prometheus-operator", module).unwrap();
    let folder = files.join("example/prometheus-operator-crd");
    for kind in ["servicemonitors", "podmonitors", "prometheusrules"] {
        let file = folder.join(format!("monitoring.coreos.com_{kind}.yaml"));
        cluster
            .kubectl(&["apply", "--server-side", "-f", file.to_str().unwrap()])
            .await;
        let definition = format!("crd/{kind}.monitoring.coreos.com");
        cluster
            .kubectl(&["wait", "--for=condition=Established", &definition])
            .await;
    }
}
