//! Every body of `tests/fixtures/events`, and bodies that nobody thought of.

use std::collections::BTreeSet;
use std::fs;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/events");
const INSTANCE: &str = "i-0aaa111122223333b";

fn fixture(name: &str) -> String {
    fs::read_to_string(format!("{FIXTURES}/{name}.json")).unwrap()
}

fn heard(name: &str) -> Heard {
    match parse(&fixture(name)) {
        Ok(Parsed::Signals(mut signals)) if signals.len() == 1 => signals.remove(0),
        other => panic!("{name}: {other:?}"),
    }
}

/// The signal as it goes over the wire, without its ID.
fn wire(name: &str) -> Value {
    let mut signal = serde_json::to_value(heard(name).signal).unwrap();
    signal.as_object_mut().unwrap().remove("id").unwrap();
    signal
}

const SIGNALS: &[&str] = &[
    "spot-terminate",
    "spot-stop",
    "spot-hibernate",
    "spot-without-action",
    "spot-old-instance-id",
    "spot-fraction-of-a-second-and-offset",
    "asg-terminate",
    "asg-terminate-second-hook",
    "asg-terminate-longest-names",
];

const DISCARDED: &[(&str, &str)] = &[
    ("other-state-change", "OtherDetailType"),
    ("other-asg-launch-successful", "OtherDetailType"),
    ("other-health", "OtherDetailType"),
    ("other-transition", "OtherTransition"),
];

const MALFORMED: &[(&str, &str)] = &[
    ("bad-truncated", "NotJSON"),
    ("bad-text", "NotJSON"),
    ("bad-empty", "NotJSON"),
    ("bad-number", "Shape"),
    ("bad-deep", "Shape"),
    ("bad-no-source", "Shape"),
    ("bad-no-time", "Shape"),
    ("bad-time-number", "Shape"),
    ("bad-no-detail", "Shape"),
    ("bad-detail-null", "Shape"),
    ("bad-no-instance-id", "Shape"),
    ("bad-instance-id-list", "Shape"),
    ("bad-asg-no-token", "Shape"),
    ("bad-asg-hook-object", "Shape"),
    ("bad-unknown-source", "UnknownSource"),
    ("bad-spot-from-another-source", "UnknownSource"),
    ("bad-time", "Time"),
    ("bad-time-before-1970", "Time"),
    ("bad-time-without-room-for-the-deadline", "Time"),
    ("bad-instance-id-upper-case", "InstanceID"),
    ("bad-instance-id-short", "InstanceID"),
    ("bad-instance-id-long", "InstanceID"),
    ("bad-instance-id-path", "InstanceID"),
    ("bad-action-long", "Length"),
    ("bad-asg-empty-token", "Length"),
    ("bad-asg-long-token", "Length"),
    ("bad-asg-long-group", "Length"),
    ("bad-asg-long-hook", "Length"),
    ("bad-asg-no-region", "Region"),
    ("bad-asg-region-host", "Region"),
];

#[test]
fn a_spot_notice_gives_two_minutes_from_its_own_time() {
    assert_eq!(heard("spot-terminate").instance_id, INSTANCE);
    let spot = |action: &str| {
        json!({"kind": "SpotInterruption", "noticeTime": "2026-03-18T08:20:00Z",
            "deadline": "2026-03-18T08:22:00Z", "instanceAction": action})
    };
    assert_eq!(wire("spot-terminate"), spot("terminate"));
    assert_eq!(wire("spot-stop"), spot("stop"));
    assert_eq!(wire("spot-hibernate"), spot("hibernate"));
    assert!(wire("spot-without-action").get("instanceAction").is_none());
    assert_eq!(heard("spot-old-instance-id").instance_id, "i-0aaa1111");
}

#[test]
fn a_time_is_one_instant_in_whole_seconds_however_it_is_written() {
    assert_eq!(
        heard("spot-fraction-of-a-second-and-offset"),
        heard("spot-terminate")
    );
}

#[test]
fn a_lifecycle_action_carries_what_completes_it() {
    assert_eq!(heard("asg-terminate").instance_id, INSTANCE);
    assert_eq!(
        wire("asg-terminate"),
        json!({"kind": "AutoScalingTermination", "noticeTime": "2026-03-18T08:20:00Z", "lifecycleHook": {
            "autoScalingGroupName": "workers", "hookName": "drain",
            "actionToken": "87654321-4321-4321-4321-210987654321",
            "transition": "autoscaling:EC2_INSTANCE_TERMINATING", "region": "eu-west-1"}})
    );
}

#[test]
fn each_notice_has_its_own_id_and_the_same_id_each_time() {
    let distinct = [
        "spot-terminate",
        "spot-stop",
        "spot-hibernate",
        "spot-without-action",
        "spot-old-instance-id",
        "asg-terminate",
        "asg-terminate-second-hook",
    ];
    let ids = |_| {
        distinct
            .map(|name| heard(name).signal.id)
            .into_iter()
            .collect()
    };
    let [first, second]: [BTreeSet<String>; 2] = [0, 1].map(ids);
    assert_eq!(first.len(), distinct.len());
    assert_eq!(first, second);
}

#[test]
fn events_that_announce_no_termination_are_discarded() {
    for (name, reason) in DISCARDED {
        match parse(&fixture(name)) {
            Ok(Parsed::Discarded(discard)) => assert_eq!(discard.as_str(), *reason, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn what_can_not_be_recorded_is_malformed() {
    for (name, reason) in MALFORMED {
        let error = parse(&fixture(name)).expect_err(name);
        assert_eq!(error.reason(), *reason, "{name}: {error}");
    }
}

#[test]
fn every_fixture_is_in_a_table() {
    let tables = SIGNALS
        .iter()
        .copied()
        .chain(DISCARDED.iter().chain(MALFORMED).map(|(name, _)| *name));
    let files = fs::read_dir(FIXTURES).unwrap().map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.trim_end_matches(".json").to_owned()
    });
    let tables: BTreeSet<String> = tables.map(str::to_owned).collect();
    assert_eq!(files.collect::<BTreeSet<_>>(), tables);
}

#[test]
fn a_body_that_is_too_long_is_not_read_at_all() {
    let mut body = fixture("spot-terminate");
    body.push_str(&" ".repeat(BODY_MAX_BYTES - body.len()));
    assert!(matches!(parse(&body), Ok(Parsed::Signals(_))));
    body.push(' ');
    assert_eq!(parse(&body), Err(Malformed::TooLarge(BODY_MAX_BYTES + 1)));
}

#[test]
fn an_error_never_quotes_a_body_at_length() {
    let body = format!("\"{}\"", "é".repeat(BODY_MAX_BYTES / 3));
    assert!(parse(&body).unwrap_err().to_string().len() < 400);
}

/// The schema of one signal, as the API server holds it against a record.
fn signal_schema() -> JSONSchemaProps {
    let crd = crate::api::crds()
        .into_iter()
        .find(|crd| crd.spec.names.kind == "NodeTermination")
        .unwrap();
    let root = crd.spec.versions[0].schema.clone().unwrap();
    let spec = root
        .open_api_v3_schema
        .unwrap()
        .properties
        .unwrap()
        .remove("spec");
    let signals = spec.unwrap().properties.unwrap().remove("signals");
    match signals.unwrap().items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => *items,
        other => panic!("{other:?}"),
    }
}

/// Whether the API server takes the value, as far as the signal's schema goes: fields, lengths, words, times.
/// Patterns are not tried: the values that have one have their own tests.
fn fits(schema: &JSONSchemaProps, value: &Value) -> Result<(), String> {
    let err = |what: &str| Err(format!("{what}: {value}"));
    match value {
        Value::Object(fields) => {
            let properties = schema.properties.as_ref().ok_or("no properties")?;
            for name in schema.required.iter().flatten() {
                if !fields.contains_key(name) {
                    return err(name);
                }
            }
            fields.iter().try_for_each(|(name, value)| {
                fits(properties.get(name).ok_or("unknown field")?, value)
            })
        }
        Value::String(text) => {
            let length = i64::try_from(text.chars().count()).unwrap();
            if schema.max_length.is_some_and(|max| length > max)
                || schema.min_length.is_some_and(|min| length < min)
            {
                return err("length");
            }
            if let Some(words) = &schema.enum_
                && !words.iter().any(|word| &word.0 == value)
            {
                return err("word");
            }
            if schema.format.as_deref() == Some("date-time") && text.len() != 20 {
                return err("time");
            }
            Ok(())
        }
        _ => err("type"),
    }
}

#[test]
fn every_signal_fits_the_schema() {
    let schema = signal_schema();
    for name in SIGNALS {
        let signal = serde_json::to_value(heard(name).signal).unwrap();
        fits(&schema, &signal).unwrap();
    }
    let mut long = serde_json::to_value(heard("asg-terminate").signal).unwrap();
    long["lifecycleHook"]["region"] = json!("r".repeat(33));
    fits(&schema, &long).unwrap_err();
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z0-9T:Z.+-]{0,300}".prop_map(Value::from),
        "i-[0-9a-f]{7,18}".prop_map(Value::from),
        "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](Z|[+]0[0-9]:00)"
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z-]{0,12}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A good event of which one field, of the envelope or the detail, is taken away or replaced.
fn mutated_event() -> impl Strategy<Value = Value> {
    let event = prop::sample::select(vec!["spot-terminate", "asg-terminate"]);
    (
        event,
        any::<bool>(),
        any::<prop::sample::Index>(),
        prop::option::of(any_json()),
    )
        .prop_map(|(name, of_detail, field, replacement)| {
            let mut event: Value = serde_json::from_str(&fixture(name)).unwrap();
            let object = if of_detail {
                &mut event["detail"]
            } else {
                &mut event
            };
            let object = object.as_object_mut().unwrap();
            let fields: Vec<String> = object.keys().cloned().collect();
            let field = field.get(&fields);
            match replacement {
                Some(value) => object.insert(field.clone(), value),
                None => object.remove(field),
            };
            event
        })
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(body in any::<String>()) {
        let _ = parse(&body);
    }

    #[test]
    fn no_json_makes_it_panic(body in any_json()) {
        let _ = parse(&body.to_string());
    }

    #[test]
    fn no_cut_or_changed_byte_makes_it_panic(at in any::<prop::sample::Index>(), with in any::<char>(), cut in any::<bool>()) {
        let mut body: Vec<char> = fixture("asg-terminate").chars().collect();
        let at = at.index(body.len());
        body[at] = with;
        if cut {
            body.truncate(at + 1);
        }
        let _ = parse(&body.into_iter().collect::<String>());
    }

    #[test]
    fn a_changed_event_is_refused_or_still_fits_the_schema(event in mutated_event()) {
        if let Ok(Parsed::Signals(signals)) = parse(&event.to_string()) {
            let schema = signal_schema();
            for Heard { instance_id, signal } in signals {
                prop_assert!((10..=19).contains(&instance_id.len()));
                let written = serde_json::to_value(&signal).unwrap();
                prop_assert_eq!(fits(&schema, &written), Ok(()));
                let read: Signal = serde_json::from_value(written).unwrap();
                prop_assert_eq!(read, signal);
            }
        }
    }
}
