//! What AWS says, turned into signals: text in, [`Parsed`] out.
//!
//! Nothing here calls anybody or knows what time it is. A body that means nothing to us is [`Parsed::Discarded`];
//! a body that can not be read, or whose signal the API server would refuse, is [`Malformed`]. Whatever is
//! returned as a signal fits the `NodeTermination` schema, with one thing left to the caller: the region of a
//! lifecycle action that Auto Scaling notified us of without EventBridge is empty, and is the queue's own.

mod body;
mod eventbridge;
mod field;
pub mod identity;
pub mod metadata;
mod notification;
mod signal;

use jiff::Timestamp;

use crate::api::termination::{LifecycleHook, MaintenanceState, RUNNING, Signal};

/// The longest body that is looked at, in bytes: the greatest message of SQS, 1 MiB (SQS Developer Guide,
/// "Amazon SQS message quotas").
pub const BODY_MAX_BYTES: usize = 1_048_576;

/// A signal, and the instance that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The EC2 instance's ID.
    pub instance_id: String,
    /// What was heard about it.
    pub signal: Signal,
}

impl Heard {
    /// It only changes what was heard before: maintenance that is canceled or over, a stopped instance that runs again.
    /// It is recorded on the instance's open incident, and opens none.
    #[must_use]
    pub fn only_follows(&self) -> bool {
        let maintenance = self.signal.maintenance.as_ref();
        maintenance.is_some_and(|m| m.state != MaintenanceState::Scheduled)
            || self.signal.instance_state.as_deref() == Some(RUNNING)
    }
}

/// An instance that launches, and the lifecycle action that holds it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The EC2 instance's ID.
    pub instance_id: String,
    /// When Auto Scaling gave notice.
    pub notice_time: Timestamp,
    /// The action that waits for the instance's Node to be Ready. Its region is empty as in a signal.
    pub hook: LifecycleHook,
}

/// A capacity reservation that ends, and with it every instance in it; which these are, only EC2 can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The capacity reservation's ID.
    pub reservation_id: String,
    /// The region that it is in; empty if the event names none that could be one.
    pub region: String,
    /// When EC2 gave notice.
    pub notice_time: Timestamp,
    /// When EC2 begins to terminate its instances.
    pub deadline: Timestamp,
}

impl Reservation {
    /// What is heard about each of these instances: the same as if the event had named it.
    #[must_use]
    pub fn heard(&self, instance_ids: impl IntoIterator<Item = String>) -> Vec<Heard> {
        let (notice, deadline) = (self.notice_time, Some(self.deadline));
        let heard = instance_ids.into_iter().map(|instance_id| Heard {
            signal: signal::capacity_reservation(&instance_id, notice, deadline, None),
            instance_id,
        });
        heard.collect()
    }
}

/// What a readable body says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// At least one signal.
    Signals(Vec<Heard>),
    /// An instance launches.
    Launch(Launch),
    /// A capacity reservation ends, and no instance is named.
    Reservation(Reservation),
    /// Nothing that we act on: it is acknowledged and counted.
    Discarded(Discard),
}

impl Parsed {
    /// What was heard, if it is about any instance.
    fn signals(heard: Vec<Heard>) -> Self {
        match heard.as_slice() {
            [] => Self::Discarded(Discard::NoInstance),
            _ => Self::Signals(heard),
        }
    }
}

/// Why a readable body is no signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Discard {
    /// An event of a source that we know, of a detail type that announces no termination.
    OtherDetailType,
    /// A lifecycle action of another transition than the launch or the termination of an instance.
    OtherTransition,
    /// A change to a state that says nothing about a node that there is: pending.
    OtherState,
    /// An event of AWS Health about another service, or no scheduled change.
    OtherHealthEvent,
    /// A scheduled change that names no instance, or a Capacity Block that names neither an instance nor its reservation.
    NoInstance,
    /// What Auto Scaling sends to see whether it may.
    TestNotification,
    /// A notification of what an Auto Scaling group has done already, or of an SNS subscription.
    OtherNotification,
}

impl Discard {
    /// The reason as it stands in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OtherDetailType => "OtherDetailType",
            Self::OtherTransition => "OtherTransition",
            Self::OtherState => "OtherState",
            Self::OtherHealthEvent => "OtherHealthEvent",
            Self::NoInstance => "NoInstance",
            Self::TestNotification => "TestNotification",
            Self::OtherNotification => "OtherNotification",
        }
    }
}

/// Why a body can not be taken. No variant quotes the body at length: the text ends in logs and conditions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The body is longer than [`BODY_MAX_BYTES`].
    #[error("the body has {0} bytes, more than {BODY_MAX_BYTES}")]
    TooLarge(usize),
    /// The body is not JSON.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// The body is JSON, but a field is missing or has the wrong type.
    #[error("the body is not the event that it says it is: {0}")]
    Shape(String),
    /// The event is from a source that we know nothing of.
    #[error("the event's source is none of aws.ec2, aws.autoscaling, aws.health")]
    UnknownSource,
    /// The instance ID is none.
    #[error("the instance ID is not i- and 8 to 17 lower-case hexadecimal digits")]
    InstanceId,
    /// The capacity reservation's ID is none.
    #[error("the capacity reservation's ID is not cr- and 8 to 17 lower-case hexadecimal digits")]
    ReservationId,
    /// The time is none, or none that an object can hold.
    #[error("a time is none that is known, or not of the years 1970 to 9999")]
    Time,
    /// The region is none.
    #[error("region is not 1 to 32 lower-case letters, digits and hyphens")]
    Region,
    /// A text is empty, or longer than the object's schema allows.
    #[error("{field} has not 1 to {max} characters")]
    Length {
        /// The field's name in the event.
        field: &'static str,
        /// The most characters that it may have.
        max: usize,
    },
}

impl Malformed {
    /// The reason as it stands in logs, metrics and conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "TooLarge",
            Self::NotJson(_) => "NotJSON",
            Self::Shape(_) => "Shape",
            Self::UnknownSource => "UnknownSource",
            Self::InstanceId => "InstanceID",
            Self::ReservationId => "ReservationID",
            Self::Time => "Time",
            Self::Region => "Region",
            Self::Length { .. } => "Length",
        }
    }
}

/// Reads one message body of a queue: an EventBridge event, a notification of Auto Scaling, or either of them wrapped
/// by SNS. Fails if it is too long, not JSON, not an event of a source that we know, or an event whose content no `NodeTermination` could hold.
pub fn parse(body: &str) -> Result<Parsed, Malformed> {
    body::sized(body).and_then(notification::parse)
}

#[cfg(test)]
mod tests;
