//! Events of EC2 beside the spot notice.
//!
//! Sources: Amazon EC2 User Guide, "EC2 instance rebalance recommendations", "State change events for your instances",
//! "Monitor interruptible Capacity Reservations", "Monitor Capacity Blocks using `EventBridge`".

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{ACCOUNT, REGION, envelope, whole};

/// An `EC2 Instance Rebalance Recommendation`.
#[must_use]
pub fn rebalance_recommendation(instance_id: &str, time: Timestamp) -> String {
    let detail = json!({ "instance-id": instance_id });
    let kind = "EC2 Instance Rebalance Recommendation";
    about(kind, instance_id, time, &detail)
}

/// An `EC2 Instance State-change Notification`; `state` is where the instance has come to, such as `stopping`.
#[must_use]
pub fn state_change(instance_id: &str, state: &str, time: Timestamp) -> String {
    let detail = json!({ "instance-id": instance_id, "state": state });
    let kind = "EC2 Instance State-change Notification";
    about(kind, instance_id, time, &detail)
}

/// An `EC2 Capacity Reservation Instance Interruption Warning`: the instance is terminated at `end`.
#[must_use]
pub fn capacity_reservation(instance_id: &str, end: Timestamp, time: Timestamp) -> String {
    let detail = json!({
        "instance-id": instance_id,
        "instance-action": "terminate",
        "instance-termination-time": whole(end).to_string(),
    });
    let kind = "EC2 Capacity Reservation Instance Interruption Warning";
    about(kind, instance_id, time, &detail)
}

/// A `Capacity Block Expiration Warning`, which names its reservation alone; `end` is the block's.
#[must_use]
pub fn block_expires(reservation_id: &str, end: Timestamp, time: Timestamp) -> String {
    let resource = format!("arn:aws:ec2:{REGION}:{ACCOUNT}:capacity-reservation/{reservation_id}");
    let detail = json!({ "capacity-reservation-id": reservation_id, "end-date": end.to_string() });
    let kind = "Capacity Block Expiration Warning";
    envelope(kind, "aws.ec2", time, &resource, &detail)
}

fn about(kind: &str, instance_id: &str, time: Timestamp, detail: &Value) -> String {
    let resource = format!("arn:aws:ec2:{REGION}:{ACCOUNT}:instance/{instance_id}");
    envelope(kind, "aws.ec2", time, &resource, detail)
}
