//! `docs/reference.md`: every field of both kinds, written from the types. With `WRITE_REFERENCE` in the environment it
//! is written anew, else it is compared.

use std::fmt::Write as _;
use std::{env, fs};

use node_termination_operator::api;
use serde_json::Value;

use crate::text::{read, root};

const PATH: &str = "docs/reference.md";

const HEAD: &str = "# Reference

Every field of both kinds, in group `nodetermination.dev`, version `v1alpha1`. Written from the types by `just reference`; `kubectl explain
terminationpolicy.spec.drain` tells the same. `[]` is each element of a list. What the fields do together stands in
[configuration.md](configuration.md) and [drain.md](drain.md).
";

#[test]
fn the_reference_says_what_the_types_say() {
    let written = write();
    if env::var_os("WRITE_REFERENCE").is_some() {
        fs::write(root().join(PATH), &written).unwrap();
    }
    assert!(
        read(PATH) == written,
        "{PATH} differs from the types: run `just reference`"
    );
}

fn write() -> String {
    let mut text = HEAD.to_owned();
    for crd in api::crds() {
        let crd = serde_json::to_value(&crd).unwrap();
        let version = &crd["spec"]["versions"][0];
        let names = &crd["spec"]["names"];
        let kind = names["kind"].as_str().unwrap();
        let schema = &version["schema"]["openAPIV3Schema"]["properties"];
        writeln!(text, "\n## {kind}\n").unwrap();
        writeln!(
            text,
            "`kubectl get {}`, in short `{}`; cluster-scoped.",
            names["plural"].as_str().unwrap(),
            names["shortNames"][0].as_str().unwrap()
        )
        .unwrap();
        writeln!(text, "Columns: {}.", columns(version)).unwrap();
        for part in ["spec", "status"] {
            writeln!(text, "\n### {kind} {part}\n\n{}\n", prose(&schema[part])).unwrap();
            text += "| field | type | default | meaning |\n|---|---|---|---|\n";
            rows(&schema[part], "", &mut text);
            let mut rules = Vec::new();
            collect(&schema[part], &mut rules);
            if !rules.is_empty() {
                text += "\nWhat is refused, and the words of the refusal:\n\n";
                for rule in rules {
                    writeln!(text, "- {rule}").unwrap();
                }
            }
        }
    }
    text
}

/// The columns of `kubectl get`; those of `-o wide` alone are said to be so.
fn columns(version: &Value) -> String {
    let columns = version["additionalPrinterColumns"].as_array().unwrap();
    let names = columns.iter().map(|column| {
        let wide = if column["priority"] == 1 {
            " (`-o wide`)"
        } else {
            ""
        };
        let name = column["name"].as_str().unwrap().to_uppercase();
        format!("`{name}`{wide}")
    });
    names.collect::<Vec<_>>().join(", ")
}

/// A row for each field below, in the order of the schema.
fn rows(schema: &Value, path: &str, text: &mut String) {
    let required = schema["required"].as_array();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let default = match &field["default"] {
            Value::Null if required.is_some_and(|r| r.iter().any(|r| r == name)) => {
                "required".to_owned()
            }
            Value::Null | Value::Object(_) => String::new(),
            Value::String(none) if none.is_empty() => String::new(),
            Value::Array(list) if list.is_empty() => "`[]`".to_owned(),
            value => format!("`{}`", value.to_string().trim_matches('"')),
        };
        writeln!(
            text,
            "| `{path}` | {} | {default} | {} |",
            type_of(field),
            cell(&prose(field))
        )
        .unwrap();
        // Selectors and conditions are Kubernetes' own, and explained there.
        if !path.ends_with("elector") && !path.ends_with("conditions") {
            rows(field, &path, text);
            rows(&field["items"], &format!("{path}[]"), text);
        }
    }
}

/// A field's type with its bounds.
fn type_of(field: &Value) -> String {
    let of = |name: &str| field[name].as_f64();
    if let Some(values) = field["enum"].as_array() {
        let values = values.iter().filter_map(Value::as_str);
        return values
            .map(|v| format!("`{v}`"))
            .collect::<Vec<_>>()
            .join(", ");
    }
    if field["x-kubernetes-int-or-string"] == true {
        return "integer or string".to_owned();
    }
    let bounds = match (of("minimum"), of("maximum")) {
        (Some(least), Some(most)) => format!(", {least} to {most}"),
        _ => String::new(),
    };
    match (field["type"].as_str().unwrap_or("object"), of("maxItems")) {
        ("array", most) => {
            let items = type_of(&field["items"]);
            let most = most.map(|most| format!(", at most {most}"));
            format!("list of {items}{}", most.unwrap_or_default())
        }
        ("string", _) if field["format"] == "date-time" => "time, RFC 3339".to_owned(),
        (plain, _) => format!("{plain}{bounds}"),
    }
}

fn prose(field: &Value) -> String {
    field["description"]
        .as_str()
        .unwrap_or_default()
        .replace('\n', " ")
}

/// Text that may stand in a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The messages of all rules, each once.
fn collect(schema: &Value, rules: &mut Vec<String>) {
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let message = rule["message"].as_str().unwrap().to_owned();
        if !rules.contains(&message) {
            rules.push(message);
        }
    }
    for field in schema["properties"].as_object().into_iter().flatten() {
        collect(field.1, rules);
    }
    if schema["items"].is_object() {
        collect(&schema["items"], rules);
    }
}
