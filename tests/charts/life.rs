//! An installation from its beginning to its end, on a real control plane whose nodes and pods are simulated.

use std::fs;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use node_termination_operator::api::policy::TerminationPolicy;
use serde_json::{Value, json};
use testbed::cluster::{make_nodes, map};

use crate::cluster::{Cluster, NAME, POLICIES, apply_monitoring_kinds};
use crate::helm::{CRDS, NAMESPACE, OPERATOR, helm, objects, read, root, scratch};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Everything that can be switched on, and two policies.
fn everything() -> Value {
    let on = json!({"enabled": true});
    let metadata = json!([{"name": "metadata", "imds": {}}]);
    let queue = json!([{"name": "events", "sqs": {"queueURL": "https://sqs.eu-west-1.amazonaws.com/123456789012/node-events"}}]);
    json!({
        "image": {"repository": "registry.example/operator"},
        "agent": {"enabled": true},
        "monitoring": {"serviceMonitor": on, "podMonitor": on, "prometheusRule": on, "dashboard": on},
        "flowSchema": on,
        "networkPolicy": on,
        "policies": [
            {"name": "queue", "spec": {"priority": 1, "nodeSelector": {"matchLabels": {"team": "a"}}, "sources": queue}},
            {"name": "metadata", "spec": {"sources": metadata}},
        ],
    })
}

/// A copy of the chart of the kinds that calls itself `version`, with one more column.
fn crds_of(version: &str) -> String {
    let folder = scratch("-crds");
    for below in ["templates", "files"] {
        fs::create_dir_all(folder.join(below)).unwrap();
        for entry in fs::read_dir(root().join(CRDS).join(below)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.join(below).join(path.file_name().unwrap())).unwrap();
        }
    }
    for file in ["values.yaml", "values.schema.json", ".helmignore"] {
        fs::copy(root().join(CRDS).join(file), folder.join(file)).unwrap();
    }
    let about = read(&format!("{CRDS}/Chart.yaml")).replace(VERSION, version);
    fs::write(folder.join("Chart.yaml"), about).unwrap();
    let path = folder.join("files/terminationpolicies.yaml");
    let mut definition = objects(&fs::read_to_string(&path).unwrap()).remove(0);
    let columns = definition["spec"]["versions"][0]["additionalPrinterColumns"]
        .as_array_mut()
        .unwrap();
    columns
        .push(json!({"name": format!("Of {version}"), "type": "string", "jsonPath": ".spec.mode"}));
    fs::write(&path, definition.to_string()).unwrap();
    folder.into_os_string().into_string().unwrap()
}

/// The operator's chart in a package that calls itself `version`.
fn operator_of(version: &str) -> String {
    let folder = scratch("-operator");
    let folder = folder.to_str().unwrap();
    let version = ["--version", version, "--app-version", version];
    let package = ["package", OPERATOR, "--destination", folder];
    let said = helm(&[&package[..], &version].concat()).unwrap();
    said.split("saved it to: ")
        .nth(1)
        .unwrap()
        .trim()
        .to_owned()
}

fn columns(definition: &CustomResourceDefinition) -> Vec<&str> {
    let columns = definition.spec.versions[0]
        .additional_printer_columns
        .iter()
        .flatten();
    columns.map(|column| column.name.as_str()).collect()
}

#[tokio::test]
async fn an_installation_from_its_beginning_to_its_end() {
    let cluster = Cluster::new().await;
    make_nodes(&cluster.client, "life", 2, &map(&[]))
        .await
        .unwrap();
    apply_monitoring_kinds(&cluster).await;

    let refused = cluster.upgrade_operator(&everything(), &[]).unwrap_err();
    let words = format!(
        "{POLICIES} is missing: install the chart node-termination-operator-crds {VERSION} first"
    );
    assert!(refused.contains(&words), "{refused}");

    cluster.upgrade_crds(CRDS, &["--wait"]).unwrap();
    let restricted = "pod-security.kubernetes.io/enforce=restricted";
    cluster
        .kubectl(&["label", "namespace", NAMESPACE, restricted])
        .await;
    everything_is_installed_at_once_with_its_policies(&cluster).await;
    the_kinds_are_upgraded_and_their_objects_stay(&cluster).await;
    policies_follow_the_values_and_those_of_others_stay(&cluster).await;
    with_wait_an_upgrade_waits_until_the_policies_are_ready(&cluster).await;
    uninstalling_keeps_the_kinds_and_their_objects(&cluster).await;
}

/// Under Pod Security "restricted": a pod that it refuses would never be available. Nobody looks at the policies here, for
/// the pods are simulated, so `--wait` would wait for ever.
async fn everything_is_installed_at_once_with_its_policies(cluster: &Cluster) {
    let told = cluster.upgrade_operator(&everything(), &[]).unwrap();
    for workload in [
        format!("deployment/{NAME}"),
        format!("daemonset/{NAME}-agent"),
    ] {
        let rollout = ["rollout", "status", &workload, "--timeout", "3m"];
        cluster
            .kubectl(&[&rollout[..], &["--namespace", NAMESPACE]].concat())
            .await;
    }
    assert!(
        told.contains("The agent runs on Linux nodes only"),
        "{told}"
    );
    assert!(!told.contains("WARNING"), "{told}");

    let kubeconfig = cluster.control_plane.kubeconfig().to_str().unwrap();
    let elsewhere = ["--namespace", "default", "--kubeconfig", kubeconfig];
    let second = helm(&[&["install", "second", OPERATOR][..], &elsewhere].concat()).unwrap_err();
    assert!(second.contains("invalid ownership metadata"), "{second}");

    assert_eq!(cluster.policy_names().await, ["metadata", "queue"]);
    let status = cluster.deployment().await.unwrap().status.unwrap();
    assert_eq!(status.available_replicas, Some(2));
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), NAMESPACE);
    for (component, count) in [("controller", 2), ("agent", 2)] {
        let selector = format!("app.kubernetes.io/component={component}");
        let pods = pods
            .list(&ListParams::default().labels(&selector))
            .await
            .unwrap();
        let mut nodes: Vec<_> = pods
            .iter()
            .map(|p| p.spec.as_ref().unwrap().node_name.clone())
            .collect();
        nodes.sort();
        nodes.dedup();
        assert_eq!(
            (pods.items.len(), nodes.len()),
            (count, 2),
            "{component}: on two nodes"
        );
    }
}

async fn the_kinds_are_upgraded_and_their_objects_stay(cluster: &Cluster) {
    let before = cluster.policies().await;
    cluster.upgrade_crds(&crds_of("0.0.9"), &[]).unwrap();
    let refused = cluster.upgrade_operator(&everything(), &[]).unwrap_err();
    let words = format!("{POLICIES} is of version 0.0.9, older than this chart: upgrade the chart");
    assert!(refused.contains(&words), "{refused}");

    cluster.upgrade_crds(&crds_of("99.0.0-rc.1"), &[]).unwrap();
    for (version, older) in [
        ("99.0.0-rc.1", false),
        ("99.0.0-rc.2", true),
        ("99.0.0", true),
    ] {
        let tried = cluster.upgrade(
            NAME,
            &operator_of(version),
            &everything(),
            &["--dry-run=server"],
        );
        assert_eq!(tried.is_err(), older, "{version}: {tried:?}");
    }

    cluster.upgrade_crds(&crds_of("99.0.0"), &[]).unwrap();
    let definition = cluster.definition().await;
    assert!(
        columns(&definition).contains(&"Of 99.0.0"),
        "{:?}",
        columns(&definition)
    );
    assert!(
        !columns(&definition).contains(&"Of 0.0.9"),
        "{:?}",
        columns(&definition)
    );
    assert_eq!(cluster.policies().await, before, "the very objects");
}

async fn policies_follow_the_values_and_those_of_others_stay(cluster: &Cluster) {
    cluster.apply_objects_of_others().await;
    let mut values = everything();
    values["policies"].as_array_mut().unwrap().remove(0);
    values["policies"][0]["spec"]["mode"] = json!("Observe");
    cluster.upgrade_operator(&values, &[]).unwrap();
    assert_eq!(cluster.policy_names().await, ["by-hand", "metadata"]);

    values["policies"][0]["spec"]["mode"] = json!("Dream");
    let refused = cluster.upgrade_operator(&values, &[]).unwrap_err();
    assert!(
        refused.contains("spec.mode") && refused.contains("Observe"),
        "the API server's words: {refused}"
    );
    values["policies"][0]["spec"] =
        json!({"sources": [{"name": "metadata", "imds": {}}], "modus": "Observe"});
    let refused = cluster.upgrade_operator(&values, &[]).unwrap_err();
    assert!(
        refused.contains("modus"),
        "an unknown field is told: {refused}"
    );
}

/// What the operator would say of a source that it can not read, and of one that it reads.
async fn with_wait_an_upgrade_waits_until_the_policies_are_ready(cluster: &Cluster) {
    let mut values = everything();
    values["policies"].as_array_mut().unwrap().remove(0);
    let policies = Api::<TerminationPolicy>::all(cluster.client.clone());
    for (reading, starting, patience) in [("False", "True", "5s"), ("True", "False", "2m")] {
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "Test", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let conditions = json!([
            condition("Ready", reading),
            condition("Reconciling", starting)
        ]);
        let seen = policies.get("metadata").await.unwrap().metadata.generation;
        let status = json!({"status": {"observedGeneration": seen, "conditions": conditions}});
        let status = Patch::Merge(status);
        policies
            .patch_status("metadata", &PatchParams::default(), &status)
            .await
            .unwrap();
        let said = cluster.upgrade_operator(&values, &["--wait", "--timeout", patience]);
        assert_eq!(said.is_ok(), reading == "True", "{said:?}");
    }
}

async fn uninstalling_keeps_the_kinds_and_their_objects(cluster: &Cluster) {
    cluster.helm(&["uninstall", NAME, "--wait"]).unwrap();
    assert!(cluster.deployment().await.is_none());
    let policies = cluster.policies().await;
    assert_eq!(
        policies.len(),
        1,
        "those of the release went with it: {policies:?}"
    );
    assert!(cluster.record_exists().await);

    let said = cluster
        .helm(&["uninstall", "node-termination-operator-crds", "--wait"])
        .unwrap();
    assert!(said.contains("kept due to the resource policy"), "{said}");
    assert_eq!(cluster.definition().await.metadata.deletion_timestamp, None);
    assert_eq!(cluster.policies().await, policies);
    assert!(cluster.record_exists().await);

    // What was kept is taken up again, without a word about ownership.
    cluster.upgrade_crds(CRDS, &[]).unwrap();
    assert!(!columns(&cluster.definition().await).contains(&"Of 99.0.0"));
    cluster.upgrade_operator(&everything(), &[]).unwrap();
    assert_eq!(cluster.policies().await.len(), 3);
}

#[tokio::test]
async fn what_kubectl_applied_is_taken_over_in_place() {
    let cluster = Cluster::new().await;
    let base = root().join("manifests/base");
    cluster
        .kubectl(&["apply", "--server-side", "-k", base.to_str().unwrap()])
        .await;
    cluster
        .kubectl(&[
            "wait",
            "--for=condition=Established",
            &format!("crd/{POLICIES}"),
        ])
        .await;
    cluster.apply_objects_of_others().await;
    let definition = cluster.definition().await.uid();
    let deployment = cluster.deployment().await.unwrap().uid();

    let refused = cluster.upgrade_crds(CRDS, &[]).unwrap_err();
    assert!(refused.contains("invalid ownership metadata"), "{refused}");
    let take_over = ["--take-ownership", "--force-conflicts"];
    cluster.upgrade_crds(CRDS, &take_over).unwrap();
    let values = json!({"image": {"repository": "registry.example/operator"}, "controller": {"replicas": 3}});
    cluster.upgrade_operator(&values, &take_over).unwrap();
    assert_eq!(cluster.definition().await.uid(), definition);
    let taken = cluster.deployment().await.unwrap();
    assert_eq!(
        taken.uid(),
        deployment,
        "the same Deployment, for names and selectors are the same"
    );
    assert_eq!(taken.spec.unwrap().replicas, Some(3));

    // Fields that kubectl still owns beside Helm would stop the next change of them.
    let refused = cluster.upgrade_crds(&crds_of("99.0.0"), &[]).unwrap_err();
    assert!(refused.contains("conflict"), "{refused}");
    cluster
        .upgrade_crds(&crds_of("99.0.0"), &["--force-conflicts"])
        .unwrap();
    assert!(columns(&cluster.definition().await).contains(&"Of 99.0.0"));
    assert!(cluster.record_exists().await);
}
