//! The charts and `manifests/` say the same, object by object.

use std::collections::BTreeMap;
use std::process::Command;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use node_termination_operator::api;
use serde_json::{Value, json};
use testbed::binaries::Binaries;

use crate::helm::{CRDS, OPERATOR, objects, read, render, root, said};

/// Labels that only the chart writes: which release and version an object is of.
const OF_THE_RELEASE: [&str; 4] = [
    "app.kubernetes.io/instance",
    "app.kubernetes.io/version",
    "app.kubernetes.io/managed-by",
    "helm.sh/chart",
];
/// What the chart spells out and `manifests/` leave to the process: the option with its default in `src/args.rs`.
const SPELLED_OUT: [(&str, &str, &str); 4] = [
    ("NTO_HTTP_ADDRESS", "[::]:8080", r#""[::]:8080""#),
    ("NTO_LOG_LEVEL", "info", r#""info""#),
    ("NTO_LOG_FORMAT", "json", "LogFormat::Json"),
    ("NTO_LEASE_DURATION_SECONDS", "15", "15"),
];

/// What an object is known by.
fn name(object: &Value) -> String {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("-");
    let name = object["metadata"]["name"].as_str().unwrap();
    let (version, kind) = (&object["apiVersion"], &object["kind"]);
    format!("{version} {kind} {namespace}/{name}")
}

fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let count = objects.len();
    let named: BTreeMap<String, Value> = objects.into_iter().map(|o| (name(&o), o)).collect();
    assert_eq!(named.len(), count, "an object stands twice");
    named
}

/// What kustomize makes of a folder of `manifests/`, without what the chart leaves to Helm (the namespace) and to the
/// other chart (the definitions).
fn manifests(folder: &str) -> Vec<Value> {
    let kubectl = Binaries::resolve().unwrap().path("kubectl");
    let output = Command::new(kubectl)
        .args(["kustomize", folder])
        .current_dir(root())
        .output()
        .unwrap();
    let mut found = objects(&said(output).unwrap());
    found.retain(|o| o["kind"] != "Namespace" && o["kind"] != "CustomResourceDefinition");
    found
}

/// The chart's object without what only a chart writes.
fn plain(mut object: Value) -> Value {
    let labels = object["metadata"]["labels"].as_object_mut().unwrap();
    for label in OF_THE_RELEASE {
        assert!(labels.remove(label).is_some(), "{label} is missing");
    }
    let containers = object.pointer_mut("/spec/template/spec/containers");
    for container in containers
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let container = container.as_object_mut().unwrap();
        // The API server's default for an image with a tag.
        assert_eq!(
            container.remove("imagePullPolicy"),
            Some(json!("IfNotPresent"))
        );
        let environment = container["env"].as_array_mut().unwrap();
        environment.retain(|variable| {
            let spelled = |(name, value, _): &(&str, &str, &str)| {
                *variable == json!({"name": name, "value": value})
            };
            !SPELLED_OUT.iter().any(spelled)
        });
        if environment.is_empty() {
            container.remove("env");
        }
    }
    object
}

fn assert_same(chart: Vec<Value>, manifests: Vec<Value>) {
    let chart = by_name(chart.into_iter().map(plain).collect());
    let manifests = by_name(manifests);
    let names = |objects: &BTreeMap<String, Value>| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&chart), names(&manifests));
    for (name, object) in chart {
        assert_eq!(
            object, manifests[&name],
            "chart and manifests/ differ: {name}"
        );
    }
}

#[test]
fn the_chart_with_its_defaults_is_manifests_base() {
    let chart = render(OPERATOR, &json!({})).unwrap();
    assert_same(chart, manifests("manifests/base"));
}

#[test]
fn the_chart_with_the_agent_is_manifests_base_and_agent() {
    let chart = render(OPERATOR, &json!({"agent": {"enabled": true}})).unwrap();
    let both = [manifests("manifests/base"), manifests("manifests/agent")].concat();
    assert_same(chart, both);
}

#[test]
fn the_charts_network_policies_are_those_of_the_manifests_but_for_the_one_that_denies_the_rest() {
    let on = json!({"enabled": true});
    let chart = render(OPERATOR, &json!({"agent": on, "networkPolicy": on})).unwrap();
    let mut folders = Vec::new();
    for folder in ["base", "agent", "network-policy"] {
        folders.extend(manifests(&format!("manifests/{folder}")));
    }
    folders.retain(|o| o["metadata"]["name"] != "default-deny");
    assert_same(chart, folders);
}

#[test]
fn what_the_chart_spells_out_is_what_the_process_takes_without_it() {
    let options = read("src/args.rs");
    for (variable, _, default) in SPELLED_OUT {
        let declared = options.split("#[arg(").find(|text| text.contains(variable));
        let declared = declared.unwrap().split(")]").next().unwrap();
        let told = declared.split("default_value").nth(1).unwrap();
        assert!(
            told.contains(&format!("= {default}")),
            "{variable}: {declared}"
        );
    }
}

#[test]
fn the_chart_of_the_kinds_has_what_the_types_say() {
    let chart = render(CRDS, &json!({})).unwrap();
    let kept = BTreeMap::from([("helm.sh/resource-policy".to_owned(), "keep".to_owned())]);
    let mut kinds = api::crds();
    assert_eq!(chart.len(), kinds.len());
    for object in chart {
        // By the type, for a number of the schema may be written with a point or without.
        let mut definition: CustomResourceDefinition = serde_json::from_value(object).unwrap();
        assert_eq!(definition.metadata.annotations.take(), Some(kept.clone()));
        let labels = definition.metadata.labels.take().unwrap();
        assert_eq!(
            labels["app.kubernetes.io/version"],
            env!("CARGO_PKG_VERSION")
        );
        kinds.retain(|kind| *kind != definition);
    }
    let missing: Vec<_> = kinds.iter().map(ResourceExt::name_any).collect();
    assert!(
        missing.is_empty(),
        "the chart has them otherwise: {missing:?}"
    );
}
