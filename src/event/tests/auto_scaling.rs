//! Lifecycle actions, as events and as notifications, and what SNS wraps.

use serde_json::json;

use super::{INSTANCE, heard, launch, wire};
use crate::event::Launch;

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
