//! Finding the lifecycle hooks that instance metadata told of and could not name.

use std::time::Duration;

use jiff::Timestamp;

use super::Context;
use super::act::back_off;
use crate::api::termination::{AwsAccess, NodeTermination};
use crate::aws::{Error, Reason};
use crate::clock;
use crate::controller::hooks::{account_of, terminating};
use crate::lifecycle::Lookup;

/// Looks the signal's hooks up, and remembers the answer.
pub(super) async fn find(
    object: &NodeTermination,
    signal_id: String,
    access: &AwsAccess,
    context: &Context,
) {
    let Some(instance_id) = object.instance_id() else {
        return;
    };
    let asked = context.memories.with(object, |m| {
        m.lookups.get(&signal_id).map(|(times, _)| *times)
    });
    let again = again_at(back_off(asked.unwrap_or_default()));
    let answer = match look(instance_id, access, again, context).await {
        Ok(answer) => answer,
        Err(error) => failed(&signal_id, &error, again),
    };
    let times = asked.map_or(0, |times| times.saturating_add(1));
    context
        .memories
        .with(object, |m| m.lookups.insert(signal_id, (times, answer)));
}

async fn look(
    instance_id: &str,
    access: &AwsAccess,
    again_at: Timestamp,
    context: &Context,
) -> Result<Lookup, Error> {
    let account = account_of(access);
    let auto_scaling = context.aws.lifecycle(&account).await;
    let Some(instance) = auto_scaling.instance(instance_id).await? else {
        let why = format!(
            "no Auto Scaling group that the policy's queue gives access to, in {}, has the instance",
            access.region
        );
        return Ok(Lookup::NotOurs(why));
    };
    let group = &instance.group;
    let hooks = terminating(&context.hooks, &context.aws, &account, group).await?;
    // An instance of a warm pool goes through the same states under this prefix.
    let state = instance.state.strip_prefix("Warmed:");
    Ok(match state.unwrap_or(&instance.state) {
        _ if hooks.is_empty() => Lookup::Nothing(format!(
            "the Auto Scaling group {group} has no lifecycle hook for a termination"
        )),
        "Terminating:Wait" => Lookup::Waiting(hooks),
        "Terminating:Proceed" | "Terminating:Retained" | "Terminated" => {
            Lookup::Nothing(format!("the instance is {}", instance.state))
        }
        _ => Lookup::Soon {
            hooks,
            state: instance.state,
            again_at,
        },
    })
}

fn failed(signal_id: &str, error: &Error, again_at: Timestamp) -> Lookup {
    tracing::warn!(signal = signal_id, reason = error.reason(), %error, "lifecycle hooks can not be looked up, trying again");
    Lookup::Failed {
        message: error.to_string(),
        denied: matches!(error.reason, Reason::AccessDenied | Reason::Credentials),
        again_at,
    }
}

fn again_at(wait: Duration) -> Timestamp {
    let now = clock::now();
    now.checked_add(wait).unwrap_or(now)
}
