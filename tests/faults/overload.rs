//! The API server has no room for our evictions, and says so.

use k8s_openapi::api::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use kube::Api;
use kube::api::PostParams;
use node_termination_operator::api::termination::{Outcome, Phase};
use serde_json::json;
use testbed::cluster::{PodOptions, await_object};
use testbed::operator::USER;

use crate::stage::Stage;

/// Lets the API server serve one eviction at a time and turn the others away.
async fn starve_evictions(stage: &Stage) {
    let level: PriorityLevelConfiguration = serde_json::from_value(json!({
        "metadata": {"name": "starved"},
        "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0,
            "limitResponse": {"type": "Reject"},
        }},
    }))
    .unwrap();
    let schema: FlowSchema = serde_json::from_value(json!({
        "metadata": {"name": "starved"},
        "spec": {
            "matchingPrecedence": 1,
            "priorityLevelConfiguration": {"name": "starved"},
            "rules": [{
                "subjects": [{"kind": "User", "user": {"name": USER}}],
                "resourceRules": [{
                    "verbs": ["create"], "apiGroups": [""], "resources": ["pods/eviction"],
                    "namespaces": [stage.namespace],
                }],
            }],
        },
    }))
    .unwrap();
    let post = PostParams::default();
    let levels = Api::<PriorityLevelConfiguration>::all(stage.client.clone());
    levels.create(&post, &level).await.unwrap();
    let schemas = Api::<FlowSchema>::all(stage.client.clone());
    schemas.create(&post, &schema).await.unwrap();
    let in_force = |s: Option<&FlowSchema>| {
        let status = s.and_then(|s| s.status.as_ref());
        let conditions = status.and_then(|s| s.conditions.as_ref());
        conditions.is_some_and(|c| {
            c.iter().any(|c| {
                c.status.as_deref() == Some("False") && c.type_.as_deref() == Some("Dangling")
            })
        })
    };
    let taken = await_object(schemas, "starved", in_force);
    stage.within("the flow schema is in force", taken).await;
}

#[tokio::test]
async fn an_overloaded_api_server_halves_the_evictions_in_flight_and_the_drain_still_ends() {
    let stage = Stage::new(json!({})).await;
    let node = &stage.nodes[0];
    let pods = stage.pods(node, 12, &PodOptions::default()).await;
    starve_evictions(&stage).await;
    stage.interrupt(node);
    stage.await_gone(&pods).await;
    let drained = stage.await_phase(node, Phase::Released).await;
    assert_eq!(drained.outcome, Some(Outcome::Drained));
    assert_eq!(drained.pods.unwrap().forced, 0);
    let evictions = "node_termination_operator_evictions_total";
    let overloaded = ["answer=\"Overloaded\""];
    let turned_away = stage.first.metric(evictions, &overloaded).await.unwrap();
    let slots = "node_termination_operator_eviction_slots";
    let slots = stage.first.metric(slots, &[]).await.unwrap();
    println!("{turned_away} were turned away, {slots} slots at the end");
    assert!(turned_away >= 1.0 && slots <= 16.0);
    for pod in &pods {
        let name = pod.metadata.name.as_deref().unwrap();
        assert_eq!(stage.evictions(name), 1, "{name}");
    }
}
