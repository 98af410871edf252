//! What reaches a queue past `EventBridge`: Auto Scaling's own notifications, and what SNS puts around a message.
//!
//! Sources: Amazon EC2 Auto Scaling User Guide, "Receive the notification"; Amazon SNS Developer Guide, "Parsing message
//! formats".

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::{ACCOUNT, LifecycleAction, REGION};

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

/// What Auto Scaling sends when a hook gets its target.
#[must_use]
pub fn test_notification(group: &str, time: Timestamp) -> String {
    json!({
        "AccountId": ACCOUNT,
        "RequestId": Uuid::new_v4().to_string(),
        "AutoScalingGroupARN": format!(
            "arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:{}:autoScalingGroupName/{group}",
            Uuid::new_v4()
        ),
        "AutoScalingGroupName": group,
        "Service": "AWS Auto Scaling",
        "Event": "autoscaling:TEST_NOTIFICATION",
        "Time": time.to_string(),
    })
    .to_string()
}

/// A message as a topic hands it on to a queue that does not ask for raw delivery.
#[must_use]
pub fn sns(message: &str, time: Timestamp) -> String {
    json!({
        "Type": "Notification",
        "MessageId": Uuid::new_v4().to_string(),
        "TopicArn": format!("arn:aws:sns:{REGION}:{ACCOUNT}:node-events"),
        "Message": message,
        "Timestamp": time.to_string(),
        "SignatureVersion": "1",
        "Signature": "c2lnbmF0dXJl",
        "SigningCertURL": format!("https://sns.{REGION}.amazonaws.com/cert.pem"),
        "UnsubscribeURL": format!("https://sns.{REGION}.amazonaws.com/?Action=Unsubscribe"),
    })
    .to_string()
}
