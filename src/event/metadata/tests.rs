//! Every document of `tests/fixtures/metadata`.

use std::collections::BTreeSet;
use std::fs;

use serde_json::json;

use super::*;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/metadata");
const INSTANCE: &str = "i-0aaa111122223333b";

fn fixture(name: &str) -> String {
    fs::read_to_string(format!("{FIXTURES}/{name}.json")).unwrap()
}

fn now() -> Timestamp {
    "2026-03-18T08:20:30.750Z".parse().unwrap()
}

/// The fixture read as what its name begins with.
fn read_at(name: &str, now: Timestamp) -> Result<Entries, Malformed> {
    let body = fixture(name);
    let document = name.trim_start_matches("bad-").split('-').next().unwrap();
    let signals = match document {
        "spot" => spot_interruption(INSTANCE, &body),
        "rebalance" => rebalance_recommendation(INSTANCE, &body),
        "maintenance" => return scheduled_maintenance(INSTANCE, &body, now),
        other => panic!("{other}"),
    }?;
    Ok(Entries {
        signals,
        malformed: Vec::new(),
    })
}

fn read(name: &str) -> Result<Entries, Malformed> {
    read_at(name, now())
}

fn one(name: &str) -> Signal {
    let mut entries = read(name).unwrap();
    assert_eq!((entries.signals.len(), entries.malformed.len()), (1, 0));
    entries.signals.remove(0)
}

/// The signal as it goes over the wire, without its ID.
fn wire(signal: &Signal) -> Value {
    let mut signal = serde_json::to_value(signal).unwrap();
    signal.as_object_mut().unwrap().remove("id").unwrap();
    signal
}

fn good() -> Vec<String> {
    let files = fs::read_dir(FIXTURES).unwrap().map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.trim_end_matches(".json").to_owned()
    });
    files.filter(|name| !name.starts_with("bad-")).collect()
}

#[test]
fn a_spot_notice_is_two_minutes_before_the_time_in_the_document() {
    for action in ["terminate", "stop", "hibernate"] {
        assert_eq!(
            wire(&one(&format!("spot-{action}"))),
            json!({"kind": "SpotInterruption", "noticeTime": "2026-03-18T08:20:00Z",
                "deadline": "2026-03-18T08:22:00Z", "instanceAction": action})
        );
    }
    assert!(one("spot-without-action").instance_action.is_none());
}

#[test]
fn a_notice_in_the_queue_and_in_metadata_is_one_signal() {
    let events = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/events");
    for name in [
        "spot-terminate",
        "spot-stop",
        "spot-hibernate",
        "spot-without-action",
    ] {
        let body = fs::read_to_string(format!("{events}/{name}.json")).unwrap();
        let Ok(crate::event::Parsed::Signals(heard)) = crate::event::parse(&body) else {
            panic!("{name}");
        };
        assert_eq!(heard[0].instance_id, INSTANCE);
        assert_eq!(heard[0].signal, one(name), "{name}");
    }
}

#[test]
fn a_rebalance_recommendation_has_the_documents_time_and_no_deadline() {
    assert_eq!(
        wire(&one("rebalance")),
        json!({"kind": "RebalanceRecommendation", "noticeTime": "2026-03-18T08:10:00Z"})
    );
}

#[test]
fn maintenance_is_due_when_its_window_opens() {
    assert_eq!(
        wire(&one("maintenance-reboot")),
        json!({"kind": "ScheduledMaintenance", "noticeTime": "2026-03-18T08:20:30Z",
            "deadline": "2026-03-21T09:00:43Z", "maintenance": {
                "eventID": "instance-event-0d59937288b749b32", "code": "system-reboot", "state": "Scheduled",
                "notBefore": "2026-03-21T09:00:43Z", "notAfter": "2026-03-21T09:17:23Z"}})
    );
    assert_eq!(read("maintenance-none"), Ok(Entries::default()));
    let endless = one("maintenance-without-an-end");
    assert_eq!(endless.maintenance.unwrap().not_after, None);
}

#[test]
fn maintenance_that_is_canceled_or_over_has_no_deadline_and_only_follows() {
    for (name, state) in [
        ("maintenance-canceled", MaintenanceState::Canceled),
        ("maintenance-completed", MaintenanceState::Completed),
    ] {
        let signal = one(name);
        assert_eq!(signal.deadline, None);
        assert_eq!(signal.maintenance.as_ref().unwrap().state, state);
        let instance_id = INSTANCE.to_owned();
        assert!(
            crate::event::Heard {
                instance_id,
                signal
            }
            .only_follows()
        );
    }
}

/// The list still shows a reboot after it is done: the incident that it was must not begin again.
#[test]
fn maintenance_that_is_read_again_after_its_window_opened_is_no_news() {
    let after = "2026-03-21T10:00:00Z".parse().unwrap();
    let signal = read_at("maintenance-reboot", after)
        .unwrap()
        .signals
        .remove(0);
    assert_eq!(Some(signal.notice_time), signal.deadline);
    let canceled = read_at("maintenance-canceled", after).unwrap().signals;
    assert_eq!(canceled[0].notice_time, Time(after));
}

#[test]
fn an_unreadable_entry_does_not_lose_the_others() {
    let entries = read("maintenance-readable-among-unreadable").unwrap();
    let codes = entries
        .signals
        .iter()
        .map(|s| s.maintenance.as_ref().unwrap().code.as_str());
    assert!(codes.eq(["instance-stop", "system-maintenance"]));
    let reasons = entries.malformed.iter().map(Malformed::reason);
    assert!(reasons.eq(["Time", "Shape", "Shape", "Shape", "Length"]));
}

#[test]
fn only_terminated_is_a_termination() {
    for state in [
        "InService",
        "Standby",
        "Detached",
        "Warmed:Stopped",
        "Warmed:Terminated",
        "terminated",
    ] {
        assert_eq!(
            target_lifecycle_state(INSTANCE, state, now()),
            Ok(Vec::new()),
            "{state}"
        );
    }
    let signals = target_lifecycle_state(INSTANCE, "Terminated\n", now()).unwrap();
    assert_eq!(signals.len(), 1);
    assert_eq!(
        wire(&signals[0]),
        json!({"kind": "AutoScalingTermination", "noticeTime": "2026-03-18T08:20:30Z"})
    );
    for bad in ["", " \n", "<html>", "In Service", &"x".repeat(65)] {
        let error = target_lifecycle_state(INSTANCE, bad, now()).unwrap_err();
        assert_eq!(error.reason(), "Shape", "{bad}");
    }
}

#[test]
fn a_document_read_a_hundred_times_is_one_notice() {
    for name in good() {
        let ids = (0..100).map(|n| {
            let entries = read_at(&name, now() + jiff::SignedDuration::from_secs(n * 3600));
            let signals = entries.unwrap().signals;
            signals.into_iter().map(|s| s.id).collect::<Vec<_>>()
        });
        assert_eq!(ids.collect::<BTreeSet<_>>().len(), 1, "{name}");
    }
    let ids = (0..100).map(|n| {
        let now = now() + jiff::SignedDuration::from_secs(n);
        target_lifecycle_state(INSTANCE, "Terminated", now)
            .unwrap()
            .remove(0)
            .id
    });
    assert_eq!(ids.collect::<BTreeSet<_>>().len(), 1);
}

#[test]
fn what_became_of_a_maintenance_is_a_signal_of_its_own() {
    let ids =
        ["reboot", "canceled", "completed", "moved"].map(|n| one(&format!("maintenance-{n}")).id);
    assert_eq!(BTreeSet::from(ids).len(), 4);
}

#[test]
fn what_can_not_be_recorded_is_malformed() {
    for (name, reason) in [
        ("bad-spot-text", "NotJSON"),
        ("bad-spot-no-time", "Shape"),
        ("bad-spot-time", "Time"),
        ("bad-spot-time-without-room-for-the-notice", "Time"),
        ("bad-spot-action-long", "Length"),
        ("bad-rebalance-no-time", "Shape"),
        ("bad-rebalance-time", "Shape"),
        ("bad-maintenance-object", "Shape"),
        ("bad-maintenance-truncated", "NotJSON"),
    ] {
        let error = read(name).expect_err(name);
        assert_eq!(error.reason(), reason, "{name}: {error}");
    }
}

#[test]
fn a_document_that_is_too_long_is_not_read_at_all() {
    let body = " ".repeat(crate::event::BODY_MAX_BYTES + 1);
    for read in [
        spot_interruption(INSTANCE, &body).map(drop),
        rebalance_recommendation(INSTANCE, &body).map(drop),
        scheduled_maintenance(INSTANCE, &body, now()).map(drop),
        target_lifecycle_state(INSTANCE, &body, now()).map(drop),
    ] {
        assert_eq!(read.unwrap_err().reason(), "TooLarge");
    }
}
