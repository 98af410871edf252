//! What the API server refuses and what it says then, what it accepts, and what kubectl shows.

mod defaults;
mod incidents;
mod kubectl;
mod notifications;
mod settings;
mod sources;

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use node_termination_operator::api::policy::TerminationPolicy;
use node_termination_operator::api::termination::NodeTermination;
use serde_json::{Value, json};
use testbed::ControlPlane;

use crate::bare::{bare, spots};

const URL: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/node-events";
const ROLE: &str = "arn:aws:iam::123456789012:role/nodes";

/// A policy with one queue, and with these settings.
fn policy(settings: &Value) -> Value {
    let mut spec = json!({"sources": [queue("events", &json!({}))]});
    extend(&mut spec, settings);
    json!({
        "apiVersion": "nodetermination.dev/v1alpha1",
        "kind": "TerminationPolicy",
        "metadata": {"name": "policy"},
        "spec": spec,
    })
}

/// An incident of one signal, and with these settings.
fn incident(instance_id: &str, settings: &Value) -> Value {
    let mut spec = json!({
        "nodeName": "node",
        "nodeUID": "uid",
        "instanceID": instance_id,
        "signals": spots(instance_id, 1),
    });
    extend(&mut spec, settings);
    json!({
        "apiVersion": "nodetermination.dev/v1alpha1",
        "kind": "NodeTermination",
        "metadata": {"name": instance_id},
        "spec": spec,
    })
}

fn extend(object: &mut Value, settings: &Value) {
    let settings = settings.as_object().unwrap().clone();
    object.as_object_mut().unwrap().extend(settings);
}

fn queue(name: &str, settings: &Value) -> Value {
    queue_at(name, URL, settings)
}

fn queue_at(name: &str, url: &str, settings: &Value) -> Value {
    let mut sqs = json!({ "queueURL": url });
    extend(&mut sqs, settings);
    json!({ "name": name, "sqs": sqs })
}

fn sources(sources: &[Value]) -> Value {
    policy(&json!({ "sources": sources }))
}

fn at(url: &str) -> Value {
    sources(&[queue_at("events", url, &json!({}))])
}

async fn api_of<K: Resource<DynamicType = ()>>(control_plane: &ControlPlane) -> Api<DynamicObject> {
    let client = control_plane.client().await.unwrap();
    Api::all_with(client, &ApiResource::erase::<K>(&()))
}

/// What would be stored, or what the user would read.
async fn create<K: Resource<DynamicType = ()>>(object: &Value) -> Result<Value, String> {
    let api = api_of::<K>(bare().await).await;
    let object = serde_json::from_value(object.clone()).unwrap();
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    match api.create(&dry_run, &object).await {
        Ok(stored) => Ok(serde_json::to_value(stored).unwrap()),
        Err(error) => Err(words(error)),
    }
}

async fn assert_refused(what: &str, policy: &Value, message: &str) {
    let said = create::<TerminationPolicy>(policy).await.expect_err(what);
    assert!(said.contains(message), "{what}: {said}");
}

/// Stores an incident with so many signals.
async fn store(instance_id: &str, signals: i64) -> Api<DynamicObject> {
    let api = api_of::<NodeTermination>(bare().await).await;
    let object = incident(
        instance_id,
        &json!({"signals": spots(instance_id, signals)}),
    );
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
    api
}

async fn set_status(api: &Api<DynamicObject>, name: &str, status: &Value) {
    let body = json!({ "status": status });
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(&body))
        .await
        .unwrap();
}

fn words(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message,
        other => panic!("no answer of the API server: {other}"),
    }
}
