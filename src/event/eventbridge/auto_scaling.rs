//! Lifecycle actions of Auto Scaling groups: an instance that terminates, or one that launches, waits for us.
//!
//! Shape: "Lifecycle action events" in the EC2 Auto Scaling User Guide. The transition decides what it is. An instance
//! that returns to a warm pool (`Destination` is `WarmPool`) is stopped or hibernated under its pods: for the node
//! that is a termination like any other. The hook's `NotificationMetadata` is a constant of whoever made the hook, and
//! says nothing about this instance.

use jiff::Timestamp;
use serde::Deserialize;

use super::{Envelope, one};
use crate::api::termination::{LifecycleHook, Signal, SignalKind};
use crate::api::{Time, bounded};
use crate::event::body::read;
use crate::event::{Discard, Launch, Malformed, Parsed, field, identity};

/// The transition of an instance that leaves its group ("Lifecycle hooks" in the EC2 Auto Scaling User Guide).
const TERMINATING: &str = "autoscaling:EC2_INSTANCE_TERMINATING";

/// The transition of an instance that enters it.
const LAUNCHING: &str = "autoscaling:EC2_INSTANCE_LAUNCHING";

/// The most that is kept of a cause, in bytes.
const CAUSE_MAX_BYTES: usize = 256;

/// A lifecycle action, as events and notifications alike describe it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::event) struct LifecycleAction {
    #[serde(rename = "EC2InstanceId")]
    instance_id: String,
    auto_scaling_group_name: String,
    lifecycle_hook_name: String,
    #[serde(rename = "LifecycleActionToken")]
    token: String,
    lifecycle_transition: String,
    /// Why, in the words of the scaling activity; zone rebalancing among others.
    #[serde(default)]
    cause: Option<String>,
}

pub(super) fn event(body: &str) -> Result<Parsed, Malformed> {
    let event: Envelope<LifecycleAction> = read(body)?;
    event
        .detail
        .parsed(&event.time, field::region(event.region))
}

impl LifecycleAction {
    /// The signal or the launch that the action is; `region` is asked for only then.
    pub(in crate::event) fn parsed(
        self,
        time: &str,
        region: Result<String, Malformed>,
    ) -> Result<Parsed, Malformed> {
        let launches = match self.lifecycle_transition.as_str() {
            TERMINATING => false,
            LAUNCHING => true,
            _ => return Ok(Parsed::Discarded(Discard::OtherTransition)),
        };
        let instance_id = field::instance_id(self.instance_id)?;
        let notice = field::time(time)?;
        let hook = LifecycleHook {
            auto_scaling_group_name: field::text(
                "AutoScalingGroupName",
                self.auto_scaling_group_name,
                255,
            )?,
            hook_name: field::text("LifecycleHookName", self.lifecycle_hook_name, 255)?,
            action_token: field::text("LifecycleActionToken", self.token, 64)?,
            transition: self.lifecycle_transition,
            region: region?,
            // Whose credentials complete it is a matter of the source that heard it.
            role_arn: None,
            external_id: None,
        };
        if launches {
            return Ok(Parsed::Launch(Launch {
                instance_id,
                notice_time: notice,
                hook,
            }));
        }
        let signal = terminates(&instance_id, notice, hook, self.cause);
        Ok(one(instance_id, signal))
    }
}

/// Its deadline follows from the hook's time-out, which the event does not tell.
fn terminates(
    instance_id: &str,
    notice: Timestamp,
    hook: LifecycleHook,
    cause: Option<String>,
) -> Signal {
    let id = identity::auto_scaling_termination(instance_id, &hook);
    Signal {
        lifecycle_hook: Some(hook),
        cause: cause
            .filter(|cause| !cause.is_empty())
            .map(|cause| bounded(cause, CAUSE_MAX_BYTES)),
        ..Signal::new(id, SignalKind::AutoScalingTermination, Time(notice))
    }
}
