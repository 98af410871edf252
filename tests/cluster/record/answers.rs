//! What one request writes, and how each answer of the API server is read.

use jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use node_termination_operator::api::termination::{NodeTermination, Signal};
use node_termination_operator::cluster::record::Answer;
use node_termination_operator::event::identity::field_manager;
use serde_json::json;

use super::{KEPT, apply, identity, object, requests};
use crate::bare::{bare, spot, spots};

#[tokio::test]
async fn each_signal_is_one_request_under_a_field_manager_of_its_own() {
    let control_plane = bare().await;
    let client = control_plane.client().await.unwrap();
    let identity = identity("i-00000000000000002");
    let name = &identity.instance_id;
    let signals = spots(name, 2);
    let api = Api::<NodeTermination>::all(client.clone());
    let mut versions = Vec::new();
    for signal in [&signals[0], &signals[1], &signals[0]] {
        let answer = apply(&client, name, &identity, signal).await;
        assert!(matches!(answer, Answer::Recorded(_)), "{answer:?}");
        let metadata = api.get_metadata(name).await.unwrap();
        versions.push(metadata.resource_version());
    }
    assert!(
        versions[0] != versions[1] && versions[1] == versions[2],
        "{versions:?}"
    );
    let stored = api.get(name).await.unwrap();
    assert_eq!(stored.spec.signals, signals);
    for (managed, signal) in stored.managed_fields().iter().zip(&signals) {
        assert_eq!(managed.manager, Some(field_manager(&signal.id)));
        assert_eq!(managed.operation.as_deref(), Some("Apply"));
        let fields = serde_json::to_string(&managed.fields_v1).unwrap();
        let owned = |s: &Signal| fields.contains(&s.id);
        assert_eq!(
            signals.iter().filter(|s| owned(s)).collect::<Vec<_>>(),
            [signal]
        );
    }
    assert_eq!(stored.managed_fields().len(), 2);
    let asked = requests(control_plane, name).await;
    let patches = asked.iter().filter(|(_, verb)| verb == "patch").count();
    assert_eq!(patches, 3, "{asked:?}");
    assert!(
        asked
            .iter()
            .all(|(_, verb)| verb == "patch" || verb == "get")
    );
}

/// An object that is full, or that holds the signal with another role, hides from the API server's answer what else
/// is the matter with it.
#[tokio::test]
async fn an_answer_tells_what_the_object_is_whatever_else_is_the_matter_with_it() {
    let client = bare().await.client().await.unwrap();
    let api = Api::<NodeTermination>::all(client.clone());
    let free = json!({});
    let over = json!({"status": {"phase": "Failed"}});
    let kept = json!({"metadata": {"finalizers": [KEPT]}});
    for (number, (signals, state, deleted, uid, answered)) in [
        (1, &free, false, "uid", "Recorded"),
        (1, &free, false, "other", "OtherIdentity"),
        (1, &over, false, "uid", "Finished"),
        (1, &over, false, "other", "OtherIdentity"),
        (1, &kept, true, "uid", "Dying"),
        (32, &free, false, "uid", "Full"),
        (32, &free, false, "other", "OtherIdentity"),
        (32, &over, false, "uid", "Finished"),
        (32, &over, false, "other", "OtherIdentity"),
        (32, &kept, true, "uid", "Dying"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut identity = identity(&format!("i-1000000000000000{number}"));
        let name = identity.instance_id.clone();
        let stored = object(&identity, &spots(&name, signals));
        api.create(&PostParams::default(), &stored).await.unwrap();
        let (params, patch) = (PatchParams::default(), Patch::Merge(state));
        api.patch(&name, &params, &patch).await.unwrap();
        api.patch_status(&name, &params, &patch).await.unwrap();
        if deleted {
            api.delete(&name, &DeleteParams::default()).await.unwrap();
        }
        identity.node_uid = uid.to_owned();
        let answer = apply(&client, &name, &identity, &spot(&name, Timestamp::now())).await;
        let answer = format!("{answer:?}");
        assert!(
            answer.starts_with(answered),
            "{signals} {state} {uid}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_signal_that_is_there_with_another_role_is_recorded_unless_the_object_is_dying() {
    let client = bare().await.client().await.unwrap();
    let api = Api::<NodeTermination>::all(client.clone());
    let identity = identity("i-00000000000000003");
    let name = &identity.instance_id;
    let mut signal = spots(name, 1).remove(0);
    signal.lifecycle_hook = Some(serde_json::from_value(json!({
        "autoScalingGroupName": "group", "hookName": "hook", "actionToken": "token", "transition": "", "region": "eu-west-1",
    })).unwrap());
    apply(&client, name, &identity, &signal).await;
    let first = api.get(name).await.unwrap();
    let role = Some("arn:aws:iam::123456789012:role/nodes".to_owned());
    signal.lifecycle_hook.as_mut().unwrap().role_arn = role;
    let answer = apply(&client, name, &identity, &signal).await;
    assert!(matches!(answer, Answer::Recorded(_)), "{answer:?}");
    assert_eq!(api.get(name).await.unwrap().spec, first.spec);
    let kept = Patch::Merge(json!({"metadata": {"finalizers": [KEPT]}}));
    api.patch(name, &PatchParams::default(), &kept)
        .await
        .unwrap();
    api.delete(name, &DeleteParams::default()).await.unwrap();
    let answer = apply(&client, name, &identity, &signal).await;
    assert!(matches!(answer, Answer::Dying), "{answer:?}");
}

#[tokio::test]
async fn a_signal_that_breaks_the_schema_is_said_to_be_invalid_and_why() {
    let client = bare().await.client().await.unwrap();
    let identity = identity("i-00000000000000004");
    let mut signal = spots(&identity.instance_id, 1).remove(0);
    signal.id = "Spot".to_owned();
    match apply(&client, &identity.instance_id, &identity, &signal).await {
        Answer::Invalid(why) => assert!(why.contains("spec.signals[0].id"), "{why}"),
        other => panic!("{other:?}"),
    }
}
