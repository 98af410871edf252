//! Nothing that somebody applied is changed by us: what Git holds and what the cluster holds stay alike, whatever happens.

use std::path::{Path, PathBuf};

use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt};
use node_termination_operator::api::termination::Phase;
use serde::Deserialize;
use serde_json::{Value, json};
use testbed::cluster::{PodOptions, delete_node};

use crate::scene::Corner;

/// The managers of our own writes begin so.
const OURS: &str = "node-termination-operator";
/// How Flux and Argo CD with `ServerSideApply=true` do it, and how Argo CD without it and people do.
const WAYS: [&[&str]; 2] = [
    &[
        "--server-side",
        "--force-conflicts",
        "--field-manager=gitops",
    ],
    &[],
];

/// Objects that are kept in a file, as in Git.
struct Kept<'a> {
    corner: &'a Corner,
    file: PathBuf,
    way: &'a [&'a str],
}

impl<'a> Kept<'a> {
    fn new(corner: &'a Corner, name: &str, objects: &[Value], way: &'a [&'a str]) -> Self {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let folder = corner.world.control_plane.folder();
        let file = folder.join(format!("{}-{name}.json", corner.name));
        std::fs::write(&file, list.to_string()).unwrap();
        Self { corner, file, way }
    }

    async fn kubectl(&self, verb: &str) -> String {
        let mut arguments = vec![verb, "-f", self.file.to_str().unwrap()];
        arguments.extend(self.way);
        let said = self.corner.world.control_plane.kubectl(&arguments).await;
        said.unwrap_or_else(|error| panic!("{verb}: {error:#}"))
    }

    async fn apply(&self) {
        self.kubectl("apply").await;
    }

    /// `kubectl diff` ends with 1 if anything differs.
    async fn assert_same(&self) {
        assert_eq!(self.kubectl("diff").await, "");
    }
}

/// What we own in an object, as paths of fields.
async fn owned(corner: &Corner, object: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let api_version = text(&object["apiVersion"]);
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let kind = GroupVersionKind::gvk(group, version, &text(&object["kind"]));
    let kind = kube::discovery::pinned_kind(&corner.client, &kind);
    let resource: ApiResource = kind.await.unwrap().0;
    let name = text(&object["metadata"]["name"]);
    let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(corner.client.clone(), namespace, &resource),
        None => Api::all_with(corner.client.clone(), &resource),
    };
    let stored = api.get(&name).await.unwrap();
    let managed = stored.managed_fields().iter();
    let ours = managed.filter(|m| m.manager.as_deref().is_some_and(|m| m.starts_with(OURS)));
    let mut fields = Vec::new();
    for entry in ours {
        let Value::Object(top) = &entry.fields_v1.as_ref().unwrap().0 else {
            panic!("fields are an object")
        };
        for (field, below) in top {
            match below.as_object().filter(|_| field == "f:metadata") {
                Some(below) => fields.extend(below.keys().map(|k| format!("{field}.{k}"))),
                None => fields.push(field.clone()),
            }
        }
    }
    fields.sort();
    fields.dedup();
    fields
}

/// A policy that says something of everything, and a NodeTermination for a node of the corner.
fn objects(corner: &Corner) -> [Value; 2] {
    let settings = json!({
        "priority": 3,
        "actions": {"rebalanceRecommendation": "Cordon"},
        "cordon": {"excludeFromLoadBalancers": true},
        "drain": {"timeoutSeconds": 300, "skipPodSelector": {"matchLabels": {"skip": "me"}}},
        "lifecycle": {"heartbeat": {"intervalSeconds": 60}},
        "limits": {"maxConcurrent": "50%"},
    });
    let policy = serde_json::to_value(corner.policy(&settings)).unwrap();
    // As a person writes it, without what the types add.
    let mut spec = policy["spec"].clone();
    for (field, value) in settings.as_object().unwrap() {
        spec[field] = value.clone();
    }
    for field in [
        "mode",
        "maintenance",
        "ttlSecondsAfterFinished",
        "historyLimit",
    ] {
        spec.as_object_mut().unwrap().remove(field);
    }
    let name = &corner.nodes[1].name;
    let object = |kind: &str, name: &str, spec: Value| {
        json!({
            "apiVersion": "nodetermination.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        })
    };
    [
        object("TerminationPolicy", &corner.name, spec),
        object("NodeTermination", name, json!({"nodeName": name})),
    ]
}

/// One incident from the notice to the end, and one that a person asked for.
async fn live_through_it(corner: &Corner) {
    let [first, second] = &corner.nodes[..] else {
        panic!("two nodes")
    };
    corner.await_polling().await;
    let pods = corner.make_pods(first, 2, PodOptions::default()).await;
    corner.interrupt(first);
    corner.await_gone(&pods).await;
    let name = &first.instance_id;
    corner.await_phase(name, Phase::Released).await;
    delete_node(&corner.client, &first.name).await.unwrap();
    corner.await_phase(name, Phase::Completed).await;
    corner.await_phase(&second.name, Phase::Released).await;
}

#[tokio::test]
async fn a_policy_and_an_incident_that_were_applied_are_as_they_were_after_all_that_happened() {
    for way in WAYS {
        let corner = Corner::without_policy("drift", 2).await;
        let objects = objects(&corner);
        let kept = Kept::new(&corner, "kept", &objects, way);
        kept.apply().await;
        live_through_it(&corner).await;
        kept.assert_same().await;
        let [policy, incident] = &objects;
        assert_eq!(owned(&corner, policy).await, ["f:status"], "{way:?}");
        let ours = ["f:metadata.f:finalizers", "f:status"];
        assert_eq!(owned(&corner, incident).await, ours, "{way:?}");
        // Another generation would be another spec.
        let name = &corner.nodes[1].name;
        let incident = corner.incident(name).await.unwrap();
        assert_eq!(incident.metadata.generation, Some(1), "{way:?}");
        kept.apply().await;
        let again = corner.incident(name).await.unwrap();
        assert_eq!(again.metadata.generation, Some(1), "{way:?}");
    }
}

/// What `manifests/base` installs, without what would be scheduled to the nodes of other tests.
async fn manifests(corner: &Corner) -> Vec<Value> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/base");
    let kustomize = ["kustomize", base.to_str().unwrap()];
    let built = corner.world.control_plane.kubectl(&kustomize).await;
    let built = built.unwrap();
    let objects = serde_yaml::Deserializer::from_str(&built);
    let objects = objects.map(|document| Value::deserialize(document).unwrap());
    objects.filter(|o| o["kind"] != "Deployment").collect()
}

#[tokio::test]
async fn the_crds_and_the_manifests_are_as_they_were_after_all_that_happened() {
    let corner = Corner::without_policy("drift-base", 2).await;
    let manifests = manifests(&corner).await;
    assert!(
        manifests
            .iter()
            .any(|o| o["kind"] == "CustomResourceDefinition")
    );
    let kept = Kept::new(&corner, "base", &manifests, WAYS[0]);
    kept.apply().await;
    Kept::new(&corner, "kept", &objects(&corner), WAYS[0])
        .apply()
        .await;
    live_through_it(&corner).await;
    kept.assert_same().await;
    for object in &manifests {
        let nothing: [&str; 0] = [];
        assert_eq!(owned(&corner, object).await, nothing, "{object}");
    }
}
