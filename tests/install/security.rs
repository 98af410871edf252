//! The namespace holds its pods to Pod Security `restricted`: with less than their manifests say they are refused.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testbed::operator;

use crate::site::{Site, within};

/// What `restricted` asks for and the pods' manifests say, beside what forbids it. A change that stands here and is let
/// through would be a line of the manifests that nobody needs.
fn weakened(pod: &Value) -> Vec<(&'static str, Value)> {
    let with = |pointer: &str, value: Value| {
        let mut pod = pod.clone();
        *pod.pointer_mut(pointer).unwrap() = value;
        pod
    };
    let mut host = pod.clone();
    host["spec"]["hostNetwork"] = json!(true);
    vec![
        ("host", host),
        (
            "runAsNonRoot",
            with("/spec/securityContext/runAsNonRoot", json!(false)),
        ),
        (
            "runAsUser",
            with("/spec/securityContext/runAsUser", json!(0)),
        ),
        (
            "seccompProfile",
            with(
                "/spec/securityContext/seccompProfile",
                json!({"type": "Unconfined"}),
            ),
        ),
        (
            "allowPrivilegeEscalation",
            with(
                "/spec/containers/0/securityContext/allowPrivilegeEscalation",
                json!(true),
            ),
        ),
        (
            "capabilities",
            with("/spec/containers/0/securityContext/capabilities", json!({})),
        ),
    ]
}

/// Whether the API server would admit the pod; if not, why.
async fn admitted(site: &Site, pod: Value) -> Result<(), String> {
    let pods = Api::<Pod>::namespaced(site.client.clone(), operator::NAME);
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let answer = pods.create(&params, &pod).await;
    answer.map(drop).map_err(|error| error.to_string())
}

/// The pods of the controller and of the agent, as their templates say.
async fn pods(site: &Site) -> [(&'static str, Value); 2] {
    let deployments = Api::<Deployment>::namespaced(site.client.clone(), operator::NAME);
    let deployment = deployments.get(operator::NAME).await.unwrap();
    let sets = Api::<DaemonSet>::namespaced(site.client.clone(), operator::NAME);
    let set = sets.get(operator::AGENT).await.unwrap();
    let of = |template| {
        let mut pod = serde_json::to_value::<Value>(template).unwrap();
        pod["metadata"]["name"] = json!("candidate");
        pod
    };
    let template = |spec: Value| of(spec["template"].clone());
    [
        (
            "controller",
            template(serde_json::to_value(deployment.spec).unwrap()),
        ),
        ("agent", template(serde_json::to_value(set.spec).unwrap())),
    ]
}

#[tokio::test]
async fn the_pods_are_restricted_and_the_namespace_refuses_any_that_is_less_so() {
    let site = Site::new().await;
    site.install("both").await;
    for (name, pod) in pods(&site).await {
        admitted(&site, pod.clone()).await.unwrap();
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        assert!(pod["spec"]["volumes"].is_null(), "{name} mounts nothing");
        for (what, pod) in weakened(&pod) {
            let refused = admitted(&site, pod).await.expect_err(what);
            let why = "violates PodSecurity \"restricted:latest\"";
            assert!(
                refused.contains(why) && refused.contains(what),
                "{name}, {what}: {refused}"
            );
        }
    }
}

#[tokio::test]
async fn an_agent_on_the_hosts_network_needs_a_namespace_that_is_privileged() {
    let site = Site::new().await;
    site.install("metadata").await;
    let [_, (_, mut agent)] = pods(&site).await;
    agent["spec"]["hostNetwork"] = json!(true);
    agent["spec"]["containers"][0]["ports"][0]["hostPort"] = json!(8080);
    let namespaces = Api::<Namespace>::all(site.client.clone());
    for (level, refused) in [
        ("baseline", Some("PodSecurity \"baseline")),
        ("privileged", None),
    ] {
        let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}});
        let params = PatchParams::default();
        namespaces
            .patch(operator::NAME, &params, &Patch::Merge(labels))
            .await
            .unwrap();
        // The API server hears of the label by a watch of its own.
        let heard = async {
            while !match (admitted(&site, agent.clone()).await, refused) {
                (Err(said), Some(why)) => said.contains(why),
                (answer, None) => answer.is_ok(),
                (Ok(()), Some(_)) => false,
            } {}
            Ok(())
        };
        within(heard).await;
    }
}
