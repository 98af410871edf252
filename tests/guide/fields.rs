//! The fields of both kinds, wherever a document names one: in backticks, and in what `kubectl -o` is to print.

use std::collections::BTreeSet;

use node_termination_operator::api;
use serde_json::Value;

use crate::text::{code, guide, read};

/// Every field of both kinds, such as `spec.sources[].name`; a list also without its brackets.
fn known() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for crd in api::crds() {
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let properties = &schema["openAPIV3Schema"]["properties"];
        for part in ["spec", "status"] {
            collect(&properties[part], part, &mut known);
        }
    }
    known
}

fn collect(schema: &Value, path: &str, known: &mut BTreeSet<String>) {
    known.insert(path.to_owned());
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        collect(field, &format!("{path}.{name}"), known);
    }
    if schema["items"].is_object() {
        collect(&schema["items"], &format!("{path}[]"), known);
    }
}

/// Fields of a Node that carry a name of ours in front.
const OF_A_NODE: [&str; 2] = ["spec.providerID", "spec.unschedulable"];

#[test]
fn every_field_that_a_document_names_exists() {
    let known = known();
    let group = |text: &str| {
        let first = text.split(['.', '[']).next().unwrap().to_owned();
        ["spec", "status"].map(|part| format!("{part}.{first}"))
    };
    let mut checked = 0;
    for document in guide() {
        for text in document.quoted() {
            let path = text.split([':', ' ', '=']).next().unwrap_or_default();
            let file = [".rs", ".md", ".yaml", ".json"]
                .iter()
                .any(|e| path.ends_with(e));
            if file || path.contains(['/', '*']) || OF_A_NODE.contains(&path) {
                continue;
            }
            let path = path.replace("[0]", "[]");
            let whole = path.starts_with("spec.") || path.starts_with("status.");
            let part = path.contains(['.', '[']) && group(&path).iter().any(|g| known.contains(g));
            let there = match (whole, part) {
                (true, _) => known.contains(&path),
                (_, true) => ["spec", "status"]
                    .iter()
                    .any(|p| known.contains(&format!("{p}.{path}"))),
                _ => continue,
            };
            assert!(there, "{}: there is no field {path}", document.name);
            checked += 1;
        }
    }
    assert!(checked > 200, "{checked}");
}

/// A path of `kubectl -o`, lists as `[]`, and the conditions that it looks for.
fn plain(path: &str) -> (String, Vec<&str>) {
    let mut parts = path.split('[');
    let mut plain = parts.next().unwrap().to_owned();
    let mut conditions = Vec::new();
    for part in parts {
        let (inner, rest) = part.split_once(']').unwrap();
        let quoted = inner.split_once("@.type==\"");
        conditions.extend(quoted.map(|(_, kind)| kind.split('"').next().unwrap()));
        plain += "[]";
        plain += rest;
    }
    let plain = plain.trim_start_matches(".items[]").trim_start_matches('.');
    (plain.to_owned(), conditions)
}

/// The paths that the expressions of a command take.
fn taken(command: &str) -> Vec<String> {
    let mut taken = Vec::new();
    if let Some((_, columns)) = command.split_once("custom-columns='") {
        let columns = columns.split('\'').next().unwrap().split(',');
        taken.extend(columns.map(|column| column.split_once(':').unwrap().1.to_owned()));
    }
    if let Some((_, template)) = command.split_once("jsonpath='") {
        let template = template.split('\'').next().unwrap();
        let mut base = String::new();
        for part in template.split('{').skip(1) {
            let part = part.split('}').next().unwrap();
            if let Some(list) = part.strip_prefix("range ") {
                list.clone_into(&mut base);
            } else if part == "end" {
                base.clear();
            } else if part.starts_with('.') {
                taken.push(format!("{base}{part}"));
            }
        }
    }
    taken
}

/// Whether a command asks for objects of our kinds.
fn is_ours(command: &str) -> bool {
    let asked = command.split(" -o ").next().unwrap();
    let mut words = asked.split([' ', '"', '/', ',']);
    words.any(|word| {
        ["nt", "tp"].contains(&word)
            || word.starts_with("nodetermination")
            || word.starts_with("terminationpolic")
    })
}

#[test]
fn every_field_and_every_condition_that_a_command_prints_exists() {
    let known = known();
    let code = code("src", &["rs"]);
    let mut checked = 0;
    for document in guide() {
        let commands = document.commands().join("\n").replace(" && ", "\n");
        for command in commands.lines().filter(|command| is_ours(command)) {
            for path in taken(command) {
                let (path, conditions) = plain(&path);
                let there = known.contains(&path) || path.starts_with("metadata.");
                assert!(there, "{}: {command}: {path}", document.name);
                for condition in conditions {
                    let stated = code.contains(&format!("\"{condition}\""));
                    assert!(stated, "{}: {command}: {condition}", document.name);
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 30, "{checked}");
}

#[test]
fn what_a_command_prints_is_read_out_of_its_expression() {
    let columns = r#"kubectl get nt -o custom-columns='A:.status.blocked[0].pod,B:.status.conditions[?(@.type=="Ready")].reason'"#;
    let paths = [
        ".status.blocked[0].pod",
        ".status.conditions[?(@.type==\"Ready\")].reason",
    ];
    assert_eq!(taken(columns), paths);
    assert_eq!(
        plain(paths[1]),
        ("status.conditions[].reason".to_owned(), vec!["Ready"])
    );
    let rows = r#"kubectl get tp -o jsonpath='{range .items[*]}{.metadata.name}{"\t"}{end}{.items[0].spec.mode}'"#;
    assert_eq!(
        taken(rows),
        [".items[*].metadata.name", ".items[0].spec.mode"]
    );
    assert_eq!(plain(".items[*].metadata.name").0, "metadata.name");
}

/// The number fields below a schema with the least and the most that they may be.
fn bounded(schema: &Value, path: &str, found: &mut Vec<(String, f64, f64)>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if let (Some(least), Some(most)) = (field["minimum"].as_f64(), field["maximum"].as_f64()) {
            found.push((path.trim_start_matches('.').to_owned(), least, most));
        }
        bounded(field, &path, found);
        bounded(&field["items"], &format!("{path}[]"), found);
    }
}

#[test]
fn every_number_of_a_policy_is_told_with_its_bounds() {
    let crd = api::crds().remove(0);
    let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
    let spec = &schema["openAPIV3Schema"]["properties"]["spec"];
    let mut fields = Vec::new();
    bounded(spec, "", &mut fields);
    assert!(fields.len() >= 12, "{fields:?}");
    let document = read("docs/configuration.md")
        .replace(',', "")
        .replace('−', "-");
    for (path, least, most) in fields {
        let row = document
            .lines()
            .find(|line| line.starts_with(&format!("| `{path}` |")));
        let row = row.unwrap_or_else(|| panic!("{path} has no row"));
        assert!(row.contains(&format!("{least} to {most}")), "{path}: {row}");
    }
}

#[test]
fn the_tables_of_the_readme_have_the_columns_that_kubectl_prints() {
    let crd = api::crds().remove(1);
    let columns = crd.spec.versions[0].additional_printer_columns.clone();
    let columns = columns.unwrap_or_default();
    let printed = |wide: bool| {
        let shown = columns.iter().filter(|c| wide || c.priority != Some(1));
        let names = shown.map(|column| column.name.to_uppercase());
        format!("NAME {}", names.collect::<Vec<_>>().join(" "))
    };
    let readme = read("README.md");
    let heads = readme.lines().filter(|line| line.starts_with("NAME "));
    let bare = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let heads: Vec<String> = heads.map(bare).collect();
    assert_eq!(heads, [printed(false), printed(true)]);
}
