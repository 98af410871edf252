//! `crds/` holds what the types say.
#![allow(clippy::unwrap_used)] // this file is nothing but tests

use std::collections::BTreeSet;
use std::fs;

use node_termination_operator::api;
use serde_yaml::Value;

const CRDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");

#[test]
fn the_generated_files_say_what_the_types_say() {
    for crd in api::crds() {
        let name = format!("{}.yaml", crd.spec.names.plural);
        let text = fs::read_to_string(format!("{CRDS}/{name}")).unwrap_or_default();
        let written: Value = serde_yaml::from_str(&text).unwrap_or_default();
        let wanted = serde_yaml::to_value(&crd).unwrap();
        assert!(
            written == wanted,
            "crds/{name} differs from the types: run `just crds`"
        );
    }
}

#[test]
fn each_kind_has_its_file_and_kustomize_knows_them_all() {
    let kinds: BTreeSet<String> = api::crds()
        .iter()
        .map(|crd| format!("{}.yaml", crd.spec.names.plural))
        .collect();
    let files: BTreeSet<String> = fs::read_dir(CRDS)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "kustomization.yaml")
        .collect();
    assert_eq!(
        files, kinds,
        "run `just crds`, and remove what is left over"
    );
    let text = fs::read_to_string(format!("{CRDS}/kustomization.yaml")).unwrap();
    let kustomization: Value = serde_yaml::from_str(&text).unwrap();
    let resources: BTreeSet<String> =
        serde_yaml::from_value(kustomization["resources"].clone()).unwrap();
    assert_eq!(resources, kinds, "crds/kustomization.yaml");
}
