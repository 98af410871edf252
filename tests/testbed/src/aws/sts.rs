//! STS: roles are assumed, and their calls are told apart.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    World,
    answer::ApiError,
    lock,
    request::{self, Asked},
};

/// The `DurationSeconds` that applies when none is given (STS API reference, `AssumeRole`).
const DEFAULT_SESSION: &str = "3600";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct AssumeRole {
    role_arn: String,
    role_session_name: String,
    duration_seconds: Option<String>,
    external_id: Option<String>,
}

pub(super) fn perform(world: &World, asked: &Asked) -> Result<Value, ApiError> {
    match asked.operation.as_str() {
        "AssumeRole" => assume_role(world, &asked.input()?),
        _ => Err(request::unknown_operation(asked)),
    }
}

fn assume_role(world: &World, input: &AssumeRole) -> Result<Value, ApiError> {
    let seconds = input.duration_seconds.as_deref().unwrap_or(DEFAULT_SESSION);
    let invalid = || ApiError::validation("DurationSeconds must be 900 to 43200").broken_rule();
    let seconds = seconds
        .parse()
        .ok()
        .filter(|s| (900..=43_200).contains(s))
        .ok_or_else(invalid)?;
    let session = lock(&world.credentials).assume(&input.role_arn, input.external_id.as_deref())?;
    let assumed = input
        .role_arn
        .replace(":iam:", ":sts:")
        .replace(":role/", ":assumed-role/");
    Ok(json!({
        "Credentials": {
            "AccessKeyId": session.access_key_id,
            "SecretAccessKey": session.secret_access_key,
            "SessionToken": session.token,
            "Expiration": (world.clock.now() + Duration::from_secs(seconds)).to_string(),
        },
        "AssumedRoleUser": {
            "Arn": format!("{assumed}/{}", input.role_session_name),
            "AssumedRoleId": format!("AROA0123456789EXAMPLE:{}", input.role_session_name),
        },
    }))
}
