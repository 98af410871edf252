//! What is joined, made, meant and switched.

use serde_json::{Value, json};

use super::{node, now, record, spot};
use crate::plugin::drain::{Choice, choose, object};
use crate::plugin::history::within;
use crate::plugin::progress::end;
use crate::plugin::switch::{Switch, warning};
use crate::plugin::{End, Target, ages, target};

fn effective(mode: &str, actions: &Value) -> Value {
    let spec = crate::api::termination::EffectivePolicy {
        name: "default".into(),
        ..Default::default()
    };
    let mut policy = serde_json::to_value(spec).unwrap();
    policy["mode"] = json!(mode);
    policy["actions"] = actions.clone();
    policy
}

#[test]
fn a_drain_joins_what_empties_the_node_and_nothing_else() {
    let node = node(&json!({}));
    let begun = "2026-11-21T10:42:30Z";
    let drains = effective("Enforce", &json!({}));
    let cordons = effective("Enforce", &json!({"spotInterruption": "Cordon"}));
    let observes = effective("Observe", &json!({}));
    for (why, spec, status, joins) in [
        ("just asked for by hand", json!({}), Value::Null, true),
        (
            "a spot notice that is acted on",
            spot(),
            json!({"phase": "Draining", "startedAt": begun, "policy": drains}),
            true,
        ),
        (
            "one by hand that is done",
            json!({}),
            json!({"phase": "Released", "outcome": "Drained", "startedAt": begun}),
            true,
        ),
        (
            "one that was held",
            json!({"hold": true}),
            json!({"phase": "Waiting", "waiting": {"reason": "Held"}}),
            true,
        ),
        (
            "one that only closes the node",
            spot(),
            json!({"phase": "Draining", "startedAt": begun, "policy": cordons}),
            false,
        ),
        (
            "one that only observes",
            spot(),
            json!({"phase": "Released", "outcome": "Observed", "policy": observes}),
            false,
        ),
        (
            "one that has not begun",
            spot(),
            json!({"phase": "Waiting", "waiting": {"reason": "MaintenanceWindow"}, "policy": drains}),
            false,
        ),
        (
            "one that gave up",
            json!({}),
            json!({"phase": "Released", "outcome": "DrainIncomplete", "startedAt": begun}),
            false,
        ),
        (
            "one that is canceled",
            json!({"cancel": true}),
            Value::Null,
            false,
        ),
        (
            "one that is over",
            json!({}),
            json!({"phase": "Canceled"}),
            false,
        ),
        (
            "another machine's of that name",
            json!({}),
            json!({"phase": "Draining", "node": {"uid": "uid-0"}}),
            false,
        ),
        (
            "another node's",
            json!({"nodeName": "node-2"}),
            Value::Null,
            false,
        ),
    ] {
        let records = [record("x", &spec, &status)];
        let choice = choose(&node, &records);
        let joined = matches!(choice, Choice::Join(_));
        assert_eq!(joined, joins, "{why}: {choice:?}");
    }
}

#[test]
fn a_new_drain_has_the_nodes_name_or_the_first_number_that_is_free() {
    let node = node(&json!({}));
    let over = json!({"phase": "Canceled"});
    let taken = |name: &str| record(name, &json!({}), &over);
    let mut records = Vec::new();
    for free in ["node-1", "node-1-2", "node-1-3"] {
        assert_eq!(choose(&node, &records), Choice::Create(free.to_owned()));
        records.push(taken(free));
    }
}

#[test]
fn what_is_made_names_the_node_alone_and_the_reason_is_bounded() {
    let made = object("node-1", "node-1", Some(&"ü".repeat(2000)));
    let made = serde_json::to_value(made).unwrap();
    assert_eq!(
        made["spec"],
        json!({"nodeName": "node-1", "hold": false, "cancel": false, "signals": []})
    );
    let reason = made["metadata"]["annotations"]["nodetermination.dev/reason"].as_str();
    assert_eq!(reason.unwrap().len(), 1024);
    let plain = object("a", "b", None).metadata;
    assert_eq!(plain.annotations, None);
}

#[test]
fn a_drain_has_ended_well_if_every_pod_that_was_to_leave_has_left() {
    let pods = |gone| json!({"summary": "", "total": 3, "evicted": 0, "forced": 0, "gone": gone, "blocked": 0, "stuck": 0, "skipped": 0});
    for (phase, outcome, gone, ends) in [
        ("Draining", None, 1, None),
        ("Releasing", Some("Drained"), 3, None),
        ("Released", Some("Drained"), 3, Some(End::Done)),
        ("Completed", Some("Drained"), 3, Some(End::Done)),
        ("Completed", Some("NodeGone"), 3, Some(End::Done)),
        ("Completed", Some("NodeGone"), 2, Some(End::NotDrained)),
        (
            "Released",
            Some("DrainIncomplete"),
            2,
            Some(End::NotDrained),
        ),
        ("Released", Some("Observed"), 0, Some(End::NotDrained)),
        ("Canceled", Some("Canceled"), 3, Some(End::NotDrained)),
        ("Failed", Some("NodeNotFound"), 0, Some(End::NotDrained)),
    ] {
        let mut status = json!({"phase": phase, "pods": pods(gone)});
        if let Some(outcome) = outcome {
            status["outcome"] = json!(outcome);
        }
        let record = record("x", &json!({}), &status);
        assert_eq!(end(&record), ends, "{phase} {outcome:?} {gone}");
    }
    assert_eq!(end(&record("x", &json!({}), &Value::Null)), None);
}

#[test]
fn a_target_is_a_node_or_a_record_or_whichever_there_is() {
    let parse = |text: &str| Target::parse(text);
    assert_eq!(parse("a"), Ok(Target::Either("a".into())));
    assert_eq!(parse("node/a"), Ok(Target::Node("a".into())));
    for kind in [
        "nt",
        "nodetermination",
        "nodeterminations.nodetermination.dev",
    ] {
        assert_eq!(parse(&format!("{kind}/a")), Ok(Target::Record("a".into())));
    }
    for wrong in [
        "", "node/", "pod/a", "a/b/c", "a?b=c", "nt/a,b", "node/A", "..", "a b",
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
    let over = record("node-1", &json!({}), &json!({"phase": "Canceled"}));
    let open = record("i-1", &spot(), &json!({"phase": "Draining"}));
    let either = Target::Either("node-1".into());
    let names = |records: Vec<_>| -> Vec<_> {
        let names = records.into_iter();
        names
            .map(|r: crate::api::termination::NodeTermination| r.metadata.name.unwrap())
            .collect()
    };
    let both = [over.clone(), open.clone()];
    assert_eq!(names(either.meant(&both, Some(over.clone()))), ["i-1"]);
    assert_eq!(names(either.meant(&both[..1], Some(over))), ["node-1"]);
    let said = target::several(&[open.clone(), record("node-1", &json!({}), &Value::Null)]);
    assert_eq!(
        said,
        "several NodeTerminations are open on node-1: name one of them, or --all\n  nt/i-1 (SpotInterruption)\n  nt/node-1 (Manual)\nnothing was canceled"
    );
}

#[test]
fn a_switch_writes_one_field_of_one_object() {
    let object = record("x", &json!({}), &Value::Null);
    assert_eq!(
        Switch::Hold.patch(&object),
        json!({"metadata": {"uid": "uid-of-x"}, "spec": {"hold": true}})
    );
    assert_eq!(
        Switch::Release.patch(&object)["spec"],
        json!({"hold": false})
    );
    assert_eq!(
        Switch::Cancel.patch(&object)["spec"],
        json!({"cancel": true})
    );
    assert!(Switch::Release.is_set(&object) && !Switch::Hold.is_set(&object));
}

#[test]
fn a_field_that_a_manifest_sets_is_warned_of_and_one_that_is_only_defaulted_is_not() {
    let managed = |operation: &str, manager: &str| {
        let mut object = record("x", &json!({}), &Value::Null);
        let entry = json!({
            "operation": operation, "manager": manager,
            "fieldsV1": {"f:spec": {"f:nodeName": {}, "f:hold": {}}},
        });
        object.metadata.managed_fields = Some(vec![serde_json::from_value(entry).unwrap()]);
        object
    };
    let said = warning(Switch::Hold, &managed("Apply", "argocd-controller")).unwrap();
    assert!(said.contains("that argocd-controller applies"), "{said}");
    assert_eq!(
        warning(Switch::Cancel, &managed("Apply", "argocd-controller")),
        None
    );
    // Whoever creates an object without server-side apply owns its defaults too.
    assert_eq!(
        warning(Switch::Hold, &managed("Update", "kubectl-create")),
        None
    );
    let mut object = record("x", &json!({}), &Value::Null);
    for (applied, warns) in [
        (r#"{"spec":{"hold":true}}"#, true),
        (r#"{"spec":{}}"#, false),
    ] {
        let last = ("kubectl.kubernetes.io/last-applied-configuration", applied);
        let last = (last.0.to_owned(), last.1.to_owned());
        object.metadata.annotations = Some(std::iter::once(last).collect());
        assert_eq!(warning(Switch::Hold, &object).is_some(), warns, "{applied}");
    }
}

#[test]
fn history_holds_what_was_open_at_some_time_since_then_the_oldest_first() {
    let made = |name: &str, created: &str, status: Value| {
        let mut object = record(name, &json!({}), &status);
        object.metadata.creation_timestamp = Some(serde_json::from_value(json!(created)).unwrap());
        object
    };
    let ended = |at: &str| json!({"phase": "Completed", "completedAt": at});
    let records = vec![
        made("young", "2026-11-21T10:00:00Z", Value::Null),
        made(
            "long-open",
            "2026-11-01T10:00:00Z",
            json!({"phase": "Released"}),
        ),
        made(
            "ended-today",
            "2026-11-10T10:00:00Z",
            ended("2026-11-21T09:00:00Z"),
        ),
        made(
            "ended-before",
            "2026-11-10T09:00:00Z",
            ended("2026-11-11T09:00:00Z"),
        ),
    ];
    let names = |since: Option<&str>| -> Vec<String> {
        let since = since.map(|text| ages::parse(text).unwrap());
        let found = within(records.clone(), since, now());
        found
            .into_iter()
            .map(|r| r.metadata.name.unwrap())
            .collect()
    };
    assert_eq!(names(Some("24h")), ["long-open", "ended-today", "young"]);
    assert_eq!(names(None).len(), 4);
}
