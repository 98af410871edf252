//! The messages that `EventBridge` puts into the queue, in AWS's formats.
//!
//! Sources: Amazon EC2 User Guide, "Spot Instance interruption notices"; Amazon EC2 Auto Scaling User Guide,
//! "`EventBridge` event reference".

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ACCOUNT, LifecycleAction, REGION};

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

/// What Auto Scaling sends to a queue by itself, without `EventBridge`, when an action starts. It names no region.
#[must_use]
pub fn direct_notification(action: &LifecycleAction, transition: &str, time: Timestamp) -> String {
    json!({
        "Origin": "AutoScalingGroup",
        "Destination": "EC2",
        "AccountId": ACCOUNT,
        "RequestId": Uuid::new_v4().to_string(),
        "Service": "AWS Auto Scaling",
        "Time": time.to_string(),
        "AutoScalingGroupName": action.group,
        "LifecycleHookName": action.hook,
        "LifecycleActionToken": action.token,
        "EC2InstanceId": action.instance_id,
        "LifecycleTransition": transition,
    })
    .to_string()
}

/// An `AWS Health Event`: a reboot of these instances is scheduled for then.
#[must_use]
pub fn scheduled_reboot(instance_ids: &[&str], start: Timestamp, time: Timestamp) -> String {
    let code = "AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED";
    let date = |time: Timestamp| time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let entity = |id: &&str| json!({ "entityValue": id, "status": "PENDING", "tags": {} });
    let detail = json!({
        "eventArn": format!("arn:aws:health:{REGION}::event/EC2/{code}/{code}_{}", Uuid::new_v4()),
        "service": "EC2",
        "eventTypeCode": code,
        "eventTypeCategory": "scheduledChange",
        "eventScopeCode": "ACCOUNT_SPECIFIC",
        "communicationId": Uuid::new_v4().to_string(),
        "startTime": date(start),
        "endTime": date(start + Duration::from_hours(2)),
        "lastUpdatedTime": date(time),
        "statusCode": "upcoming",
        "eventRegion": REGION,
        "affectedEntities": instance_ids.iter().map(entity).collect::<Vec<_>>(),
        "affectedAccount": ACCOUNT,
        "page": "1",
        "totalPages": "1",
    });
    let resource = instance_ids.first().copied().unwrap_or_default();
    envelope("AWS Health Event", "aws.health", time, resource, &detail)
}

/// A `Capacity Block Expiration Warning`, which names its reservation alone; `end` is the block's.
#[must_use]
pub fn block_expires(reservation_id: &str, end: Timestamp, time: Timestamp) -> String {
    let resource = format!("arn:aws:ec2:{REGION}:{ACCOUNT}:capacity-reservation/{reservation_id}");
    let detail = json!({ "capacity-reservation-id": reservation_id, "end-date": end.to_string() });
    let kind = "Capacity Block Expiration Warning";
    envelope(kind, "aws.ec2", time, &resource, &detail)
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
    // EventBridge's own times are whole seconds.
    let time = Timestamp::from_second(time.as_second()).unwrap_or(time);
    json!({
        "version": "0",
        "id": Uuid::new_v4().to_string(),
        "detail-type": kind,
        "source": source,
        "account": ACCOUNT,
        "time": time.to_string(),
        "region": REGION,
        "resources": [resource],
        "detail": detail,
    })
    .to_string()
}
