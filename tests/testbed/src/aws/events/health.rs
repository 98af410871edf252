//! Scheduled changes as AWS Health announces them.
//!
//! Source: AWS Health User Guide, "AWS Health events Amazon `EventBridge` schema".

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ACCOUNT, REGION, envelope_of};

/// The length of a change's window.
const WINDOW: Duration = Duration::from_hours(2);

/// A change of some instances that AWS has scheduled; one event for each status that it comes to.
#[derive(Clone, Debug)]
pub struct ScheduledChange {
    arn: String,
    code: String,
    starts: Timestamp,
    instance_ids: Vec<String>,
}

impl ScheduledChange {
    /// A change with this event type code, such as `AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED`, that begins at
    /// `starts` and takes two hours.
    #[must_use]
    pub fn new(code: &str, instance_ids: &[&str], starts: Timestamp) -> Self {
        let id = Uuid::new_v4().simple();
        Self {
            arn: format!("arn:aws:health:{REGION}::event/EC2/{code}/{code}_{id}"),
            code: code.to_owned(),
            starts,
            instance_ids: instance_ids.iter().map(|&id| id.to_owned()).collect(),
        }
    }

    /// A reboot of the machines that begins at `starts`.
    #[must_use]
    pub fn reboot(instance_ids: &[&str], starts: Timestamp) -> Self {
        let code = "AWS_EC2_INSTANCE_REBOOT_MAINTENANCE_SCHEDULED";
        Self::new(code, instance_ids, starts)
    }

    /// The `AWS Health Event` that tells of the change; `status` is `upcoming`, `open` or `closed`.
    #[must_use]
    pub fn event(&self, status: &str, time: Timestamp) -> String {
        let entities: Vec<Value> = self
            .instance_ids
            .iter()
            .map(|id| {
                json!({
                    "entityValue": id,
                    "status": "PENDING",
                    "lastUpdatedTime": date(time),
                    "tags": {},
                })
            })
            .collect();
        let detail = json!({
            "eventArn": self.arn,
            "service": "EC2",
            "eventTypeCode": self.code,
            "eventTypeCategory": "scheduledChange",
            "eventScopeCode": "ACCOUNT_SPECIFIC",
            "communicationId": format!("{}-1", Uuid::new_v4().simple()),
            "startTime": date(self.starts),
            "endTime": date(self.starts + WINDOW),
            "lastUpdatedTime": date(time),
            "statusCode": status,
            "eventRegion": REGION,
            "eventDescription": [{ "language": "en_US", "latestDescription": "A change is scheduled." }],
            "eventMetadata": {},
            "affectedEntities": entities,
            "affectedAccount": ACCOUNT,
            "page": "1",
            "totalPages": "1",
        });
        let resources: Vec<&str> = self.instance_ids.iter().map(String::as_str).collect();
        envelope_of("AWS Health Event", "aws.health", time, &resources, &detail)
    }
}

/// As AWS Health writes its dates: `Sat, 21 Mar 2026 15:10:09 GMT`.
fn date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
