//! The documents as AWS shows them: their paths below `/latest/meta-data/`, and their texts.
//!
//! Shapes: "Instance metadata categories" and "View scheduled events" in the EC2 User Guide.

use jiff::Timestamp;
use serde_json::json;

/// A spot instance is taken back.
pub const SPOT: &str = "spot/instance-action";
/// A spot instance is at a heightened risk of that.
pub const REBALANCE: &str = "events/recommendations/rebalance";
/// AWS works on the machine.
pub const MAINTENANCE: &str = "events/maintenance/scheduled";
/// Where the Auto Scaling group takes the instance.
pub const TARGET_STATE: &str = "autoscaling/target-lifecycle-state";

/// The instance goes at `time`.
#[must_use]
pub fn spot(time: Timestamp) -> String {
    json!({"action": "terminate", "time": format!("{time:.0}")}).to_string()
}

/// The risk was noticed at `time`.
#[must_use]
pub fn rebalance(time: Timestamp) -> String {
    json!({"noticeTime": format!("{time:.0}")}).to_string()
}

/// One entry: `state` is active, canceled or completed; the window opens at `not_before` and is two hours long.
#[must_use]
pub fn maintenance(event: &str, code: &str, state: &str, not_before: Timestamp) -> String {
    let date = |t: Timestamp| t.strftime("%-d %b %Y %H:%M:%S GMT").to_string();
    let not_after = not_before + jiff::SignedDuration::from_hours(2);
    let entry = json!({
        "NotBefore": date(not_before),
        "Code": code,
        "Description": "scheduled",
        "EventId": event,
        "NotAfter": date(not_after),
        "State": state,
    });
    json!([entry]).to_string()
}
