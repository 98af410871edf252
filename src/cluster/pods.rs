//! Telling a pod to end, and what the API server's answer means.

use std::time::Duration;

use http::{Method, Request, header};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::core::Status;
use serde_json::{Value, json};

use super::denied;
use crate::api::bounded;
use crate::api::termination::BlockReason;
use crate::clock;
use crate::drain::{Answer, Order, Verb};

/// The server itself retries for up to ten seconds, and asks webhooks of up to thirty.
const EVICTION_TIMEOUT: Duration = Duration::from_secs(35);
/// An answer longer than this is no Status.
const ANSWER_MAX: usize = 64 * 1024;
/// The longest part of the server's words that is kept.
const MESSAGE_MAX: usize = 512;
/// The reason in the condition that tells a Job's failure policy that the pod did not fail by itself.
const DISRUPTION_REASON: &str = "NodeTermination";

/// Carries out one order and classifies the answer.
///
/// The request is built by hand: kube 5.0 names the eviction's options `delete_options`, the API server ignores
/// that, and neither the UID precondition nor the grace period would arrive. The raw answer also keeps Retry-After.
pub async fn send(client: &Client, order: &Order) -> Answer {
    let act = match order.verb {
        Verb::Evict => "evict pod",
        Verb::Delete => "delete pod",
    };
    let namespace = &order.pod.namespace;
    if let Some(denied) = denied::is_denied(act, namespace) {
        let message = format!("the operator's roles do not let it {}", denied.what);
        return Answer::RoleMissing { message };
    }
    let answer = match tokio::time::timeout(EVICTION_TIMEOUT, carry_out(client, order)).await {
        Ok(answer) => answer,
        Err(_) => Answer::Unanswered {
            message: "no answer in time".to_owned(),
        },
    };
    learn(act, namespace, &answer);
    answer
}

/// What an answer says of our roles: they are asked before budgets, webhooks and the pod itself.
fn learn(act: &'static str, namespace: &str, answer: &Answer) {
    match answer {
        Answer::RoleMissing { message } => denied::forbidden(act, namespace, message),
        Answer::Denied {
            reason: BlockReason::Forbidden,
            ..
        }
        | Answer::Overloaded { .. }
        | Answer::ServerError { .. }
        | Answer::Unanswered { .. } => {}
        _ => denied::allowed(act, namespace),
    }
}

fn forbidden(message: String) -> Answer {
    Answer::Denied {
        reason: BlockReason::Forbidden,
        by: None,
        message,
    }
}

async fn carry_out(client: &Client, order: &Order) -> Answer {
    if order.mark_disruption {
        let marked = request(
            client,
            Method::PATCH,
            &format!("{}/status", path(order)),
            "application/strategic-merge-patch+json",
            &disruption(order),
        )
        .await;
        // The mark is a courtesy to the Job: only a pod that is not there any more is not deleted for want of it.
        if matches!(marked, Answer::NotFound | Answer::Conflict) {
            return marked;
        }
    }
    let options = delete_options(order);
    match order.verb {
        Verb::Delete => {
            request(
                client,
                Method::DELETE,
                &path(order),
                "application/json",
                &options,
            )
            .await
        }
        Verb::Evict => {
            let eviction = json!({
                "apiVersion": "policy/v1",
                "kind": "Eviction",
                "metadata": {"name": order.pod.name, "namespace": order.pod.namespace},
                "deleteOptions": options,
            });
            request(
                client,
                Method::POST,
                &format!("{}/eviction", path(order)),
                "application/json",
                &eviction,
            )
            .await
        }
    }
}

fn path(order: &Order) -> String {
    format!(
        "/api/v1/namespaces/{}/pods/{}",
        order.pod.namespace, order.pod.name
    )
}

fn delete_options(order: &Order) -> Value {
    let mut preconditions = json!({"uid": order.pod.uid});
    if order.pin_version && order.verb == Verb::Evict {
        preconditions["resourceVersion"] = json!(order.pod.resource_version);
    }
    json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "gracePeriodSeconds": order.grace.as_secs(),
        "preconditions": preconditions,
    })
}

fn disruption(order: &Order) -> Value {
    json!({
        "metadata": {"uid": order.pod.uid},
        "status": {"conditions": [{
            "type": "DisruptionTarget",
            "status": "True",
            // Without it the disruption controller takes the condition for one of long ago, and clears it.
            "lastTransitionTime": format!("{:.0}", clock::now()),
            "reason": DISRUPTION_REASON,
            "message": "the node's instance is being terminated",
        }]},
    })
}

async fn request(
    client: &Client,
    method: Method,
    path: &str,
    content_type: &str,
    body: &Value,
) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, content_type)
        .body(Body::from(body.to_string().into_bytes()));
    let Ok(request) = request else {
        return Answer::Unanswered {
            message: "the request can not be built".to_owned(),
        };
    };
    let response = match client.send(request).await {
        Ok(response) => response,
        Err(error) => {
            return Answer::Unanswered {
                message: shortened(&error.to_string()),
            };
        }
    };
    let (head, body) = response.into_parts();
    let retry_after = head
        .headers
        .get(header::RETRY_AFTER)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse().ok())
        .map(Duration::from_secs);
    let body = match http_body_util::Limited::new(body, ANSWER_MAX)
        .collect()
        .await
    {
        Ok(body) => body.to_bytes(),
        Err(error) if !head.status.is_success() => {
            return Answer::Unanswered {
                message: shortened(&error.to_string()),
            };
        }
        Err(_) => return Answer::Accepted,
    };
    classify(head.status.as_u16(), retry_after, &body)
}

/// The cause of a refusal that a disruption budget is the reason of (policy/v1: `DisruptionBudgetCause`).
const BUDGET_CAUSE: &str = "DisruptionBudget";

/// What an answer means, by code, cause and message. The sources of each row stand in `docs/drain.md`.
fn classify(code: u16, retry_after: Option<Duration>, body: &[u8]) -> Answer {
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

fn shortened(message: &str) -> String {
    bounded(message.to_owned(), MESSAGE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, message: &str, cause: Option<&str>) -> Vec<u8> {
        let causes: Vec<_> = cause
            .iter()
            .map(|reason| json!({"reason": reason, "message": ""}))
            .collect();
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "code": code, "details": {"causes": causes}}).to_string().into_bytes()
    }

    /// As `errors.NewForbidden(policy.Resource("poddisruptionbudget"), …)` makes it.
    fn about_budget(message: &str) -> Vec<u8> {
        let details = json!({"group": "policy", "kind": "poddisruptionbudget", "name": "b"});
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Forbidden", "message": message, "code": 403, "details": details}).to_string().into_bytes()
    }

    #[test]
    fn an_eviction_that_a_budget_refuses_is_one_that_our_roles_allow() {
        let message = r#"User "u" cannot create resource "pods/eviction" in API group """#;
        let unanswered = Answer::Unanswered {
            message: String::new(),
        };
        let refused = Answer::BudgetRefused {
            message: String::new(),
            retry_after: None,
        };
        let missing = Answer::RoleMissing {
            message: message.to_owned(),
        };
        learn("test eviction", "web", &missing);
        learn("test eviction", "web", &unanswered);
        assert!(denied::is_denied("test eviction", "web").is_some());
        learn("test eviction", "web", &refused);
        assert_eq!(denied::is_denied("test eviction", "web"), None);
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "one table of all answers")]
    fn each_answer_means_one_thing() {
        let denied = |by: Option<&str>, message: &str| {
            let forbidden = message.starts_with("User");
            let reason = if forbidden {
                BlockReason::Forbidden
            } else {
                BlockReason::Webhook
            };
            Answer::Denied {
                reason,
                by: by.map(str::to_owned),
                message: message.to_owned(),
            }
        };
        let budget = "Cannot evict pod as it would violate the pod's disruption budget.";
        let two = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        let contended = "couldn't update PodDisruptionBudget \"b\" due to conflicts";
        let hook = "admission webhook \"no.example.com\" denied the request: not today";
        let policy = "pods \"p\" is forbidden: ValidatingAdmissionPolicy 'no-evictions' with binding 'all' denied request: no";
        let down = "Internal error occurred: failed calling webhook \"no.example.com\": connection refused";
        let not_ready = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "storage is (re)initializing", "code": 429, "details": {"retryAfterSeconds": 1}});
        let not_ready = not_ready.to_string().into_bytes();
        let role = "pods \"p\" is forbidden: User \"u\" cannot create resource \"pods/eviction\" in API group \"\" in the namespace \"web\"";
        for (code, body, answer) in [
            (201, status(201, "", None), Answer::Accepted),
            (
                404,
                status(404, "pods \"p\" not found", None),
                Answer::NotFound,
            ),
            (
                409,
                status(409, "uid in precondition", None),
                Answer::Conflict,
            ),
            (
                429,
                status(429, budget, Some("DisruptionBudget")),
                Answer::BudgetRefused {
                    message: budget.into(),
                    retry_after: None,
                },
            ),
            (
                429,
                b"Too many requests, please try again later.".to_vec(),
                Answer::Overloaded { retry_after: None },
            ),
            (
                429,
                not_ready,
                Answer::Overloaded {
                    retry_after: Some(Duration::from_secs(1)),
                },
            ),
            (
                429,
                status(429, "come back once it has moved", None),
                denied(None, "come back once it has moved"),
            ),
            (
                403,
                about_budget("DisruptedPods map too big - too many evictions not confirmed by PDB controller"),
                Answer::BudgetUncomputed {
                    message: "DisruptedPods map too big - too many evictions not confirmed by PDB controller".into(),
                },
            ),
            (
                429,
                status(429, hook, None),
                denied(Some("no.example.com"), hook),
            ),
            (
                403,
                status(403, "being terminated", Some("NamespaceTerminating")),
                Answer::NamespaceTerminating,
            ),
            (
                403,
                status(403, "User can not create pods/eviction", None),
                denied(None, "User can not create pods/eviction"),
            ),
            (
                403,
                status(403, role, None),
                Answer::RoleMissing {
                    message: role.into(),
                },
            ),
            (
                400,
                status(400, hook, None),
                denied(Some("no.example.com"), hook),
            ),
            (
                422,
                status(422, policy, None),
                denied(Some("no-evictions"), policy),
            ),
            (500, status(500, two, None), Answer::MultipleBudgets),
            (
                500,
                status(500, down, None),
                denied(Some("no.example.com"), down),
            ),
            (
                500,
                status(500, "etcd is sad", None),
                Answer::ServerError {
                    message: "etcd is sad".into(),
                },
            ),
            (504, status(504, contended, None), Answer::BudgetContended),
            (
                503,
                b"unavailable".to_vec(),
                Answer::ServerError {
                    message: "unavailable".into(),
                },
            ),
        ] {
            assert_eq!(classify(code, None, &body), answer, "{code}");
        }
    }

    #[test]
    fn the_servers_advice_is_kept() {
        let advice = Some(Duration::from_secs(10));
        assert_eq!(
            classify(429, advice, b"busy"),
            Answer::Overloaded {
                retry_after: advice
            }
        );
    }
}
