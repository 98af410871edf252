//! What a caller may do: the actions of the IAM policy that the documents tell people to attach, and no others.

use std::{collections::BTreeSet, sync::LazyLock};

use serde_json::Value;

use super::{answer::ApiError, request::Asked};

/// The policy as it is documented.
const POLICY: &str = include_str!("../../../../docs/aws/iam-policy.json");

static ACTIONS: LazyLock<BTreeSet<String>> = LazyLock::new(|| actions(POLICY));

/// The actions of all statements; of a policy that can not be read, none.
fn actions(policy: &str) -> BTreeSet<String> {
    let policy: Value = serde_json::from_str(policy).unwrap_or_default();
    let statements = policy["Statement"].as_array().into_iter().flatten();
    let named = statements.flat_map(|statement| match &statement["Action"] {
        Value::Array(many) => many.clone(),
        one => vec![one.clone()],
    });
    named
        .filter_map(|n| n.as_str().map(str::to_owned))
        .collect()
}

/// Refuses what the policy does not allow. A batch needs the right to its single operation.
pub(super) fn refusal(asked: &Asked) -> Option<ApiError> {
    let operation = &asked.operation;
    let operation = operation.strip_suffix("Batch").unwrap_or(operation);
    let action = format!("{}:{operation}", asked.service.signing_name());
    if ACTIONS.contains(&action) {
        return None;
    }
    let message = format!("not authorized to perform: {action}; see docs/aws/iam-policy.json");
    Some(ApiError::coral(403, "AccessDenied", message).broken_rule())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_read_whole() {
        let actions = actions(POLICY);
        assert!(actions.contains("sqs:ReceiveMessage"), "{actions:?}");
        assert!(actions.contains("sts:AssumeRole"), "{actions:?}");
        assert!(!actions.contains("sqs:SendMessage"), "{actions:?}");
    }
}
