//! Auto Scaling over the Query protocol: lifecycle hooks and what they keep waiting.

mod action;
mod lifecycle;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

pub use self::action::{ActionState, EndedBy, LifecycleAction, LifecycleResult};
pub(super) use self::{
    action::{Hook, Transition},
    lifecycle::{Lifecycle, no_such_group},
};
use super::{
    World,
    answer::ApiError,
    lock,
    request::{self, Asked},
};

/// The most records in an answer of `DescribeAutoScalingInstances` (API reference).
const MAX_RECORDS: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Heartbeat {
    auto_scaling_group_name: String,
    lifecycle_hook_name: String,
    lifecycle_action_token: Option<String>,
    instance_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Complete {
    auto_scaling_group_name: String,
    lifecycle_hook_name: String,
    lifecycle_action_token: Option<String>,
    instance_id: Option<String>,
    lifecycle_action_result: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DescribeHooks {
    auto_scaling_group_name: String,
    #[serde(default)]
    lifecycle_hook_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DescribeInstances {
    #[serde(default)]
    instance_ids: Vec<String>,
    max_records: Option<String>,
    next_token: Option<String>,
}

pub(super) fn perform(world: &World, asked: &Asked) -> Result<Value, ApiError> {
    let now = world.clock.now();
    let lifecycle = &mut lock(&world.lifecycle);
    lifecycle.settle(now);
    let result = match asked.operation.as_str() {
        "RecordLifecycleActionHeartbeat" => heartbeat(lifecycle, &asked.input()?, now),
        "CompleteLifecycleAction" => complete(lifecycle, &asked.input()?, now),
        "DescribeLifecycleHooks" => describe_hooks(lifecycle, &asked.input()?),
        "DescribeAutoScalingInstances" => describe_instances(lifecycle, &asked.input()?),
        _ => Err(request::unknown_operation(asked)),
    };
    world.lifecycle_changed.notify();
    result
}

fn heartbeat(
    lifecycle: &mut Lifecycle,
    input: &Heartbeat,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let token = lifecycle.active(
        &input.auto_scaling_group_name,
        &input.lifecycle_hook_name,
        input.lifecycle_action_token.as_deref(),
        input.instance_id.as_deref(),
    )?;
    lifecycle.beat(&token, now);
    Ok(json!({}))
}

fn complete(
    lifecycle: &mut Lifecycle,
    input: &Complete,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let result = match input.lifecycle_action_result.as_str() {
        "CONTINUE" => LifecycleResult::Continue,
        "ABANDON" => LifecycleResult::Abandon,
        odd => {
            let message = format!("Invalid lifecycle action result: {odd}");
            return Err(ApiError::validation(message).broken_rule());
        }
    };
    let token = lifecycle.active(
        &input.auto_scaling_group_name,
        &input.lifecycle_hook_name,
        input.lifecycle_action_token.as_deref(),
        input.instance_id.as_deref(),
    )?;
    lifecycle.end(&token, result, EndedBy::Completion, now);
    Ok(json!({}))
}

fn describe_hooks(lifecycle: &Lifecycle, input: &DescribeHooks) -> Result<Value, ApiError> {
    let group = &input.auto_scaling_group_name;
    let wanted = &input.lifecycle_hook_names;
    let hooks = lifecycle.hooks(group)?;
    let hooks = hooks.filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name));
    let hooks: Vec<Value> = hooks
        .map(|(name, hook)| describe_hook(group, name, hook))
        .collect();
    Ok(json!({ "LifecycleHooks": hooks }))
}

fn describe_hook(group: &str, name: &str, hook: Hook) -> Value {
    json!({
        "AutoScalingGroupName": group,
        "LifecycleHookName": name,
        "LifecycleTransition": hook.transition.as_str(),
        "HeartbeatTimeout": hook.heartbeat_timeout.as_secs(),
        "GlobalTimeout": hook.global_timeout().as_secs(),
        "DefaultResult": hook.default_result.as_str(),
    })
}

fn describe_instances(lifecycle: &Lifecycle, input: &DescribeInstances) -> Result<Value, ApiError> {
    let number = |given: &Option<String>, default| {
        let invalid = || ApiError::validation("not a valid number").broken_rule();
        given.as_ref().map_or(Ok(default), |given| {
            given.parse::<usize>().map_err(|_| invalid())
        })
    };
    let start = number(&input.next_token, 0)?;
    let most = number(&input.max_records, MAX_RECORDS)?;
    if !(1..=MAX_RECORDS).contains(&most) || input.instance_ids.len() > MAX_RECORDS {
        let message = "At most 50 instances may be described at once.";
        return Err(ApiError::validation(message).broken_rule());
    }
    let wanted =
        |id: &str| input.instance_ids.is_empty() || input.instance_ids.iter().any(|w| w == id);
    let all = lifecycle.instances().filter(|(id, ..)| wanted(id));
    let mut page: Vec<Value> = all
        .skip(start)
        .take(most + 1)
        .map(describe_instance)
        .collect();
    let more = page.len() > most;
    page.truncate(most);
    let mut answer = json!({ "AutoScalingInstances": page });
    if more {
        answer["NextToken"] = json!((start + most).to_string());
    }
    Ok(answer)
}

fn describe_instance((id, group, state): (&str, &str, &str)) -> Value {
    json!({
        "InstanceId": id,
        "AutoScalingGroupName": group,
        "AvailabilityZone": format!("{}a", super::REGION),
        "LifecycleState": state,
        "HealthStatus": "HEALTHY",
        "ProtectedFromScaleIn": false,
    })
}
