//! Scheduled changes, as AWS Health tells them.

use std::collections::BTreeSet;

use serde_json::json;

use super::{INSTANCE, all_heard, heard, id, wire};
use crate::api::termination::MaintenanceState;

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
