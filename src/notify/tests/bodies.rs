//! What is said: the default document, and what templates make of it.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::api::policy::{Notification, NotificationHeader, Stage};
use crate::notify::template::{check, render, row, sample};
use crate::notify::{Fault, Message};

fn message(full: bool, stage: Stage) -> (Message, crate::api::termination::NodeTermination) {
    let object = sample(full).unwrap();
    let notification = Notification {
        name: "hook".to_owned(),
        ..Notification::default()
    };
    let cluster = full.then_some("production");
    (
        Message::of(&object, &row(&notification, stage), cluster),
        object,
    )
}

fn notification(template: &str) -> Notification {
    Notification {
        name: "hook".to_owned(),
        template: Some(template.to_owned()),
        stages: Stage::ALL.to_vec(),
        ..Notification::default()
    }
}

fn rendered(template: &str) -> String {
    let (message, object) = message(true, Stage::Blocked);
    let variables = std::iter::once(("key".to_owned(), "of".to_owned())).collect();
    render(template, &message, &object, &variables).unwrap()
}

fn fault(template: &str) -> Fault {
    check(&notification(template)).unwrap_err()
}

#[test]
fn the_default_body_has_the_fields_that_its_document_shows_whatever_is_known() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(root.join("docs/notifications.md")).unwrap();
    let shown = document.split("```json\n").nth(1).unwrap();
    let shown: Value = serde_json::from_str(shown.split("```").next().unwrap()).unwrap();
    let keys = |value: &Value| -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    for full in [true, false] {
        let (message, _) = message(full, Stage::Drained);
        let body = serde_json::to_value(&message).unwrap();
        assert_eq!(keys(&body), keys(&shown));
        assert_eq!(body["version"], shown["version"]);
        if full {
            assert_eq!(keys(&body["pods"]), keys(&shown["pods"]));
            assert_eq!(
                keys(&body["nodeTermination"]),
                keys(&shown["nodeTermination"])
            );
        } else {
            assert!(body["pods"].is_null() && body["instanceID"].is_null());
        }
    }
}

#[test]
fn each_stage_is_told_in_a_sentence_of_its_own() {
    let sentences = Stage::ALL.map(|stage| message(true, stage).0.summary);
    let begin = "SpotInterruption of ip-10-0-0-1.ec2.internal (i-0123456789abcdef0) in production ";
    let different: BTreeSet<&String> = sentences.iter().collect();
    assert_eq!(different.len(), Stage::ALL.len());
    assert!(
        sentences.iter().all(|s| s.starts_with(begin)),
        "{sentences:?}"
    );
    let blocked = "has pods that can not leave: web/web-0, deadline 2026-01-01T00:00:00Z";
    assert_eq!(sentences[3], format!("{begin}{blocked}"));
}

#[test]
fn a_template_has_the_message_and_the_whole_object_and_quotes_what_it_is_told_to() {
    for (template, body) in [
        ("{{ stage }} {{ node }}", "Blocked ip-10-0-0-1.ec2.internal"),
        ("{{ object.spec.signals[0].kind }}", "SpotInterruption"),
        (
            "{{ blocked[0].message | tojson }}",
            r#""it said \"no\"\nand more""#,
        ),
        ("{{ object.status.nothing.of.the.sort }}", ""),
        (
            "{% if stage in ['Blocked', 'Failed'] %}bad{% endif %}",
            "bad",
        ),
        ("{% if kind == 'Manual' %}by hand{% endif %}", ""),
        ("{{ '<&>' }}", "<&>"),
        ("{{ variables.key }}", "of"),
    ] {
        assert_eq!(rendered(template), body, "{template}");
    }
}

#[test]
fn a_bad_template_is_told_with_its_line() {
    for (template, line, what) in [
        ("{\n{{ stage", Some(2), "unexpected end of input"),
        ("{\n{% for %}\n}", Some(2), "unexpected"),
        ("{{ nodename }}", Some(1), "nothing is called nodename"),
        (
            "{{ variables.key }}",
            Some(1),
            "nothing is called variables.key",
        ),
        ("\"\n\n{{ stage | shout }}\"", Some(3), "shout"),
        ("{{ stage() }}", Some(1), "not callable"),
        (
            "{\"a\": \"{{ blocked[0].message }}\"}",
            None,
            "makes no JSON",
        ),
        (
            "plainly",
            None,
            "at stage Received it makes no JSON: line 1 of the body",
        ),
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
            Some(1),
            "fuel",
        ),
        ("{{ 'x' * 70000 }}", None, "it makes more than 65536 bytes"),
        (
            "{{ stage | tojson(indent=9223372036854775807) }}",
            Some(1),
            "too many",
        ),
        (
            "{{ stage | indent(9223372036854775807) }}",
            Some(1),
            "indent",
        ),
        (
            "{% include 'other' %}",
            Some(1),
            "unknown statement include",
        ),
    ] {
        let fault = fault(template);
        assert_eq!(fault.line, line, "{template}: {fault}");
        assert!(fault.to_string().contains(what), "{template}: {fault}");
    }
}

#[test]
fn a_body_that_is_not_to_be_json_need_not_be_and_one_of_nothing_is_good() {
    let plain = NotificationHeader {
        name: "content-type".to_owned(),
        value: Some("text/plain; charset=utf-8".to_owned()),
        value_from: None,
    };
    let plainly = Notification {
        headers: vec![plain],
        ..notification("{{ summary }}")
    };
    assert_eq!(check(&plainly), Ok(()));
    let seldom = "{% if stage == 'Failed' %}{{ summary | tojson }}{% endif %}";
    assert_eq!(check(&notification(seldom)), Ok(()));
}

#[test]
fn the_examples_make_json_at_every_stage() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("manifests/examples/notifications");
    let mut tried = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for document in text.split("\n---\n") {
            let object: Value = serde_yaml::from_str(document).unwrap();
            if object["kind"] != "TerminationPolicy" {
                continue;
            }
            let notifications = object["spec"]["notifications"].as_array().unwrap();
            for notification in notifications {
                let notification = serde_json::from_value(notification.clone());
                let notification: Notification = notification.unwrap();
                assert_eq!(check(&notification), Ok(()), "{}", notification.name);
                for stage in &notification.stages {
                    let (message, object) = message(true, *stage);
                    let template = notification.template.as_ref().unwrap();
                    let values = notification.variables.iter();
                    let values = values.map(|v| (v.name.clone(), "value".to_owned()));
                    let body = render(template, &message, &object, &values.collect()).unwrap();
                    let body: Value = serde_json::from_str(&body).unwrap();
                    let said = body.to_string();
                    assert!(said.contains("ip-10-0-0-1.ec2.internal"), "{said}");
                    tried += 1;
                }
            }
        }
    }
    assert!(tried >= 15, "{tried}");
}
