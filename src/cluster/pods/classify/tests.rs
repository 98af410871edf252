//! Each answer that is known, as the API server writes it.

use serde_json::json;

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
    let down =
        "Internal error occurred: failed calling webhook \"no.example.com\": connection refused";
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
            about_budget(
                "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
            ),
            Answer::BudgetUncomputed {
                message:
                    "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
                        .into(),
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
