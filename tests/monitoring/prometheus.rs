//! What Prometheus itself makes of expressions and rules: its parser and its engine, in a small program.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use testbed::binaries::Binaries;

use crate::catalog::{self, Metric, PREFIX};

/// What is asked.
#[derive(Default, Serialize)]
pub struct Question {
    pub expressions: Vec<String>,
    /// A file of rules.
    pub rules: String,
    pub cases: Vec<Trial>,
}

/// Series to try the rules on, and when to look, in seconds.
#[derive(Serialize)]
pub struct Trial {
    pub series: Vec<String>,
    pub at: u32,
}

/// What is answered.
#[derive(Deserialize)]
pub struct Answer {
    #[serde(deserialize_with = "or_empty")]
    pub expressions: Vec<Parsed>,
    #[serde(deserialize_with = "or_empty")]
    pub alerts: Vec<Alert>,
    #[serde(deserialize_with = "or_empty")]
    pub cases: Vec<Vec<Fired>>,
}

#[derive(Debug, Deserialize)]
pub struct Parsed {
    pub error: String,
    #[serde(deserialize_with = "or_empty")]
    pub metrics: Vec<Selector>,
}

#[derive(Debug, Deserialize)]
pub struct Selector {
    pub name: String,
    pub labels: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub struct Alert {
    pub name: String,
    #[serde(flatten)]
    pub parsed: Parsed,
}

#[derive(Debug, Deserialize)]
pub struct Fired {
    pub alert: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

/// Go writes an empty list as null.
fn or_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<Vec<T>>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Asks Prometheus. A file of rules that it would not load fails.
pub fn ask(question: &Question) -> Answer {
    let mut child = Command::new(Binaries::extra("promrules").unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let asked = serde_json::to_vec(question).unwrap();
    child.stdin.take().unwrap().write_all(&asked).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Labels that Prometheus itself puts on every series.
const OF_THE_TARGET: [&str; 6] = [
    "cluster",
    "container",
    "instance",
    "job",
    "namespace",
    "pod",
];

/// Fails if an expression does not parse, or names a metric or a label that the operator does not have.
pub fn check(of: &str, parsed: &Parsed, metrics: &BTreeMap<String, Metric>) {
    assert_eq!(parsed.error, "", "{of}");
    assert!(!parsed.metrics.is_empty(), "{of}");
    for selector in &parsed.metrics {
        let name = &selector.name;
        if !name.starts_with(PREFIX) {
            let foreign = [
                "container_memory_working_set_bytes",
                "container_cpu_usage_seconds_total",
            ];
            assert!(foreign.contains(&name.as_str()), "{of}: {name}");
            continue;
        }
        let metric = catalog::meant(metrics, name);
        let metric = metric.unwrap_or_else(|| panic!("{of}: there is no {name}"));
        for label in &selector.labels {
            let known = metric.labels.contains(label)
                || OF_THE_TARGET.contains(&label.as_str())
                || (label == "le" && metric.kind == "histogram");
            assert!(known, "{of}: {name} has no label {label}");
        }
    }
}
