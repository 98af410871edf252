//! What kubectl says: of the definitions, of their fields, and of each object.

use kube::api::PostParams;
use node_termination_operator::api::policy::TerminationPolicy;
use serde_json::{Value, json};
use testbed::ControlPlane;

use super::{api_of, create, policy, set_status, store};
use crate::bare::bare;

#[tokio::test]
async fn kubectl_applies_the_definitions_and_the_example_without_a_warning() {
    let control_plane = bare().await;
    for kind in ["terminationpolicies", "nodeterminations"] {
        // A copy under another group: what exists is not warned of again.
        let text = std::fs::read_to_string(repository(&format!("crds/{kind}.yaml"))).unwrap();
        let copy = text.replace("nodetermination.dev", "copy.example.com");
        let file = control_plane.folder().join(format!("{kind}.yaml"));
        std::fs::write(&file, &copy).unwrap();
        try_apply(control_plane, file.to_str().unwrap())
            .await
            .unwrap();
        std::fs::write(&file, copy.replace("format: int32", "format: uint32")).unwrap();
        let warned = try_apply(control_plane, file.to_str().unwrap()).await;
        assert!(
            warned.unwrap_err().to_string().contains("uint32"),
            "a warning would have been seen"
        );
    }
    try_apply(control_plane, &repository("manifests/examples/policy.yaml"))
        .await
        .unwrap();
}

#[tokio::test]
async fn kubectl_explains_what_the_fields_mean() {
    let control_plane = bare().await;
    for (field, sentence) in [
        ("tp", "TerminationPolicy declares which nodes are protected"),
        ("tp.spec.drain", "How a node's pods are moved away."),
        (
            "tp.spec.drain.timeoutSeconds",
            "How long a drain may take when the event carries no deadline of its own",
        ),
        (
            "tp.spec.sources.sqs.queueURL",
            "The queue's URL, as `aws sqs get-queue-url` prints it.",
        ),
        ("nt", "NodeTermination is one incident of one EC2 instance"),
        ("nt.spec.hold", "Freeze at the next safe point"),
        (
            "nt.status.blocked",
            "The pods that can not leave yet, and why",
        ),
    ] {
        let text = control_plane.kubectl(&["explain", field]).await.unwrap();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(sentence), "{field}: {text}");
    }
}

#[tokio::test]
async fn kubectl_get_shows_how_each_object_is_doing() {
    let control_plane = bare().await;
    let instance = "i-0123456789abcdef3";
    let api = store(instance, 1).await;
    let status = json!({
        "phase": "Draining",
        "outcome": "Drained",
        "reason": "SpotInterruption",
        "deadline": "2199-01-01T00:00:00Z",
        "pods": {"summary": "12/19", "total": 19, "evicted": 3, "forced": 0, "gone": 12, "blocked": 4, "stuck": 0, "skipped": 2},
        "policy": effective("workers").await,
    });
    set_status(&api, instance, &status).await;
    let shown = table(control_plane, &["get", "nt", instance, "-o", "wide"]).await;
    let columns = "NAME NODE REASON PHASE PODS BLOCKED DEADLINE AGE POLICY INSTANCE OUTCOME";
    assert_eq!(shown[0].join(" "), columns);
    let row = [
        instance,
        "node",
        "SpotInterruption",
        "Draining",
        "12/19",
        "4",
        "2199-01-01T00:00:00Z",
    ];
    assert_eq!(shown[1][..7], row);
    assert_eq!(shown[1][8..], ["workers", instance, "Drained"]);
    let shown = table(control_plane, &["get", "nt", instance]).await;
    assert_eq!(
        shown[0].join(" "),
        &columns[..columns.find(" POLICY").unwrap()]
    );

    let policies = api_of::<TerminationPolicy>(control_plane).await;
    let mut object = policy(&json!({}));
    object["metadata"]["name"] = json!("shown");
    let object = serde_json::from_value(object).unwrap();
    let post = PostParams::default();
    policies.create(&post, &object).await.unwrap();
    let condition = json!({"type": "Ready", "status": "True", "reason": "Polling", "message": "", "lastTransitionTime": "2026-03-18T08:20:00Z"});
    let status = json!({"conditions": [condition], "readySources": "1/1", "matchedNodes": 7, "openTerminations": 3});
    set_status(&policies, "shown", &status).await;
    let shown = table(control_plane, &["get", "tp", "shown"]).await;
    assert_eq!(shown[0].join(" "), "NAME READY SOURCES NODES OPEN AGE");
    assert_eq!(shown[1][..5], ["shown", "True", "1/1", "7", "3"]);
}

#[tokio::test]
async fn incidents_are_found_by_node_instance_and_phase() {
    let control_plane = bare().await;
    let instance = "i-0123456789abcdef4";
    let api = store(instance, 1).await;
    set_status(&api, instance, &json!({"phase": "Waiting"})).await;
    for (selector, found) in [
        (
            format!("spec.nodeName=node,spec.instanceID={instance}"),
            true,
        ),
        (
            format!("spec.instanceID={instance},status.phase=Waiting"),
            true,
        ),
        (
            format!("spec.instanceID={instance},status.phase=Draining"),
            false,
        ),
        (
            format!("spec.instanceID={instance},spec.nodeName=other"),
            false,
        ),
    ] {
        let arguments = ["get", "nt", "-o", "name", "--field-selector", &selector];
        let shown = control_plane.kubectl(&arguments).await.unwrap();
        assert_eq!(shown.contains(instance), found, "{selector}: {shown}");
    }
}

/// The settings that a policy of that name leaves on an incident.
async fn effective(name: &str) -> Value {
    let mut stored = create::<TerminationPolicy>(&policy(&json!({})))
        .await
        .unwrap();
    stored["metadata"] = json!({"name": name, "generation": 1});
    let policy: TerminationPolicy = serde_json::from_value(stored).unwrap();
    serde_json::to_value(policy.effective()).unwrap()
}

fn repository(file: &str) -> String {
    format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))
}

async fn try_apply(control_plane: &ControlPlane, file: &str) -> anyhow::Result<String> {
    let apply = [
        "apply",
        "--warnings-as-errors",
        "--dry-run=server",
        "-f",
        file,
    ];
    control_plane.kubectl(&apply).await
}

/// The words of each line.
async fn table(control_plane: &ControlPlane, arguments: &[&str]) -> Vec<Vec<String>> {
    let text = control_plane.kubectl(arguments).await.unwrap();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    text.lines().map(words).collect()
}
