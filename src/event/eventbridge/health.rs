//! AWS Health: scheduled changes of EC2 instances, one signal for each instance that is affected.
//!
//! Shape: "AWS Health events Amazon EventBridge schema" in the AWS Health User Guide. A change of many instances comes
//! in pages, and each page again as a backup in another region; neither the page nor the communication ID identifies
//! anything, so that all copies lead to the same signals. `closed` takes a change back, whether it is over or will not
//! come: Health does not say which, and what we did is to be undone either way.

use serde::Deserialize;
use serde_json::Value;

use super::Envelope;
use crate::api::Time;
use crate::api::termination::{MaintenanceEvent, MaintenanceState};
use crate::event::body::read;
use crate::event::{Discard, Heard, Malformed, Parsed, field, signal};

/// An entity's status once its owner has dealt with the change, by a stop and a start for example.
const RESOLVED: &str = "RESOLVED";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subject {
    service: String,
    event_type_category: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    event_arn: String,
    event_type_code: String,
    #[serde(default)]
    status_code: Status,
    #[serde(default)]
    start_time: Option<String>,
    #[serde(default)]
    end_time: Option<String>,
    #[serde(default)]
    affected_entities: Vec<Value>,
}

/// A change of which Health does not say how it stands is to come.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    #[default]
    Upcoming,
    Open,
    Closed,
}

pub(super) fn scheduled_change(body: &str) -> Result<Parsed, Malformed> {
    let Subject {
        service,
        event_type_category,
    } = read::<Envelope<Subject>>(body)?.detail;
    if service != "EC2" || event_type_category != "scheduledChange" {
        return Ok(Parsed::Discarded(Discard::OtherHealthEvent));
    }
    let event: Envelope<Change> = read(body)?;
    let notice = field::time(&event.time)?;
    let change = event.detail;
    let scheduled = MaintenanceEvent {
        event_id: field::text("eventArn", change.event_arn, 256)?,
        code: field::text("eventTypeCode", change.event_type_code, 128)?,
        state: MaintenanceState::Scheduled,
        not_before: window(change.start_time)?,
        not_after: window(change.end_time)?,
    };
    let closed = change.status_code == Status::Closed;
    let heard = change.affected_entities.iter().filter_map(|entity| {
        let instance_id = field::named_instance(entity["entityValue"].as_str()?)?;
        let mut event = scheduled.clone();
        if closed || entity["status"] == RESOLVED {
            event.state = MaintenanceState::Canceled;
        }
        Some(Heard {
            signal: signal::scheduled_maintenance(&instance_id, event, notice),
            instance_id,
        })
    });
    Ok(Parsed::signals(heard.collect()))
}

fn window(text: Option<String>) -> Result<Option<Time>, Malformed> {
    let text = text.filter(|text| !text.is_empty());
    text.map(|text| field::date(&text).map(Time)).transpose()
}
