//! The examples for Flux and Argo CD install these charts, as a release pushes them, with values that they take.

use serde_json::{Value, json};

use crate::helm::{CRDS, OPERATOR, find, objects, read, render};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What the examples have for the repository's variable REGISTRY.
const REGISTRY: &str = "registry.example.com";
const ROLE: &str = "arn:aws:iam::123456789012:role/node-termination-operator";

/// What an example installs by a chart: where that comes from, its version, the values.
struct Release {
    address: String,
    version: Value,
    values: Value,
}

fn documents(file: &str) -> Vec<Value> {
    objects(&read(&format!("docs/gitops/{file}")))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn flux() -> Vec<Release> {
    let documents = documents("flux/helm-release.yaml");
    let releases = documents.iter().filter(|o| o["kind"] == "HelmRelease");
    let each = releases.map(|release| {
        let from = &release["spec"]["chartRef"];
        let source = find(&documents, text(&from["kind"]), text(&from["name"])).unwrap();
        Release {
            address: text(&source["spec"]["url"]).to_owned(),
            version: source["spec"]["ref"]["tag"].clone(),
            values: release["spec"]["values"].clone(),
        }
    });
    each.collect()
}

fn argo_cd() -> Vec<Release> {
    let [application] = &documents("argocd/helm-application.yaml")[..] else {
        panic!("one document")
    };
    assert_eq!(application["kind"], "Application");
    let sources = application["spec"]["sources"].as_array().unwrap().iter();
    let charts = sources.filter(|source| !source["chart"].is_null());
    let each = charts.map(|source| Release {
        address: format!(
            "oci://{}/{}",
            text(&source["repoURL"]),
            text(&source["chart"])
        ),
        version: source["targetRevision"].clone(),
        values: source["helm"]["valuesObject"].clone(),
    });
    each.collect()
}

#[test]
fn flux_and_argo_cd_install_both_charts_of_this_version_with_values_that_they_take() {
    for (tool, releases) in [("Flux", flux()), ("Argo CD", argo_cd())] {
        assert_eq!(releases.len(), 2, "{tool}: the kinds, then the operator");
        let rendered = releases
            .iter()
            .zip([CRDS, OPERATOR])
            .map(|(release, chart)| {
                let address = format!("oci://{REGISTRY}/{chart}");
                assert_eq!(release.address, address, "{tool}");
                assert_eq!(release.version, VERSION, "{tool}: {chart}");
                let none = json!({});
                let values = if release.values.is_null() {
                    &none
                } else {
                    &release.values
                };
                render(chart, values).unwrap()
            });
        let objects = rendered.collect::<Vec<_>>().concat();
        let of = |kind| find(&objects, kind, "node-termination-operator").unwrap();
        let image = &of("Deployment")["spec"]["template"]["spec"]["containers"][0]["image"];
        let wanted = format!("{REGISTRY}/node-termination-operator:{VERSION}");
        assert_eq!(*image, wanted, "{tool}");
        let role = &of("ServiceAccount")["metadata"]["annotations"]["eks.amazonaws.com/role-arn"];
        assert_eq!(role, ROLE, "{tool}");
        if tool == "Argo CD" {
            let kinds = objects
                .iter()
                .filter(|o| o["kind"] == "CustomResourceDefinition");
            for kind in kinds {
                let options = &kind["metadata"]["annotations"]["argocd.argoproj.io/sync-options"];
                assert_eq!(options, "Prune=false,Delete=false", "{tool}");
            }
        }
    }
}

#[test]
fn a_release_pushes_charts_and_image_to_where_the_examples_look() {
    let workflow = read(".github/workflows/release.yaml");
    assert!(CRDS.starts_with("charts/") && OPERATOR.starts_with("charts/"));
    for pushed in [
        "helm push \"$chart\" \"oci://$REGISTRY/charts\"",
        "IMAGE: ${{ vars.REGISTRY }}/node-termination-operator\n",
    ] {
        assert!(workflow.contains(pushed), "{pushed}");
    }
}

/// Every field by which an example names a version of ours, in whatever document it stands.
fn versions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let names = ["tag", "newTag", "targetRevision"].contains(&name.as_str());
                // One's own repository.
                if names && value != "main" {
                    found.push(text(value).trim_start_matches('v').to_owned());
                }
                versions(value, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| versions(value, found)),
        Value::String(image) if image.starts_with("node-termination-operator=") => {
            found.push(image.rsplit(':').next().unwrap().to_owned());
        }
        _ => {}
    }
}

#[test]
fn every_version_in_the_examples_is_that_of_the_charts() {
    let mut found = Vec::new();
    for file in [
        "argocd/application.yaml",
        "argocd/helm-application.yaml",
        "flux/helm-release.yaml",
        "flux/operator.yaml",
    ] {
        let before = found.len();
        versions(&Value::Array(documents(file)), &mut found);
        assert_eq!(found.len() - before, 2, "{file}: {found:?}");
    }
    for version in found {
        assert_eq!(version, VERSION);
    }
}
