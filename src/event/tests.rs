//! Every body of `tests/fixtures/events`, and bodies that nobody thought of.

mod auto_scaling;
mod ec2;
mod health;
mod random;
mod schema;

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

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

/// What the source records, if EC2 says that a reservation holds the one instance.
fn signals(parsed: Parsed) -> Vec<Heard> {
    match parsed {
        Parsed::Signals(heard) => heard,
        Parsed::Reservation(reservation) => reservation.heard([INSTANCE.to_owned()]),
        Parsed::Launch(_) | Parsed::Discarded(_) => Vec::new(),
    }
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
