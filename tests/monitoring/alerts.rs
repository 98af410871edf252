//! The alerts: the same in every file, each with what an alert needs, and each tried on series.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use crate::prometheus::{self, Question, Trial};
use crate::{catalog, read};

/// The one that is written by hand; `just alerts` makes the others of it.
const SOURCE: &str = "charts/node-termination-operator/files/alerts.yaml";

#[derive(Deserialize)]
struct Fixture {
    /// The series of an operator that is well.
    well: Vec<String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    #[serde(default)]
    series: Vec<String>,
    /// Instead of the series of an operator that is well.
    only: Option<Vec<String>>,
    at: u32,
    fires: BTreeSet<String>,
}

impl Case {
    fn trial(&self, well: &[String]) -> Trial {
        let head = |series: &str| series.split(' ').next().unwrap().to_owned();
        let own: BTreeSet<String> = self.series.iter().map(|s| head(s)).collect();
        let well = self.only.as_deref().unwrap_or(well);
        let kept = well.iter().filter(|s| !own.contains(&head(s)));
        Trial {
            series: kept.chain(&self.series).cloned().collect(),
            at: self.at,
        }
    }
}

fn yaml(path: &str) -> Value {
    serde_yaml::from_str(&read(path)).unwrap()
}

fn rules() -> Vec<Value> {
    let groups = yaml(SOURCE)["groups"].as_array().unwrap().clone();
    let rules = groups.iter().flat_map(|g| g["rules"].as_array().unwrap());
    rules.cloned().collect()
}

#[test]
fn every_file_with_the_alerts_holds_the_same_ones() {
    let groups = &yaml(SOURCE)["groups"];
    assert_eq!(yaml("manifests/monitoring/alerts.yaml")["groups"], *groups);
    let object = yaml("manifests/monitoring/prometheus-rule.yaml");
    assert_eq!(object["kind"], "PrometheusRule");
    assert_eq!(object["spec"]["groups"], *groups, "run `just alerts`");
}

#[test]
fn every_alert_says_how_bad_it_is_and_has_its_section_in_the_runbook() {
    let runbook = read("docs/runbook.md");
    let mut names = BTreeSet::new();
    for rule in rules() {
        let name = rule["alert"].as_str().unwrap();
        assert!(names.insert(name.to_owned()), "{name} twice");
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{name}"
        );
        let notes = &rule["annotations"];
        for note in ["summary", "description"] {
            assert!(!notes[note].as_str().unwrap().is_empty(), "{name}");
        }
        let url = notes["runbook_url"].as_str().unwrap();
        let anchor = name.to_lowercase();
        assert_eq!(url, format!("docs/runbook.md#{anchor}"));
        let section = runbook.split(&format!("\n### {name}\n")).nth(1);
        let section = section.unwrap_or_else(|| panic!("{name} has no section"));
        let section = section.split("\n### ").next().unwrap();
        for part in [
            "**What it means.**",
            "**What it costs.**",
            "**Look.**",
            "**Do.**",
        ] {
            assert!(section.contains(part), "{name} lacks {part}");
        }
        assert!(section.contains("kubectl "), "{name}: no command");
    }
    let headings = runbook.lines().filter_map(|l| l.strip_prefix("### "));
    for heading in headings.filter(|h| h.starts_with("NodeTermination")) {
        assert!(names.contains(heading), "there is no alert {heading}");
    }
}

#[test]
fn every_alert_names_only_metrics_and_labels_that_there_are() {
    let rules = read(SOURCE);
    let answer = prometheus::ask(&Question {
        rules,
        ..Question::default()
    });
    assert!(answer.alerts.len() > 15, "{}", answer.alerts.len());
    let metrics = catalog::metrics();
    for alert in answer.alerts {
        prometheus::check(&alert.name, &alert.parsed, &metrics);
    }
}

#[test]
fn every_alert_fires_on_the_series_that_it_is_for_and_on_no_others() {
    let fixture: Fixture = serde_yaml::from_str(&read("tests/fixtures/alerts.yaml")).unwrap();
    let cases = fixture.cases.iter().map(|c| c.trial(&fixture.well));
    let answer = prometheus::ask(&Question {
        rules: read(SOURCE),
        cases: cases.collect(),
        ..Question::default()
    });
    let mut fired = BTreeSet::new();
    assert_eq!(answer.cases.len(), fixture.cases.len());
    for (case, found) in fixture.cases.iter().zip(answer.cases) {
        let names: BTreeSet<String> = found.iter().map(|f| f.alert.clone()).collect();
        assert_eq!(names, case.fires, "{}", case.name);
        for one in &found {
            let said = &one.annotations["description"];
            assert!(
                !said.contains("{{") && !said.contains("<no value>"),
                "{said}"
            );
            let one_cluster = one.alert == "NodeTerminationOperatorAbsent";
            assert!(one_cluster || one.labels.contains_key("cluster"), "{one:?}");
        }
        fired.extend(names);
    }
    for rule in rules() {
        let name = rule["alert"].as_str().unwrap();
        assert!(fired.contains(name), "no case makes {name} fire");
    }
}
