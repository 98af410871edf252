//! Whom a policy tells: which notifications are refused, and the defaults of one.

use node_termination_operator::api::policy::TerminationPolicy;
use serde_json::{Value, json};

use super::{assert_refused, create, extend, policy};

#[tokio::test]
async fn a_notification_that_can_not_work_is_refused_with_the_reason() {
    let told = |more: Value| {
        let mut notification = json!({"name": "chat", "url": "https://example.com/hook"});
        extend(&mut notification, &more);
        policy(&json!({"notifications": [notification]}))
    };
    let from = json!({"secretKeyRef": {"name": "chat", "key": "url"}});
    let header = |header: Value| told(json!({"headers": [header]}));
    let nine: Vec<Value> = (0..9)
        .map(|n| json!({"name": format!("n{n}"), "url": "https://example.com/hook"}))
        .collect();
    let own = "headers: a name is of letters, digits and hyphens, and not one that the request itself needs";
    let refused = [
        (
            "no receiver",
            policy(&json!({"notifications": [{"name": "chat"}]})),
            "notifications: exactly one of url, urlFrom must be set",
        ),
        (
            "two receivers",
            told(json!({"urlFrom": from})),
            "notifications: exactly one of url, urlFrom must be set",
        ),
        (
            "no URL",
            told(json!({"url": "example.com/hook"})),
            "spec.notifications[0].url in body should match",
        ),
        (
            "too many",
            policy(&json!({"notifications": nine})),
            "spec.notifications: Too many: 9: must have at most 8 items",
        ),
        (
            "nothing to tell",
            told(json!({"stages": []})),
            "spec.notifications[0].stages in body should have at least 1 items",
        ),
        (
            "told twice",
            told(json!({"stages": ["Drained", "Drained"]})),
            r#"spec.notifications[0].stages[1]: Duplicate value: "Drained""#,
        ),
        (
            "no such stage",
            told(json!({"stages": ["Dreamt"]})),
            r#"Unsupported value: "Dreamt""#,
        ),
        (
            "no value",
            header(json!({"name": "X-Team"})),
            "headers: exactly one of value, valueFrom must be set",
        ),
        (
            "a header of the request's own",
            header(json!({"name": "CONTENT-Length", "value": "1"})),
            own,
        ),
        (
            "no header's name",
            header(json!({"name": "X Team", "value": "web"})),
            own,
        ),
        (
            "two lines in a header",
            header(json!({"name": "X-Team", "value": "web\nX-Other: 1"})),
            "headers[0].value in body should match",
        ),
        (
            "a variable that no template can name",
            told(json!({"variables": [{"name": "a-b", "value": "c"}]})),
            "variables[0].name in body should match",
        ),
        (
            "too much patience",
            told(json!({"timeoutSeconds": 31})),
            "timeoutSeconds in body should be less than or equal to 30",
        ),
    ];
    for (what, object, message) in refused {
        assert_refused(what, &object, message).await;
    }
    let stored = create::<TerminationPolicy>(&told(json!({}))).await.unwrap();
    let stages = [
        "Received",
        "Blocked",
        "Drained",
        "Completed",
        "Canceled",
        "Failed",
    ];
    let defaults = json!([{"name": "chat", "url": "https://example.com/hook", "stages": stages, "timeoutSeconds": 10}]);
    assert_eq!(stored["spec"]["notifications"], defaults);
}
