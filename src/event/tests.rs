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

fn all_heard(name: &str) -> Vec<Heard> {
    match parse(&fixture(name)) {
        Ok(Parsed::Signals(heard)) => heard,
        other => panic!("{name}: {other:?}"),
    }
}

fn heard(name: &str) -> Heard {
    let mut heard = all_heard(name);
    assert_eq!(heard.len(), 1, "{name}");
    heard.remove(0)
}

fn launch(name: &str) -> Launch {
    match parse(&fixture(name)) {
        Ok(Parsed::Launch(launch)) => launch,
        other => panic!("{name}: {other:?}"),
    }
}

fn reservation(name: &str) -> Reservation {
    match parse(&fixture(name)) {
        Ok(Parsed::Reservation(reservation)) => reservation,
        other => panic!("{name}: {other:?}"),
    }
}

fn id(name: &str) -> String {
    heard(name).signal.id
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
    "rebalance",
    "state-stopping",
    "state-stopped",
    "state-shutting-down",
    "state-terminated",
    "state-running",
    "capacity-reservation",
    "capacity-reservation-interruptible",
    "capacity-reservation-of-a-block",
    "capacity-reservation-without-a-time",
    "capacity-block",
    "capacity-block-reservation",
    "asg-terminate",
    "asg-terminate-by-its-transition",
    "asg-terminate-second-hook",
    "asg-terminate-longest-names",
    "asg-terminate-to-warm-pool",
    "asg-terminate-zone-rebalancing",
    "asg-terminate-long-cause",
    "asg-terminate-empty-cause",
    "asg-notification-terminate",
    "asg-notification-terminate-group-arn",
    "sns-asg-notification-terminate",
    "sns-asg-terminate",
    "sns-spot-terminate",
    "health-reboot",
    "health-reboot-backup",
    "health-open",
    "health-closed",
    "health-moved",
    "health-resolved",
    "health-without-a-status",
    "health-three-instances",
    "health-other-entities",
    "health-instance-arn",
    "health-retirement-without-an-end",
    "health-longest-names",
    "health-dates-of-another-format",
];

const LAUNCHES: &[&str] = &[
    "asg-launch",
    "asg-launch-by-its-transition",
    "asg-notification-launch",
    "sns-asg-notification-launch",
    "sns-asg-launch",
];

const RESERVATIONS: &[&str] = &[
    "capacity-block-names-its-reservation",
    "capacity-block-names-its-reservation-by-arn",
    "capacity-block-as-the-guide-writes-it",
];

const DISCARDED: &[(&str, &str)] = &[
    ("other-asg-launch-successful", "OtherDetailType"),
    ("other-capacity-block-delivered", "OtherDetailType"),
    ("other-health-abuse", "OtherDetailType"),
    ("other-transition", "OtherTransition"),
    ("other-asg-notification-transition", "OtherTransition"),
    ("other-state-pending", "OtherState"),
    ("other-state-part-of-another", "OtherState"),
    ("other-state-empty", "OtherState"),
    ("other-health", "OtherHealthEvent"),
    ("other-health-issue", "OtherHealthEvent"),
    ("other-health-without-instances", "NoInstance"),
    ("other-health-public", "NoInstance"),
    ("other-capacity-block-names-nothing", "NoInstance"),
    ("other-asg-notification-test", "TestNotification"),
    ("other-sns-asg-notification-test", "TestNotification"),
    ("other-asg-notification-terminated", "OtherNotification"),
    ("other-sns-subscription", "OtherNotification"),
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
    ("bad-asg-launch-no-region", "Region"),
    ("bad-asg-launch-instance-id", "InstanceID"),
    ("bad-asg-notification-no-time", "Shape"),
    ("bad-asg-notification-no-token", "Shape"),
    (
        "bad-asg-notification-transition-null-and-no-source",
        "Shape",
    ),
    ("bad-event-of-nobody", "UnknownSource"),
    ("bad-sns-text", "NotJSON"),
    ("bad-sns-no-message", "NotJSON"),
    ("bad-sns-message-object", "Shape"),
    ("bad-sns-twice", "Shape"),
    ("bad-sns-type-number", "Shape"),
    ("bad-rebalance-no-instance-id", "Shape"),
    ("bad-state-none", "Shape"),
    ("bad-state-instance-id", "InstanceID"),
    ("bad-capacity-reservation-time", "Time"),
    ("bad-capacity-block-no-end", "Shape"),
    ("bad-capacity-block-end", "Time"),
    ("bad-capacity-block-reservation", "ReservationID"),
    ("bad-health-no-arn", "Shape"),
    ("bad-health-no-service", "Shape"),
    ("bad-health-status", "Shape"),
    ("bad-health-entities", "Shape"),
    ("bad-health-start", "Time"),
    ("bad-health-long-arn", "Length"),
    ("bad-health-long-code", "Length"),
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
fn a_termination_says_why_if_the_event_does() {
    let cause = |name| heard(name).signal.cause;
    assert!(
        cause("asg-terminate-zone-rebalancing")
            .is_some_and(|c| c.contains("balance instances in zones"))
    );
    assert_eq!(cause("asg-terminate-long-cause"), Some("é".repeat(128)));
    assert_eq!(cause("asg-terminate-empty-cause"), None);
    // What the hook's maker wrote into it is no cause.
    assert_eq!(cause("asg-terminate"), None);
}

#[test]
fn a_return_to_the_warm_pool_is_a_termination() {
    assert_eq!(heard("asg-terminate-to-warm-pool"), heard("asg-terminate"));
}

#[test]
fn the_transition_decides_what_a_lifecycle_action_is() {
    assert_eq!(
        heard("asg-terminate-by-its-transition"),
        heard("asg-terminate")
    );
    assert_eq!(launch("asg-launch-by-its-transition"), launch("asg-launch"));
}

#[test]
fn a_notification_of_auto_scaling_is_the_signal_that_its_event_is() {
    let event = heard("asg-terminate");
    assert_eq!(heard("asg-notification-terminate-group-arn"), event);
    assert_eq!(heard("sns-asg-notification-terminate"), event);
    let mut direct = heard("asg-notification-terminate");
    let region = &mut direct.signal.lifecycle_hook.as_mut().unwrap().region;
    assert_eq!(region, "", "only the queue knows it");
    "eu-west-1".clone_into(region);
    assert_eq!(direct, event);
}

#[test]
fn what_sns_wraps_is_what_it_is_alone() {
    for name in ["asg-terminate", "spot-terminate"] {
        assert_eq!(heard(&format!("sns-{name}")), heard(name));
    }
    assert_eq!(launch("sns-asg-launch"), launch("asg-launch"));
}

#[test]
fn a_launch_carries_what_completes_it() {
    let Launch {
        instance_id,
        notice_time,
        hook,
    } = launch("asg-launch");
    assert_eq!(instance_id, INSTANCE);
    assert_eq!(notice_time.to_string(), "2026-03-18T08:20:00Z");
    assert_eq!(
        serde_json::to_value(hook).unwrap(),
        json!({"autoScalingGroupName": "workers", "hookName": "ready",
            "actionToken": "87654321-4321-4321-4321-210987654321",
            "transition": "autoscaling:EC2_INSTANCE_LAUNCHING", "region": "eu-west-1"})
    );
    assert_eq!(launch("sns-asg-notification-launch"), launch("asg-launch"));
    assert_eq!(launch("asg-notification-launch").hook.region, "");
}

#[test]
fn a_rebalance_recommendation_has_no_deadline() {
    assert_eq!(
        wire("rebalance"),
        json!({"kind": "RebalanceRecommendation", "noticeTime": "2026-03-18T08:10:00Z"})
    );
}

#[test]
fn a_change_of_state_is_taken_at_its_word() {
    for state in [
        "stopping",
        "stopped",
        "shutting-down",
        "terminated",
        "running",
    ] {
        let name = format!("state-{state}");
        assert_eq!(
            wire(&name),
            json!({"kind": "InstanceStateChange", "noticeTime": "2026-03-18T08:20:00Z", "instanceState": state})
        );
        assert_eq!(heard(&name).only_follows(), state == "running");
    }
}

#[test]
fn a_capacity_reservation_gives_until_its_own_time() {
    let until = |deadline: &str| json!({"kind": "CapacityReservation", "noticeTime": "2026-03-18T08:20:00Z", "deadline": deadline});
    let mut reservation = until("2026-03-18T08:22:00Z");
    reservation["instanceAction"] = json!("terminate");
    assert_eq!(wire("capacity-reservation"), reservation);
    assert_eq!(
        heard("capacity-reservation-interruptible"),
        heard("capacity-reservation")
    );
    // Half an hour before the block ends.
    assert_eq!(wire("capacity-block"), until("2026-03-18T08:30:00Z"));
    assert_eq!(heard("capacity-block-reservation"), heard("capacity-block"));
    assert_eq!(id("capacity-reservation-of-a-block"), id("capacity-block"));
    assert!(
        heard("capacity-reservation-without-a-time")
            .signal
            .deadline
            .is_none()
    );
}

#[test]
fn the_end_of_a_block_is_heard_of_each_of_its_instances_as_if_the_event_had_named_it() {
    let by_id = reservation("capacity-block-names-its-reservation");
    assert_eq!(by_id.reservation_id, "cr-0d1e2f30415263748");
    assert_eq!(by_id.region, "eu-west-1");
    assert_eq!(by_id.deadline.to_string(), "2026-03-18T08:30:00Z");
    assert_eq!(
        reservation("capacity-block-names-its-reservation-by-arn"),
        by_id
    );
    let of_guide = reservation("capacity-block-as-the-guide-writes-it");
    assert_eq!(of_guide.region, "", "only the queue knows it");

    let other = "i-0bbb111122223333c";
    let heard = by_id.heard([INSTANCE, other].map(str::to_owned));
    assert_eq!(heard[0], self::heard("capacity-block"));
    assert_eq!(heard[1].instance_id, other);
    assert_eq!(heard[1].signal.deadline, heard[0].signal.deadline);
    assert_ne!(heard[1].signal.id, heard[0].signal.id);
    assert_eq!(heard[0].signal.id, id("capacity-reservation-of-a-block"));
}

#[test]
fn a_scheduled_change_is_due_when_its_window_opens() {
    let code = "AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED";
    assert_eq!(
        wire("health-reboot"),
        json!({"kind": "ScheduledMaintenance", "noticeTime": "2026-03-18T08:20:00Z",
            "deadline": "2026-03-21T15:10:09Z", "maintenance": {
                "eventID": format!("arn:aws:health:eu-west-1::event/EC2/{code}/{code}_0b1c2d3e"),
                "code": code, "state": "Scheduled",
                "notBefore": "2026-03-21T15:10:09Z", "notAfter": "2026-03-21T17:10:09Z"}})
    );
    for same in [
        "open",
        "without-a-status",
        "instance-arn",
        "dates-of-another-format",
    ] {
        assert_eq!(heard(&format!("health-{same}")), heard("health-reboot"));
    }
    let endless = heard("health-retirement-without-an-end").signal;
    assert_eq!(endless.maintenance.unwrap().not_after, None);
}

#[test]
fn every_affected_instance_has_a_signal_of_its_own() {
    let heard = all_heard("health-three-instances");
    let instances = heard.iter().map(|h| h.instance_id.as_str());
    assert!(instances.eq([INSTANCE, "i-0bbb111122223333c", "i-0ccc111122223333d"]));
    let ids: BTreeSet<_> = heard.iter().map(|h| &h.signal.id).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(heard[0].signal.id, id("health-reboot"));
    assert_eq!(
        self::heard("health-other-entities").instance_id,
        "i-0bbb111122223333c"
    );
}

#[test]
fn a_page_and_a_backup_copy_are_no_news() {
    assert_eq!(id("health-reboot-backup"), id("health-reboot"));
}

#[test]
fn a_closed_change_is_taken_back() {
    for name in ["health-closed", "health-resolved"] {
        let heard = heard(name);
        assert!(heard.only_follows());
        assert_eq!(heard.signal.deadline, None);
        assert_eq!(
            heard.signal.maintenance.unwrap().state,
            MaintenanceState::Canceled
        );
    }
}

#[test]
fn each_notice_has_its_own_id_and_the_same_id_each_time() {
    let distinct = [
        "spot-terminate",
        "spot-stop",
        "spot-hibernate",
        "spot-without-action",
        "spot-old-instance-id",
        "rebalance",
        "state-stopping",
        "state-stopped",
        "state-shutting-down",
        "state-terminated",
        "state-running",
        "capacity-reservation",
        "capacity-block",
        "asg-terminate",
        "asg-terminate-second-hook",
        "health-reboot",
        "health-closed",
        "health-moved",
        "health-retirement-without-an-end",
    ];
    let ids = |_| distinct.map(id).into_iter().collect();
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
        .chain(LAUNCHES)
        .chain(RESERVATIONS)
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

/// The signal as the source records it: with its queue's region where the message has none.
fn recorded(mut signal: Signal) -> Value {
    if let Some(hook) = signal
        .lifecycle_hook
        .as_mut()
        .filter(|h| h.region.is_empty())
    {
        "eu-west-1".clone_into(&mut hook.region);
    }
    serde_json::to_value(signal).unwrap()
}

#[test]
fn every_signal_fits_the_schema() {
    let schema = signal_schema();
    let parsed = SIGNALS.iter().chain(RESERVATIONS);
    let parsed = parsed.map(|name| parse(&fixture(name)).unwrap());
    for heard in parsed.flat_map(signals) {
        fits(&schema, &recorded(heard.signal)).unwrap();
    }
    let mut long = recorded(heard("asg-terminate").signal);
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

/// A readable event of any kind; of one that SNS wraps, nothing is changed inside the wrapping.
fn good_event() -> impl Strategy<Value = Value> {
    let names = SIGNALS.iter().chain(LAUNCHES).chain(RESERVATIONS);
    let names: Vec<_> = names.copied().collect();
    prop::sample::select(names).prop_map(|name| serde_json::from_str(&fixture(name)).unwrap())
}

/// One of which one field, of the envelope or the detail, is taken away or replaced.
fn mutated_event() -> impl Strategy<Value = Value> {
    (
        good_event(),
        any::<bool>(),
        any::<prop::sample::Index>(),
        prop::option::of(any_json()),
    )
        .prop_map(|(mut event, of_detail, field, replacement)| {
            let object = if of_detail && event["detail"].is_object() {
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

/// The event as text, the fields of each object in another order, and with more fields in each.
fn rewritten(value: &Value, turn: usize, more: &[(String, Value)]) -> String {
    let fields = |object: &serde_json::Map<String, Value>| {
        let mut fields: Vec<_> = object
            .iter()
            .map(|(key, value)| (key.clone(), rewritten(value, turn, more)))
            .collect();
        let new = more.iter().filter(|(key, _)| !object.contains_key(key));
        fields.extend(new.map(|(key, value)| (key.clone(), value.to_string())));
        if !fields.is_empty() {
            let turn = turn % fields.len();
            fields.rotate_left(turn);
        }
        let fields = fields
            .iter()
            .map(|(key, value)| format!("{}:{value}", Value::from(key.as_str())));
        fields.collect::<Vec<_>>().join(",")
    };
    match value {
        Value::Object(object) => format!("{{{}}}", fields(object)),
        Value::Array(list) => {
            let list = list.iter().map(|value| rewritten(value, turn, more));
            format!("[{}]", list.collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

/// What the source records, if EC2 says that a reservation holds the one instance.
fn signals(parsed: Parsed) -> Vec<Heard> {
    match parsed {
        Parsed::Signals(heard) => heard,
        Parsed::Reservation(reservation) => reservation.heard([INSTANCE.to_owned()]),
        Parsed::Launch(_) | Parsed::Discarded(_) => Vec::new(),
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(body in any::<String>()) {
        let _ = parse(&body);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_json_makes_it_panic(body in any_json()) {
        let _ = parse(&body.to_string());
    }

    #[test]
    fn no_cut_or_changed_byte_makes_it_panic(event in good_event(), at in any::<prop::sample::Index>(), with in any::<char>(), cut in any::<bool>()) {
        let mut body: Vec<char> = event.to_string().chars().collect();
        let at = at.index(body.len());
        body[at] = with;
        if cut {
            body.truncate(at + 1);
        }
        let _ = parse(&body.into_iter().collect::<String>());
    }

    #[test]
    fn a_changed_event_is_refused_or_still_fits_the_schema(event in mutated_event()) {
        if let Ok(parsed) = parse(&event.to_string()) {
            let schema = signal_schema();
            for Heard { instance_id, signal } in signals(parsed) {
                prop_assert!((10..=19).contains(&instance_id.len()));
                let written = recorded(signal.clone());
                prop_assert_eq!(fits(&schema, &written), Ok(()));
                let read: Signal = serde_json::from_value(serde_json::to_value(&signal).unwrap()).unwrap();
                prop_assert_eq!(read, signal);
            }
        }
    }

    /// Whatever AWS adds, in whatever order it writes, and however often it sends it.
    #[test]
    fn a_notice_keeps_its_identity(
        event in good_event(),
        envelope_id in any::<String>(),
        turn in 0_usize..20,
        more in prop::collection::vec(("new-[a-z]{1,8}", any_json()), 0..3),
    ) {
        let first = parse(&event.to_string()).unwrap();
        prop_assert_eq!(&first, &parse(&event.to_string()).unwrap());
        let mut again = event.clone();
        for of_envelope in ["id", "RequestId", "MessageId"] {
            if let Some(id) = again.get_mut(of_envelope) {
                *id = Value::from(envelope_id.as_str());
            }
        }
        let more: std::collections::BTreeMap<_, _> = more.into_iter().collect();
        let more: Vec<_> = more.into_iter().collect();
        let again = parse(&rewritten(&again, turn, &more)).unwrap();
        prop_assert_eq!(&first, &again);
        for Heard { signal, .. } in signals(again) {
            prop_assert!(is_an_id(&signal.id), "{}", signal.id);
        }
    }
}

/// The schema's pattern of an ID: `^[A-Za-z]+-[0-9a-f]{16}$`.
fn is_an_id(id: &str) -> bool {
    id.split_once('-').is_some_and(|(kind, hash)| {
        !kind.is_empty()
            && kind.bytes().all(|b| b.is_ascii_alphabetic())
            && hash.len() == 16
            && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}
