//! The messages that AWS puts into the queue, in its formats: events of `EventBridge`, and notifications.
//!
//! Sources: Amazon EC2 User Guide, "Spot Instance interruption notices"; Amazon EC2 Auto Scaling User Guide,
//! "`EventBridge` event reference"; and those that the modules below name.

mod ec2;
mod health;
mod notification;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ACCOUNT, LifecycleAction, REGION};
pub use ec2::{block_expires, capacity_reservation, rebalance_recommendation, state_change};
pub use health::ScheduledChange;
pub use notification::{direct_notification, sns, test_notification};

/// An `EC2 Spot Instance Interruption Warning`; `time` is when it was sent, two minutes before the end.
#[must_use]
pub fn spot_interruption(instance_id: &str, time: Timestamp) -> String {
    let resource = format!("arn:aws:ec2:{REGION}a:instance/{instance_id}");
    let detail = json!({ "instance-id": instance_id, "instance-action": "terminate" });
    let kind = "EC2 Spot Instance Interruption Warning";
    envelope(kind, "aws.ec2", time, &resource, &detail)
}

/// The `EC2 Instance-terminate Lifecycle Action` that announces an action's start.
#[must_use]
pub fn terminate_lifecycle(action: &LifecycleAction, time: Timestamp) -> String {
    let kind = "EC2 Instance-terminate Lifecycle Action";
    let (origin, destination) = ("AutoScalingGroup", "EC2");
    let transition = "autoscaling:EC2_INSTANCE_TERMINATING";
    lifecycle(kind, action, transition, (origin, destination), time)
}

/// The `EC2 Instance-launch Lifecycle Action` that announces an action's start.
#[must_use]
pub fn launch_lifecycle(action: &LifecycleAction, time: Timestamp) -> String {
    let kind = "EC2 Instance-launch Lifecycle Action";
    let (origin, destination) = ("EC2", "AutoScalingGroup");
    let transition = "autoscaling:EC2_INSTANCE_LAUNCHING";
    lifecycle(kind, action, transition, (origin, destination), time)
}

fn lifecycle(
    kind: &str,
    action: &LifecycleAction,
    transition: &str,
    (origin, destination): (&str, &str),
    time: Timestamp,
) -> String {
    let resource = format!(
        "arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:{}:autoScalingGroupName/{}",
        Uuid::new_v4(),
        action.group
    );
    let detail = json!({
        "LifecycleActionToken": action.token,
        "AutoScalingGroupName": action.group,
        "LifecycleHookName": action.hook,
        "EC2InstanceId": action.instance_id,
        "LifecycleTransition": transition,
        "Origin": origin,
        "Destination": destination,
    });
    envelope(kind, "aws.autoscaling", time, &resource, &detail)
}

fn envelope(kind: &str, source: &str, time: Timestamp, resource: &str, detail: &Value) -> String {
    envelope_of(kind, source, time, &[resource], detail)
}

fn envelope_of(
    kind: &str,
    source: &str,
    time: Timestamp,
    resources: &[&str],
    detail: &Value,
) -> String {
    let time = whole(time);
    json!({
        "version": "0",
        "id": Uuid::new_v4().to_string(),
        "detail-type": kind,
        "source": source,
        "account": ACCOUNT,
        "time": time.to_string(),
        "region": REGION,
        "resources": resources,
        "detail": detail,
    })
    .to_string()
}

/// `EventBridge`'s own times are whole seconds.
fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
