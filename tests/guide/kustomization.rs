//! The kustomization that the guide tells people to write: it builds, and what it changes is changed.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;
use testbed::binaries::Binaries;

use crate::text::{root, section};

#[test]
fn the_kustomization_of_the_guide_names_the_image_and_the_role() {
    let blocks = section("docs/install.md", "By kubectl", "yaml");
    let clone = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guide");
    let _ = fs::remove_dir_all(&clone);
    fs::create_dir_all(clone.join("production")).unwrap();
    for folder in ["manifests", "crds"] {
        let copied = Command::new("cp")
            .arg("-r")
            .arg(root().join(folder))
            .arg(&clone)
            .status();
        assert!(copied.unwrap().success());
    }
    fs::write(clone.join("production/kustomization.yaml"), &blocks[0]).unwrap();
    let output = Command::new(Binaries::any_kubectl())
        .args(["kustomize", "production"])
        .current_dir(&clone)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    let objects: Vec<Value> = serde_yaml::Deserializer::from_str(&text)
        .map(|object| Value::deserialize(object).unwrap())
        .collect();
    let of = |kind: &str| {
        objects
            .iter()
            .find(|object| object["kind"] == kind)
            .unwrap()
    };
    let image = &of("Deployment")["spec"]["template"]["spec"]["containers"][0]["image"];
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        *image,
        format!("REGISTRY/node-termination-operator:{version}")
    );
    let role = &of("ServiceAccount")["metadata"]["annotations"]["eks.amazonaws.com/role-arn"];
    assert_eq!(
        role,
        "arn:aws:iam::123456789012:role/node-termination-operator"
    );
    assert_eq!(
        objects
            .iter()
            .filter(|o| o["kind"] == "CustomResourceDefinition")
            .count(),
        2
    );
}
