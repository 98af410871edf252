//! What stands beside the charts' templates: their READMEs, schemas and versions.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use testbed::binaries::Binaries;

use crate::helm::{CRDS, OPERATOR, helm, read, root, said};

fn yaml(path: &str) -> Value {
    serde_yaml::from_str(&read(path)).unwrap()
}

/// What helm-docs makes of a chart.
fn readme(chart: &str) -> String {
    let output = Command::new(Binaries::extra("helm-docs").unwrap())
        .args([
            "--chart-search-root",
            "charts",
            "--chart-to-generate",
            chart,
        ])
        .args(["--sort-values-order", "file", "--dry-run"])
        .current_dir(root())
        .output()
        .unwrap();
    let text = said(output).unwrap();
    // A run that only prints ends with one line more.
    format!("{}\n", text.trim_end())
}

#[test]
fn the_readmes_say_what_the_values_say() {
    for chart in [CRDS, OPERATOR] {
        let path = format!("{chart}/README.md");
        let wanted = readme(chart);
        if std::env::var_os("WRITE_CHARTS").is_some() {
            fs::write(root().join(&path), &wanted).unwrap();
        }
        assert!(
            read(&path) == wanted,
            "{path} is not what values.yaml says: run `just charts`"
        );
    }
}

#[test]
fn every_value_is_explained() {
    let mut rows = 0;
    for chart in [CRDS, OPERATOR] {
        let readme = read(&format!("{chart}/README.md"));
        let (_, table) = readme.split_once("\n## Values\n").unwrap();
        for row in table.lines().filter(|line| line.starts_with("| ")).skip(1) {
            let description = row.trim_end_matches('|').rsplit('|').next().unwrap();
            assert!(
                description.trim().len() > 5,
                "values.yaml says nothing of it: {row}"
            );
            rows += 1;
        }
    }
    assert!(rows > 60, "{rows}");
}

/// The settings below a value, as their paths: what is a map in both the values and the schema is looked into.
fn settings(values: &Value, schema: &Value, path: &str) {
    let (Some(values), Some(properties)) = (values.as_object(), schema["properties"].as_object())
    else {
        return;
    };
    // Labels and the like: whatever is written there is meant.
    if schema["additionalProperties"].is_object() {
        return;
    }
    assert_eq!(
        schema["additionalProperties"], false,
        "{path}: a setting with a typing error would be ignored"
    );
    for name in properties.keys().filter(|name| *name != "global") {
        assert!(
            values.contains_key(name),
            "values.yaml does not have {path}{name}"
        );
    }
    for (name, value) in values {
        let Some(known) = properties.get(name) else {
            panic!("values.schema.json does not have {path}{name}")
        };
        let required = schema["required"].as_array();
        let required = required.is_some_and(|r| r.contains(&json!(name)));
        assert_eq!(required, needed(value, known), "required: {path}{name}");
        settings(value, known, &format!("{path}{name}."));
    }
}

/// Whether a template fails, or a process, if somebody writes the setting's name and nothing behind it, which takes the
/// default away.
fn needed(value: &Value, schema: &Value) -> bool {
    match value {
        Value::Object(_) => schema["properties"].is_object(),
        Value::String(text) => !text.is_empty() && schema["$ref"] != "#/definitions/optionalName",
        Value::Bool(_) | Value::Number(_) => true,
        Value::Null | Value::Array(_) => false,
    }
}

#[test]
fn the_schema_knows_every_value_and_no_other() {
    for chart in [CRDS, OPERATOR] {
        let schema: Value =
            serde_json::from_str(&read(&format!("{chart}/values.schema.json"))).unwrap();
        settings(&yaml(&format!("{chart}/values.yaml")), &schema, "");
    }
}

#[test]
fn the_charts_are_of_the_version_of_the_binary() {
    for chart in [CRDS, OPERATOR] {
        let about = yaml(&format!("{chart}/Chart.yaml"));
        assert_eq!(about["version"], env!("CARGO_PKG_VERSION"), "{chart}");
        assert_eq!(about["appVersion"], env!("CARGO_PKG_VERSION"), "{chart}");
    }
}

#[test]
fn both_charts_pass_the_strict_linter() {
    for chart in [CRDS, OPERATOR] {
        helm(&["lint", "--strict", chart]).unwrap();
    }
}
