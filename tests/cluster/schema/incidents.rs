//! Incidents: which are refused, and which edits.

use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use node_termination_operator::api::termination::NodeTermination;
use serde_json::{Value, json};

use super::{create, incident, set_status, store, words};
use crate::bare::spots;

#[tokio::test]
async fn an_incident_that_says_too_much_or_too_little_is_refused_with_the_reason() {
    let instance = "i-0123456789abcdef0";
    let many = incident(instance, &json!({"signals": spots(instance, 33)}));
    let mut none = incident(instance, &json!({}));
    none["spec"].as_object_mut().unwrap().remove("nodeUID");
    let twice = [spots(instance, 1), spots(instance, 1)].concat();
    let id = json!({"signals": [{"id": "spot", "kind": "SpotInterruption", "noticeTime": "2026-03-18T08:20:00Z"}]});
    let refused = [
        (
            "33 signals",
            many,
            "spec.signals: Too many: 33: must have at most 32 items",
        ),
        (
            "signals without a machine",
            none,
            "identity: a NodeTermination with signals names nodeUID and instanceID",
        ),
        (
            "one signal twice",
            incident(instance, &json!({"signals": twice})),
            "spec.signals[1]: Duplicate value",
        ),
        (
            "an ID of another form",
            incident(instance, &id),
            "spec.signals[0].id in body should match",
        ),
        (
            "no instance",
            incident("mi-0123456789", &json!({})),
            "spec.instanceID in body should match",
        ),
        (
            "no node",
            incident(instance, &json!({"nodeName": ""})),
            "spec.nodeName in body should be at least 1 chars long",
        ),
    ];
    for (what, object, message) in refused {
        let said = create::<NodeTermination>(&object).await.expect_err(what);
        assert!(said.contains(message), "{what}: {said}");
    }
    let most = incident(instance, &json!({"signals": spots(instance, 32)}));
    create::<NodeTermination>(&most).await.unwrap();
    let mut by_hand = incident("by-hand", &json!({}));
    by_hand["spec"] = json!({"nodeName": "node"});
    let stored = create::<NodeTermination>(&by_hand).await.unwrap();
    let spec = json!({"nodeName": "node", "hold": false, "cancel": false, "signals": []});
    assert_eq!(stored["spec"], spec);
}

#[tokio::test]
async fn an_incident_keeps_its_identity_and_its_signals_whatever_is_edited() {
    let instance = "i-0123456789abcdef1";
    let api = store(instance, 2).await;
    let identity = "identity: nodeName, nodeUID and instanceID can not be changed";
    let signals = "signals: a signal is never changed or removed";
    let two = json!(spots(instance, 2));
    let edited = |index: usize, key: &str, value: Value| {
        let mut two = two.clone();
        two[index][key] = value;
        json!({ "signals": two })
    };
    let refused = [
        ("nodeName", json!({"nodeName": "other"}), identity),
        ("nodeUID", json!({"nodeUID": "other"}), identity),
        (
            "instanceID",
            json!({"instanceID": "i-0123456789abcdeff"}),
            identity,
        ),
        (
            "a signal's time",
            edited(0, "noticeTime", json!("2026-03-18T08:20:00Z")),
            signals,
        ),
        (
            "a signal's deadline",
            edited(1, "deadline", Value::Null),
            signals,
        ),
        (
            "a signal's action",
            edited(0, "instanceAction", json!("stop")),
            signals,
        ),
        (
            "a signal's kind",
            edited(0, "kind", json!("AutoScalingTermination")),
            signals,
        ),
        (
            "a signal's ID",
            edited(1, "id", json!("SpotInterruption-0000000000000000")),
            signals,
        ),
        ("a signal removed", json!({"signals": [two[1]]}), signals),
        ("all signals removed", json!({"signals": null}), signals),
        (
            "33 signals",
            json!({"signals": spots(instance, 33)}),
            "spec.signals: Too many: 33: must have at most 32 items",
        ),
    ];
    for (what, spec, message) in refused {
        let said = edit(&api, instance, &spec).await.expect_err(what);
        assert!(said.contains(message), "{what}: {said}");
    }
    let accepted = [
        ("hold", json!({"hold": true})),
        ("another order", json!({"signals": [two[1], two[0]]})),
        ("a third signal", json!({"signals": spots(instance, 3)})),
        ("cancel", json!({"cancel": true})),
    ];
    for (what, spec) in accepted {
        edit(&api, instance, &spec)
            .await
            .unwrap_or_else(|said| panic!("{what}: {said}"));
    }
    let back = json!({"cancel": false});
    let said = edit(&api, instance, &back).await.expect_err("taken back");
    assert!(said.contains("cancel: it can not be taken back"), "{said}");
}

#[tokio::test]
async fn nothing_is_added_to_an_incident_that_is_over_and_it_can_still_be_edited() {
    let instance = "i-0123456789abcdef2";
    let api = store(instance, 1).await;
    let three = json!({"signals": spots(instance, 3)});
    let other = json!({"signals": [spots(instance, 2)[1]]});
    let open = ["Pending", "Waiting", "Draining", "Releasing", "Released"];
    for (added, phase) in (2..).zip(open) {
        set_status(&api, instance, &json!({"phase": phase})).await;
        edit(&api, instance, &json!({"signals": spots(instance, added)}))
            .await
            .unwrap_or_else(|said| panic!("{phase}: {said}"));
    }
    let seven = json!({"signals": spots(instance, 7)});
    for phase in ["Completed", "Canceled", "Failed"] {
        set_status(&api, instance, &json!({"phase": phase})).await;
        let said = edit(&api, instance, &seven).await.expect_err(phase);
        let message = "finished: no signal can be added to a NodeTermination that is Completed, Canceled or Failed";
        assert!(said.contains(message), "{phase}: {said}");
        for spec in [&three, &other] {
            let said = edit(&api, instance, spec).await.expect_err(phase);
            let message = "signals: a signal is never changed or removed";
            assert!(said.contains(message), "{phase}: {said}");
        }
        for spec in [
            json!({"hold": true}),
            json!({"hold": false, "cancel": true}),
        ] {
            edit(&api, instance, &spec).await.unwrap();
        }
        let note = json!({"metadata": {"annotations": {"post-mortem": phase}}});
        patch(&api, instance, &note).await.unwrap();
    }
}

async fn edit(api: &Api<DynamicObject>, name: &str, spec: &Value) -> Result<(), String> {
    patch(api, name, &json!({ "spec": spec })).await
}

async fn patch(api: &Api<DynamicObject>, name: &str, body: &Value) -> Result<(), String> {
    let patched = api
        .patch(name, &PatchParams::default(), &Patch::Merge(body))
        .await;
    patched.map(drop).map_err(words)
}
