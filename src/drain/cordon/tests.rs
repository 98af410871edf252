//! What is put on a node, and what is undone, and when.

use super::*;
use crate::api::GROUP;

pub(crate) fn node() -> Node {
    let taint = Taint {
        key: "team".into(),
        effect: "NoSchedule".into(),
        value: Some("web".into()),
        time_added: None,
    };
    Node {
        name: "n".into(),
        uid: "u".into(),
        resource_version: "7".into(),
        created: None,
        labels: std::iter::once(("a".to_owned(), "b".to_owned())).collect(),
        has_provider_id: true,
        instance_id: None,
        ready: true,
        boot_id: None,
        unschedulable: false,
        taints: vec![taint],
        cordon: None,
        volumes: crate::drain::volumes::NodeVolumes::default(),
    }
}

/// What the API server makes of a merge patch, as far as these patches go.
pub(crate) fn apply(node: &mut Node, patch: &Value) {
    assert_eq!(patch["metadata"]["uid"], json!(node.uid));
    assert_eq!(
        patch["metadata"]["resourceVersion"],
        json!(node.resource_version)
    );
    if let Some(value) = patch["spec"].get("unschedulable") {
        node.unschedulable = value.as_bool().unwrap_or(false);
    }
    if let Some(taints) = patch["spec"].get("taints") {
        node.taints = serde_json::from_value(taints.clone()).unwrap();
    }
    for (key, value) in patch["metadata"]["labels"].as_object().unwrap() {
        match value.as_str() {
            Some(text) => drop(node.labels.insert(key.clone(), text.to_owned())),
            None => drop(node.labels.remove(key)),
        }
    }
    node.cordon = patch["metadata"]["annotations"][ANNOTATION]
        .as_str()
        .map(|t| serde_json::from_str(t).unwrap());
}

fn settings() -> Cordon {
    Cordon {
        exclude_from_load_balancers: true,
        ..Cordon::default()
    }
}

#[test]
fn close_then_open_gives_back_the_node_as_it_was() {
    let before = node();
    let mut node = before.clone();
    apply(
        &mut node,
        &close(&before, "i-1", &settings(), "SpotInterruption"),
    );
    assert!(is_closed(&node, "i-1", &settings()) && !is_closed(&node, "i-2", &settings()));
    assert!(
        node.taints
            .iter()
            .any(|t| t.key == format!("{GROUP}/terminating")
                && t.value.as_deref() == Some("SpotInterruption"))
    );
    let undo = open(&node, "i-1", &[]).unwrap();
    apply(&mut node, &undo);
    assert_eq!(node, before);
    assert_eq!(open(&node, "i-1", &[]), None);
}

#[test]
fn what_somebody_else_had_put_on_stays() {
    let mut node = node();
    node.unschedulable = true;
    node.labels.insert(EXCLUDE_LABEL.into(), "mine".into());
    let before = node.clone();
    let patch = close(&node, "i-1", &settings(), "SpotInterruption");
    apply(&mut node, &patch);
    let undo = open(&node, "i-1", &[]).unwrap();
    apply(&mut node, &undo);
    assert_eq!(node, before);
}

#[test]
fn the_taints_of_two_policies_are_both_undone_with_the_last_incident() {
    let before = node();
    let mut node = before.clone();
    let mut other = settings();
    other.taint.key = "example.com/other".into();
    for (incident, cordon) in [("i-1", settings()), ("i-2", other.clone())] {
        let patch = close(&node, incident, &cordon, "SpotInterruption");
        apply(&mut node, &patch);
    }
    assert_eq!(node.taints.len(), 3);
    let undo = open(&node, "i-1", &["i-2".to_owned()]).unwrap();
    apply(&mut node, &undo);
    assert!(is_closed(&node, "i-2", &other));
    let undo = open(&node, "i-2", &[]).unwrap();
    apply(&mut node, &undo);
    assert_eq!(node, before);
}

#[test]
fn whoever_closes_a_node_that_one_of_two_incidents_left_open_finds_it_closed_after_both() {
    let mut node = node();
    for incident in ["i-1", "i-2"] {
        let patch = close(&node, incident, &settings(), "Manual");
        apply(&mut node, &patch);
    }
    node.unschedulable = false;
    let left = open(&node, "i-1", &["i-2".to_owned()]).unwrap();
    apply(&mut node, &left);
    node.unschedulable = true;
    let undo = open(&node, "i-2", &[]).unwrap();
    apply(&mut node, &undo);
    assert!(node.unschedulable && node.cordon.is_none());
}

#[test]
fn a_taint_that_is_put_on_twice_is_noted_once() {
    let mut node = node();
    let patch = close(&node, "i-1", &settings(), "SpotInterruption");
    apply(&mut node, &patch);
    node.taints.clear();
    let patch = close(&node, "i-1", &settings(), "SpotInterruption");
    apply(&mut node, &patch);
    assert_eq!(node.cordon.unwrap().taints.len(), 1);
}

#[test]
fn a_record_with_one_taint_as_it_was_written_before_is_read() {
    let text = r#"{"incidents":["i-1"],"taint":{"key":"k","effect":"NoSchedule"}}"#;
    let record: CordonRecord = serde_json::from_str(text).unwrap();
    assert_eq!(record.taints[0].key, "k");
}

#[test]
fn the_cordon_stays_while_another_incident_needs_it() {
    let mut node = node();
    for incident in ["i-1", "i-1-2"] {
        let patch = close(&node, incident, &settings(), "SpotInterruption");
        apply(&mut node, &patch);
    }
    let undo = open(&node, "i-1", &["i-1-2".to_owned()]).unwrap();
    apply(&mut node, &undo);
    assert!(is_closed(&node, "i-1-2", &settings()) && !is_marked(&node, "i-1"));
    let undo = open(&node, "i-1-2", &[]).unwrap();
    apply(&mut node, &undo);
    assert!(!node.unschedulable && node.cordon.is_none() && node.taints.len() == 1);
}
