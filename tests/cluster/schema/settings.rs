//! How a policy acts: which settings are refused, and what is just accepted.

use node_termination_operator::api::policy::TerminationPolicy;
use serde_json::{Value, json};

use super::{ROLE, assert_refused, at, create, policy, queue, sources};

#[tokio::test]
async fn a_setting_that_can_not_work_is_refused_with_the_reason() {
    let interval = "heartbeat: intervalSeconds must be from 30 to 3600";
    let until = "heartbeat: untilSeconds must be from 60 to 172800";
    let limits =
        "limits: maxConcurrent must be a number from 1 to 100000, or a share from 1% to 100%";
    let limit = |most: &Value| policy(&json!({"limits": {"maxConcurrent": most}}));
    let empty = "skipPodSelector: an empty selector would leave every pod on the node";
    let refused = [
        ("beats too often", heartbeat(29, 60), interval),
        ("beats too seldom", heartbeat(3601, 7200), interval),
        ("ends at once", heartbeat(30, 59), until),
        ("never ends", heartbeat(30, 172_801), until),
        (
            "ends before the first beat",
            heartbeat(61, 60),
            "heartbeat: intervalSeconds must not be greater than untilSeconds",
        ),
        ("no room", limit(&json!(0)), limits),
        (
            "more than anybody has",
            limit(&json!(3_000_000_000_i64)),
            limits,
        ),
        ("no share", limit(&json!("0%")), limits),
        ("more than all", limit(&json!("101%")), limits),
        ("no number", limit(&json!("all")), limits),
        (
            "nothing to keep alive",
            policy(
                &json!({"sources": [{"name": "metadata", "imds": {}}], "lifecycle": {"heartbeat": {"intervalSeconds": 60}}}),
            ),
            "heartbeat: lifecycle.heartbeat needs an sqs source",
        ),
        (
            "NoExecute",
            taint("NoExecute"),
            "taint: NoExecute is refused: it deletes pods at once, past disruption budgets, order and grace",
        ),
        (
            "no such effect",
            taint("Never"),
            "taint: effect must be NoSchedule or PreferNoSchedule",
        ),
        (
            "every pod skipped",
            drain(&json!({"skipPodSelector": {}})),
            empty,
        ),
        (
            "every pod skipped, in other words",
            drain(&json!({"skipPodSelector": {"matchLabels": {}, "matchExpressions": []}})),
            empty,
        ),
        (
            "an operator that nobody can read",
            drain(
                &json!({"skipPodSelector": {"matchExpressions": [{"key": "a", "operator": "in", "values": ["b"]}]}}),
            ),
            r#"operator: Unsupported value: "in": supported values: "In", "NotIn", "Exists", "DoesNotExist""#,
        ),
        (
            "values that are missing",
            policy(
                &json!({"nodeSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
            ),
            "selector: In and NotIn need values, Exists and DoesNotExist take none",
        ),
        (
            "a mode that is none",
            policy(&json!({"mode": "Dream"})),
            r#"spec.mode: Unsupported value: "Dream": supported values: "Enforce", "Observe""#,
        ),
    ];
    for (what, object, message) in refused {
        assert_refused(what, &object, message).await;
    }
}

#[tokio::test]
async fn a_policy_at_the_edge_of_each_rule_is_accepted() {
    let names: Vec<String> = (0..16).map(|n| format!("events-{n}")).collect();
    let sixteen: Vec<Value> = names.iter().map(|n| queue(n, &json!({}))).collect();
    let metadata = json!({"name": "metadata", "imds": {}});
    let accepted = [
        ("the shortest heartbeat", heartbeat(30, 60)),
        ("the longest heartbeat", heartbeat(3600, 172_800)),
        ("one beat", heartbeat(60, 60)),
        ("metadata alone", sources(std::slice::from_ref(&metadata))),
        (
            "metadata beside a queue",
            policy(
                &json!({"sources": [queue("events", &json!({})), metadata], "lifecycle": {"heartbeat": {"intervalSeconds": 60}}}),
            ),
        ),
        ("NoSchedule", taint("NoSchedule")),
        ("PreferNoSchedule", taint("PreferNoSchedule")),
        (
            "a FIFO queue",
            at("https://sqs.eu-west-1.amazonaws.com/123456789012/node-events.fifo"),
        ),
        (
            "a role",
            sources(&[queue("events", &json!({"roleARN": ROLE}))]),
        ),
        (
            "a role with an ID",
            sources(&[queue(
                "events",
                &json!({"roleARN": ROLE, "externalID": "secret"}),
            )]),
        ),
        (
            "labels to skip",
            drain(&json!({"skipPodSelector": {"matchLabels": {"a": "b"}}})),
        ),
        (
            "an expression to skip",
            drain(
                &json!({"skipPodSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}),
            ),
        ),
        ("sixteen sources", sources(&sixteen)),
    ];
    for (what, object) in accepted {
        create::<TerminationPolicy>(&object)
            .await
            .unwrap_or_else(|said| panic!("{what}: {said}"));
    }
}

fn heartbeat(interval: u32, until: u32) -> Value {
    let heartbeat = json!({"intervalSeconds": interval, "untilSeconds": until});
    policy(&json!({"lifecycle": {"heartbeat": heartbeat}}))
}

fn taint(effect: &str) -> Value {
    policy(&json!({"cordon": {"taint": {"effect": effect}}}))
}

fn drain(drain: &Value) -> Value {
    policy(&json!({ "drain": drain }))
}
