//! What AWS says, turned into signals: text in, [`Parsed`] out.
//!
//! Nothing here calls anybody or knows what time it is. A body that means nothing to us is [`Parsed::Discarded`];
//! a body that can not be read, or whose signal the API server would refuse, is [`Malformed`]. Whatever is
//! returned as a signal fits the `NodeTermination` schema.

mod body;
mod eventbridge;
mod field;
pub mod identity;
pub mod metadata;
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
    /// The action that waits for the instance's Node to be Ready.
    pub hook: LifecycleHook,
}

/// What a readable body says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// At least one signal.
    Signals(Vec<Heard>),
    /// An instance launches.
    Launch(Launch),
    /// Nothing that we act on: it is acknowledged and counted.
    Discarded(Discard),
}

/// Why a readable body is no signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Discard {
    /// An event of a source that we know, of a detail type that announces no termination.
    OtherDetailType,
    /// A lifecycle action of another transition than the termination of an instance.
    OtherTransition,
}

impl Discard {
    /// The reason as it stands in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OtherDetailType => "OtherDetailType",
            Self::OtherTransition => "OtherTransition",
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
            Self::Time => "Time",
            Self::Region => "Region",
            Self::Length { .. } => "Length",
        }
    }
}

/// Reads one message body of a queue. Fails if it is too long, not JSON, not an event of a source that we know,
/// or an event whose content no `NodeTermination` could hold.
pub fn parse(body: &str) -> Result<Parsed, Malformed> {
    body::sized(body).and_then(eventbridge::parse)
}

#[cfg(test)]
mod tests;
