//! Spot notices, rebalance recommendations, changes of state and capacity reservations.

use serde_json::json;

use super::{INSTANCE, heard, id, reservation, wire};

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
