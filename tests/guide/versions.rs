//! The versions that the documents name are those that are used.

use serde_json::Value;
use testbed::binaries::KUBERNETES_VERSION;

use crate::text::read;

/// The version that a Go module of the test bed requires of another, such as `v4.3.1`.
fn required(module: &str, of: &str) -> String {
    let text = read(format!("tests/testbed/go/{module}/go.mod"));
    let (_, rest) = text.split_once(&format!("{of} ")).unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}

/// The first two numbers of a version.
fn minor(version: &str) -> String {
    let numbers = version.trim_start_matches('v').split('.').take(2);
    numbers.collect::<Vec<_>>().join(".")
}

#[test]
fn helm_go_and_kubernetes_are_named_by_the_versions_that_are_tested() {
    let helm = minor(&required("helm", "helm.sh/helm/v4"));
    assert!(read("docs/install.md").contains(&format!("Helm for the charts (tested with {helm})")));
    let chart = read("charts/node-termination-operator/README.md");
    assert!(chart.contains(&format!("tested with Helm {helm}")));
    let go = minor(&required("kubernetes", "\ngo"));
    assert!(read("README.md").contains(&format!("Go {go} or later")));
    assert!(read("docs/drain.md").contains(&format!("Kubernetes {KUBERNETES_VERSION}:")));
}

#[test]
fn the_oldest_kubernetes_is_the_same_in_the_documents_and_in_both_charts() {
    for document in [
        "README.md",
        "docs/install.md",
        "charts/node-termination-operator/README.md",
    ] {
        assert!(
            read(document).contains("Kubernetes 1.33 or later"),
            "{document}"
        );
    }
    for chart in [
        "node-termination-operator",
        "node-termination-operator-crds",
    ] {
        let text = read(format!("charts/{chart}/Chart.yaml"));
        let chart: Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(chart["kubeVersion"], ">=1.33.0-0");
    }
    assert!(read("Cargo.toml").contains("\"v1_33\""));
}
