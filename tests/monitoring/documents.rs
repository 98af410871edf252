//! The documents hold what the code has: metrics, Events, log lines.

use std::collections::BTreeSet;
use std::fs;

use node_termination_operator::cluster::events::REASONS;

use crate::catalog::{PREFIX, metrics};
use crate::{read, root, sources};

/// The cells of each row of a document whose first cell is in backticks, that cell bare.
fn rows<'a>(document: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let section = document.split(&format!("\n## {heading}\n")).nth(1);
    let section = section.unwrap_or_else(|| panic!("no section {heading}"));
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|l| l.starts_with("| `"));
    rows.map(|row| {
        let cells = row.trim_matches('|').split('|');
        cells.map(str::trim).collect()
    })
    .collect()
}

#[test]
fn the_table_of_metrics_is_that_of_the_code_in_names_types_labels_and_help() {
    let document = read("docs/metrics.md");
    let metrics = metrics();
    assert!(metrics.len() > 25, "{}", metrics.len());
    let mut documented = BTreeSet::new();
    for row in rows(&document, "Every metric") {
        let [name, kind, labels, help] = row[..] else {
            panic!("four cells: {row:?}")
        };
        let name = name.trim_matches('`');
        let metric = metrics.get(name);
        let metric = metric.unwrap_or_else(|| panic!("there is no metric {name}"));
        assert_eq!(kind, metric.kind, "{name}");
        let labels: Vec<&str> = labels.split('`').skip(1).step_by(2).collect();
        assert_eq!(labels, metric.labels, "{name}");
        let said = help.strip_prefix(metric.help.as_str());
        let said = said.unwrap_or_else(|| panic!("{name}: it says: {}", metric.help));
        assert!(
            said.is_empty() || said.starts_with(['.', ';', ',', ':']),
            "{name}: {said}"
        );
        assert!(documented.insert(name.to_owned()), "{name} twice");
    }
    for name in metrics.keys() {
        assert!(name.starts_with(PREFIX));
        assert!(documented.contains(name), "{name} is not documented");
    }
}

#[test]
fn every_event_that_is_published_is_listed_and_every_one_that_is_listed_is_published() {
    let document = read("docs/logs-and-events.md");
    let rows = rows(&document, "Events");
    let listed: Vec<&str> = rows.iter().map(|r| r[0].trim_matches('`')).collect();
    assert_eq!(listed, REASONS);
    let texts = sources(&root().join("src")).into_iter();
    let texts = texts.filter(|p| !p.ends_with("cluster/events.rs"));
    let code: String = texts.map(|p| fs::read_to_string(p).unwrap()).collect();
    for reason in REASONS {
        assert!(code.contains(&format!("\"{reason}\"")), "{reason}");
    }
}

#[test]
fn the_log_lines_that_are_listed_are_in_the_code() {
    let document = read("docs/logs-and-events.md");
    let texts = sources(&root().join("src")).into_iter();
    let code: String = texts.map(|p| fs::read_to_string(p).unwrap()).collect();
    let rows = rows(&document, "Log lines");
    assert!(rows.len() >= 15, "{rows:?}");
    for row in rows {
        let [message, level, fields, _] = row[..] else {
            panic!("four cells: {row:?}")
        };
        let message = message.trim_matches('`');
        assert!(code.contains(&format!("\"{message}\"")), "{message}");
        assert!(["info", "warn", "error"].contains(&level), "{message}");
        for field in fields.split('`').skip(1).step_by(2) {
            assert!(code.contains(field), "{message}: {field}");
        }
    }
}

/// Names with underscores that are no metrics of ours: of aws-node-termination-handler, and of a file of rules.
const OF_OTHERS: [&str; 8] = [
    "actions_node_total",
    "actions_total",
    "events_error_total",
    "node_action",
    "node_status",
    "nth_tagged_instances",
    "nth_tagged_nodes",
    "runbook_url",
];

/// The README and all of `docs/`, each without its blocks of code.
fn documents() -> Vec<(String, String)> {
    let mut paths = vec![root().join("README.md")];
    for folder in ["docs", "docs/gitops"] {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        paths.extend(entries.map(|entry| entry.unwrap().path()));
    }
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    let documents = paths.into_iter().map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        (name, text.split("```").step_by(2).collect())
    });
    documents.collect()
}

/// Whether the text can be the name of a metric and is not that of a test.
fn is_metric(name: &str) -> bool {
    let of_name = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let words = name.matches('_').count();
    let unit = name.ends_with("_total") || name.ends_with("_seconds");
    let short = words > 0 && (words < 3 || words == 3 && unit);
    of_name && name != PREFIX && (short || name.starts_with(PREFIX))
}

#[test]
fn every_metric_that_a_document_names_exists_with_its_labels_and_their_values() {
    let metrics = metrics();
    let values = read("docs/metrics.md");
    let mut checked = 0;
    for (document, text) in documents() {
        for quoted in text.split('`').skip(1).step_by(2) {
            let (name, labels) = quoted.split_once('{').unwrap_or((quoted, ""));
            if !is_metric(name) || OF_OTHERS.contains(&name) {
                continue;
            }
            let full = format!("{PREFIX}{}", name.trim_start_matches(PREFIX));
            let metric = metrics.get(&full);
            let metric = metric.unwrap_or_else(|| panic!("{document}: there is no metric {name}"));
            for pair in labels
                .trim_end_matches('}')
                .split(',')
                .filter(|p| !p.is_empty())
            {
                let (label, value) = pair.split_once('=').unwrap();
                assert!(
                    metric.labels.iter().any(|l| l == label),
                    "{document}: {quoted}"
                );
                let value = format!("`{}`", value.trim_matches('"'));
                assert!(values.contains(&value), "{document}: {quoted}");
            }
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked}");
}
