//! What the API server's answer to an eviction or a deletion means.

use std::time::Duration;

use kube::core::Status;

use super::shortened;
use crate::api::termination::BlockReason;
use crate::cluster::denied;
use crate::drain::Answer;

/// The cause of a refusal that a disruption budget is the reason of (policy/v1: `DisruptionBudgetCause`).
const BUDGET_CAUSE: &str = "DisruptionBudget";

/// What an answer means, by code, cause and message. The sources of each row stand in `docs/drain.md`.
pub(super) fn classify(code: u16, retry_after: Option<Duration>, body: &[u8]) -> Answer {
    if (200..300).contains(&code) {
        return Answer::Accepted;
    }
    let status: Option<Status> = serde_json::from_slice(body).ok();
    let details = status.as_ref().and_then(|s| s.details.as_ref());
    let causes = || details.iter().flat_map(|d| &d.causes);
    let has_cause = |reason: &str| causes().any(|c| c.reason == reason);
    // What the budget needs and has stands there, and not in the message.
    let cause = |reason: &str| {
        let mut said = causes().filter(|c| c.reason == reason).map(|c| &*c.message);
        said.find(|message| !message.is_empty())
    };
    let about = details.map(|d| d.kind.as_str());
    let said = details
        .map(|d| d.retry_after_seconds)
        .filter(|s| *s > 0)
        .map(|s| Duration::from_secs(s.into()));
    let retry_after = retry_after.or(said);
    let message = status.as_ref().map_or_else(
        || shortened(&String::from_utf8_lossy(body)),
        |s| shortened(&s.message),
    );
    let webhook = webhook_of(&message);
    match code {
        404 => Answer::NotFound,
        409 => Answer::Conflict,
        429 if has_cause(BUDGET_CAUSE) => Answer::BudgetRefused {
            message: cause(BUDGET_CAUSE).map_or(message, shortened),
            retry_after,
        },
        403 if has_cause("NamespaceTerminating") => Answer::NamespaceTerminating,
        _ if webhook.is_some() => Answer::Denied {
            reason: BlockReason::Webhook,
            by: webhook,
            message,
        },
        429 if status.is_some() && retry_after.is_none() => Answer::Denied {
            reason: BlockReason::Webhook,
            by: None,
            message,
        },
        429 => Answer::Overloaded { retry_after },
        403 if about == Some("poddisruptionbudget") => Answer::BudgetUncomputed { message },
        403 if denied::missing(&message).is_some() => Answer::RoleMissing { message },
        500 if message.contains("more than one PodDisruptionBudget") => Answer::MultipleBudgets,
        504 if message.contains("PodDisruptionBudget") => Answer::BudgetContended,
        400..500 => forbidden(message),
        _ => Answer::ServerError { message },
    }
}

/// The webhook that denied the call, or that could not be asked (apiserver: `admission webhook "NAME" denied the
/// request`, `failed calling webhook "NAME"`), or the policy that did (`ValidatingAdmissionPolicy 'NAME' with binding`).
fn webhook_of(message: &str) -> Option<String> {
    let named = |before: &str, quote: char| {
        let rest = message.split_once(before)?.1;
        Some(rest.split_once(quote)?.0.to_owned())
    };
    named("webhook \"", '"').or_else(|| named("ValidatingAdmissionPolicy '", '\''))
}

fn forbidden(message: String) -> Answer {
    Answer::Denied {
        reason: BlockReason::Forbidden,
        by: None,
        message,
    }
}

#[cfg(test)]
mod tests;
