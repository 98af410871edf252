//! Telling a pod to end.

mod classify;

use std::time::Duration;

use http::{Method, Request, header};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use self::classify::classify;
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

fn shortened(message: &str) -> String {
    bounded(message.to_owned(), MESSAGE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
