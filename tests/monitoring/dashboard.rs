//! The dashboard: it can be imported, and every panel asks for something that there is.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::prometheus::{self, Question};
use crate::{catalog, read};

const DASHBOARD: &str = "charts/node-termination-operator/files/dashboard.json";

fn dashboard() -> Value {
    serde_json::from_str(&read(DASHBOARD)).unwrap()
}

/// Each panel that is no heading, with its title.
fn panels() -> Vec<(String, Value)> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let panels = panels.filter(|p| p["type"] != "row");
    panels
        .map(|p| (p["title"].as_str().unwrap().to_owned(), p.clone()))
        .collect()
}

/// The expression with Grafana's variables filled in.
fn filled(expr: &str) -> String {
    expr.replace("$__rate_interval", "5m")
        .replace("$__range", "6h")
        .replace("$namespace", "n")
        .replace("$cluster", "c")
}

#[test]
fn every_panel_asks_for_metrics_and_labels_that_there_are() {
    let mut asked = Vec::new();
    for (title, panel) in panels() {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            let expr = target["expr"].as_str().unwrap();
            assert!(
                expr.contains(r#"namespace=~"$namespace""#),
                "{title}: {expr}"
            );
            asked.push((title.clone(), filled(expr)));
        }
    }
    let expressions = asked.iter().map(|(_, expr)| expr.clone()).collect();
    let answer = prometheus::ask(&Question {
        expressions,
        ..Question::default()
    });
    let metrics = catalog::metrics();
    assert_eq!(answer.expressions.len(), asked.len());
    for ((title, expr), parsed) in asked.iter().zip(&answer.expressions) {
        assert!(!expr.contains('$'), "{title}: {expr}");
        prometheus::check(title, parsed, &metrics);
    }
}

#[test]
fn the_dashboard_asks_for_its_datasource_and_every_panel_says_what_it_shows() {
    let dashboard = dashboard();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<&str> = variables
        .iter()
        .filter_map(|v| v["name"].as_str())
        .collect();
    assert_eq!(names, ["datasource", "cluster", "namespace"]);
    let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    for (title, panel) in panels() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(
            !panel["description"].as_str().unwrap().is_empty(),
            "{title}"
        );
        assert!(titles.insert(title.clone()), "{title} twice");
    }
    assert!(titles.len() >= 15, "{}", titles.len());
    // It is imported anew: with an identity of another installation it would replace that one's.
    assert_eq!(dashboard["id"], Value::Null);
}

#[test]
fn panels_do_not_lie_on_one_another() {
    let mut taken = BTreeSet::new();
    for panel in dashboard()["panels"].as_array().unwrap() {
        let place = |of: &str| panel["gridPos"][of].as_u64().unwrap();
        for x in place("x")..place("x") + place("w") {
            assert!(x < 24, "{}", panel["title"]);
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{} at {x}, {y}", panel["title"]);
            }
        }
    }
}
