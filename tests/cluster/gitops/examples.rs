//! The examples of `docs/gitops`: objects that are accepted, and manifests that name each other.

use std::path::Path;

use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::{Value, json};
use testbed::cluster::instance_id;

use super::folder;
use crate::bare::bare;

/// Applies a folder or a file of the examples as a trial; anything that the API server does not know is an error.
async fn try_to_apply(flag: &str, path: &Path) {
    let path = path.to_str().unwrap();
    let apply = [
        "apply",
        "--server-side",
        "--dry-run=server",
        "--validate=strict",
        "--warnings-as-errors",
        flag,
        path,
    ];
    bare().await.kubectl(&apply).await.unwrap();
}

#[tokio::test]
async fn the_policies_and_the_incident_of_the_examples_are_accepted_without_a_warning() {
    for example in ["policies", "nodes"] {
        try_to_apply("-k", &folder().join(example)).await;
    }
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/examples");
    for example in ["policy.yaml", "metadata.yaml"] {
        try_to_apply("-f", &manifests.join(example)).await;
    }
}

fn documents(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join(file)).unwrap();
    serde_yaml::Deserializer::from_str(&text)
        .map(|document| serde::Deserialize::deserialize(document).unwrap())
        .collect()
}

#[test]
fn the_config_map_of_argo_cd_holds_the_scripts() {
    let [config] = &documents("argocd/argocd-cm.yaml")[..] else {
        panic!("one document")
    };
    let scripts = [
        ("NodeTermination", "argocd/node-termination.lua"),
        ("TerminationPolicy", "argocd/termination-policy.lua"),
    ];
    let mut wanted = serde_json::Map::new();
    for (kind, file) in scripts {
        let script = std::fs::read_to_string(folder().join(file)).unwrap();
        let key = format!("resource.customizations.health.nodetermination.dev_{kind}");
        wanted.insert(key, script.into());
    }
    assert_eq!(config["data"], Value::Object(wanted));
}

/// What is installed by a kustomization of the operator's manifests with these images and patches: how both tools do it.
async fn installed(source: &Value) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let name = instance_id();
    let folder = bare().await.folder().join(name);
    std::fs::create_dir(&folder).unwrap();
    // kustomize takes relative paths only.
    let up = "../".repeat(folder.components().count() - 1);
    let base = root.join(source["path"].as_str().unwrap());
    let base = base.strip_prefix("/").unwrap().to_str().unwrap();
    let kustomization = json!({
        "resources": [format!("{up}{base}")],
        "images": source["images"],
        "patches": source["patches"],
    });
    let file = folder.join("kustomization.yaml");
    std::fs::write(file, kustomization.to_string()).unwrap();
    let path = folder.to_str().unwrap();
    let built = bare().await.kubectl(&["kustomize", path]).await.unwrap();
    serde_yaml::Deserializer::from_str(&built)
        .map(|document| serde::Deserialize::deserialize(document).unwrap())
        .collect()
}

#[tokio::test]
async fn both_tools_install_the_image_the_role_and_crds_that_are_not_pruned() {
    let flux = documents("flux/operator.yaml")[1]["spec"].clone();
    let argo = documents("argocd/application.yaml")[0]["spec"]["sources"][0].clone();
    let image = json!({
        "name": "node-termination-operator",
        "newName": "registry.example.com/node-termination-operator",
        "newTag": "0.1.0",
    });
    let text = "node-termination-operator=registry.example.com/node-termination-operator:0.1.0";
    assert_eq!(
        argo["kustomize"]["images"],
        json!([text]),
        "as Argo CD writes it"
    );
    let argo = json!({
        "path": argo["path"],
        "images": [image],
        "patches": argo["kustomize"]["patches"],
    });
    assert_eq!(flux["images"], json!([image]));
    for (tool, source, kept) in [
        (
            "Flux",
            flux,
            ("kustomize.toolkit.fluxcd.io/prune", "disabled"),
        ),
        (
            "Argo CD",
            argo,
            (
                "argocd.argoproj.io/sync-options",
                "Prune=false,Delete=false",
            ),
        ),
    ] {
        let objects = installed(&source).await;
        let of = |kind: &str| -> Vec<Value> {
            let objects = objects.iter().filter(|o| o["kind"] == kind);
            objects.cloned().collect()
        };
        let crds = of("CustomResourceDefinition");
        assert_eq!(crds.len(), 2, "{tool}");
        for crd in crds {
            assert_eq!(crd["metadata"]["annotations"][kept.0], kept.1, "{tool}");
        }
        let role = "arn:aws:iam::123456789012:role/node-termination-operator";
        let account = &of("ServiceAccount")[0]["metadata"]["annotations"];
        assert_eq!(account["eks.amazonaws.com/role-arn"], role, "{tool}");
        let pod = &of("Deployment")[0]["spec"]["template"]["spec"];
        let image = "registry.example.com/node-termination-operator:0.1.0";
        assert_eq!(pod["containers"][0]["image"], image, "{tool}");
    }
}

#[test]
fn the_objects_of_flux_and_argo_cd_are_of_known_kinds_and_refer_to_each_other() {
    let of = |kind: &str, api_version: &str, name: &str| ObjectReference {
        kind: Some(kind.into()),
        api_version: Some(api_version.into()),
        name: Some(name.into()),
        ..ObjectReference::default()
    };
    let (operator, kinds) = (
        "node-termination-operator",
        "node-termination-operator-crds",
    );
    let helm = "helm.toolkit.fluxcd.io/v2";
    let kustomize = "kustomize.toolkit.fluxcd.io/v1";
    let source = "source.toolkit.fluxcd.io/v1";
    let wanted = [
        (
            "argocd/application.yaml",
            vec![of("Application", "argoproj.io/v1alpha1", operator)],
        ),
        (
            "flux/operator.yaml",
            vec![
                of("GitRepository", source, operator),
                of("Kustomization", kustomize, operator),
            ],
        ),
        (
            "flux/policies.yaml",
            vec![of("Kustomization", kustomize, "node-termination-policies")],
        ),
        (
            "flux/nodes.yaml",
            vec![of("Kustomization", kustomize, "nodes-out-of-service")],
        ),
        (
            "flux/helm-release.yaml",
            vec![
                of("OCIRepository", source, kinds),
                of("OCIRepository", source, operator),
                of("HelmRelease", helm, kinds),
                of("HelmRelease", helm, operator),
            ],
        ),
    ];
    for (file, wanted) in wanted {
        let found = documents(file);
        let found: Vec<ObjectReference> = found
            .iter()
            .map(|o| {
                of(
                    o["kind"].as_str().unwrap(),
                    o["apiVersion"].as_str().unwrap(),
                    o["metadata"]["name"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(found, wanted, "{file}");
    }
    for file in ["flux/policies.yaml", "flux/nodes.yaml"] {
        let spec = &documents(file)[0]["spec"];
        assert_eq!(spec["dependsOn"], json!([{"name": operator}]), "{file}");
        assert_eq!(spec["wait"], true, "{file}");
    }
}
