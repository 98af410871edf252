//! Every metric that the sources register: name, type, labels and help.

use std::collections::BTreeMap;
use std::fs;

use crate::{root, sources};

/// The prefix of every metric.
pub const PREFIX: &str = "node_termination_operator_";

/// A metric as the code has it.
#[derive(Debug, PartialEq)]
pub struct Metric {
    pub kind: &'static str,
    pub labels: Vec<String>,
    pub help: String,
}

/// All metrics by their full names.
pub fn metrics() -> BTreeMap<String, Metric> {
    let mut found = BTreeMap::new();
    for source in sources(&root().join("src")) {
        let text = fs::read_to_string(source).unwrap();
        let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        for (unit, call) in registrations(text) {
            let (name, metric) = read(text, unit, call);
            assert!(found.insert(name.clone(), metric).is_none(), "{name} twice");
        }
        for entry in collected(text) {
            let (name, metric) = read(text, "", entry);
            assert!(found.insert(name.clone(), metric).is_none(), "{name} twice");
        }
    }
    found
}

/// The arguments of each `register` of a registry, and the unit that it adds to the name.
fn registrations(text: &str) -> Vec<(&'static str, &str)> {
    let mut found = Vec::new();
    for (call, unit) in [
        ("registry.register(", ""),
        ("registry.register_with_unit(", "_seconds"),
    ] {
        let calls = text.split(call).skip(1);
        found.extend(calls.map(|rest| (unit, rest.split(");\n").next().unwrap())));
    }
    found
}

/// What a collector of ours lists: a name, a help text and `&self.FIELD`.
fn collected(text: &str) -> Vec<&str> {
    let Some((_, list)) = text.split_once("&dyn EncodeMetric); ") else {
        return Vec::new();
    };
    let list = list.split("\n    }\n").next().unwrap();
    let entries: Vec<&str> = list.split("(\n").skip(1).collect();
    assert!(!entries.is_empty());
    entries
}

fn read(text: &str, unit: &str, arguments: &str) -> (String, Metric) {
    let literals: Vec<&str> = arguments.split('"').skip(1).step_by(2).collect();
    let [name, help] = literals[..] else {
        panic!("a name and a help text: {arguments}")
    };
    let field = arguments.rsplit('"').next().unwrap();
    let field = field.replace(".clone()", "").replace("Unit::Seconds", "");
    let mut words = field.split(|c: char| !c.is_alphanumeric() && c != '_');
    let field = words.rfind(|word| !word.is_empty()).unwrap();
    let (kind, suffix, labels) = declared(text, field);
    let name = format!("{PREFIX}{name}{unit}{suffix}");
    let help = help.to_owned();
    let metric = Metric { kind, labels, help };
    (name, metric)
}

/// The type, what it adds to the name, and the labels of a metric that is held by that field or variable.
fn declared(text: &str, field: &str) -> (&'static str, &'static str, Vec<String>) {
    let known = [
        ("Counter", ("counter", "_total")),
        ("Histogram", ("histogram", "")),
        ("Gauge", ("gauge", "")),
    ];
    for line in text.lines() {
        let line = line.trim().trim_start_matches("static ");
        let Some(declared) = line.strip_prefix(&format!("{field}: ")) else {
            continue;
        };
        let Some((_, (kind, suffix))) = known.iter().find(|(k, _)| declared.contains(k)) else {
            continue;
        };
        let family = declared.split_once("Family<");
        let labels = family.map(|(_, rest)| rest.split(',').next().unwrap());
        let labels = labels.map_or_else(Vec::new, |set| fields(text, set));
        return (kind, suffix, labels);
    }
    let info = text.split_once("Info::new([");
    let (_, pairs) = info.unwrap_or_else(|| panic!("no type of {field}"));
    let pairs = pairs.split("])").next().unwrap();
    let labels = pairs.split("(\"").skip(1).map(|p| p.split('"').next());
    let labels = labels.map(|label| label.unwrap().to_owned()).collect();
    ("info", "_info", labels)
}

/// The fields of a struct of labels.
fn fields(text: &str, name: &str) -> Vec<String> {
    let (_, body) = text.split_once(&format!("struct {name} {{\n")).unwrap();
    let body = body.split('}').next().unwrap();
    let lines = body.lines().filter_map(|line| line.split_once(": "));
    lines.map(|(field, _)| field.trim().to_owned()).collect()
}

/// The metric that a name in an expression means: a histogram is also `_bucket`, `_sum` and `_count`.
pub fn meant<'a>(metrics: &'a BTreeMap<String, Metric>, name: &str) -> Option<&'a Metric> {
    let of_histogram = ["_bucket", "_sum", "_count"].iter();
    let base = of_histogram.filter_map(|suffix| name.strip_suffix(suffix));
    let mut base = base.filter_map(|name| metrics.get(name));
    metrics
        .get(name)
        .filter(|m| m.kind != "histogram")
        .or_else(|| base.find(|m| m.kind == "histogram"))
}
