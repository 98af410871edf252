//! What the API server answers when a pod is told to end, and that each answer is taken for what it is.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use node_termination_operator::api::termination::BlockReason;
use node_termination_operator::cluster::pods::send;
use node_termination_operator::drain::pod::PodObject;
use node_termination_operator::drain::{Answer, Order, Verb};
use serde_json::json;
use testbed::cluster::{PodOptions, await_object};
use testbed::webhook::nobody;
use testbed::{Webhook, operator};
use tokio::time::Instant;

use crate::budgets::{keep, web};
use crate::scene::{Corner, within};

/// The API server retries a UID conflict for ten seconds where the version is not pinned.
const AT_ONCE: Duration = Duration::from_secs(8);

/// A corner without a policy, and the operator's own way to the API server.
async fn corner(name: &str) -> (Corner, Client) {
    let corner = Corner::without_policy(name, 1).await;
    let control_plane = &corner.world.control_plane;
    let file = control_plane.kubeconfig_for(operator::USER).unwrap();
    let client = control_plane.client_without_retries(&file).await.unwrap();
    (corner, client)
}

/// The order to evict the pod of that name as it is now.
async fn order(corner: &Corner, name: &str) -> Order {
    let api = Api::<PodObject>::namespaced(corner.client.clone(), &corner.namespace);
    Order {
        node: "node".into(),
        pod: Arc::new(api.get(name).await.unwrap().into()),
        verb: Verb::Evict,
        grace: jiff::SignedDuration::from_secs(7),
        own_grace: jiff::SignedDuration::from_secs(7),
        past: None,
        pin_version: false,
        mark_disruption: false,
        permit: None,
    }
}

async fn one_pod(corner: &Corner, options: PodOptions) -> Order {
    let pods = corner.make_pods(&corner.nodes[0], 1, options).await;
    order(corner, &pods[0].name_any()).await
}

fn denied(answer: &Answer) -> (BlockReason, &str, &str) {
    let Answer::Denied {
        reason,
        by,
        message,
    } = answer
    else {
        panic!("{answer:?}")
    };
    (*reason, by.as_deref().unwrap_or_default(), message)
}

/// Asks until the configuration of an admission has reached the API server.
async fn send_until(client: &Client, order: &Order, good: impl Fn(&Answer) -> bool) -> Answer {
    let asked = async {
        loop {
            let answer = send(client, order).await;
            if good(&answer) {
                return anyhow::Ok(answer);
            }
            assert_ne!(answer, Answer::Accepted, "told to end too early");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    within(asked).await
}

/// Waits until an admission refuses a change of the pod that harms nobody.
async fn in_force(corner: &Corner, name: &str, label: &str) {
    let api = Api::<Pod>::namespaced(corner.client.clone(), &corner.namespace);
    let refused = async {
        loop {
            let change = Patch::Merge(json!({"metadata": {"labels": {label: "x"}}}));
            if api
                .patch(name, &PatchParams::default(), &change)
                .await
                .is_err()
            {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within(refused).await;
}

async fn create<K>(corner: &Corner, object: &K) -> String
where
    K: Resource<DynamicType = (), Scope = kube::core::ClusterResourceScope>
        + Clone
        + serde::Serialize
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
{
    let api = Api::<K>::all(corner.client.clone());
    api.create(&PostParams::default(), object)
        .await
        .unwrap()
        .name_any()
}

#[tokio::test]
async fn an_eviction_is_accepted_and_one_of_a_pod_that_has_gone_is_not_found() {
    let (corner, client) = corner("gone").await;
    let order = one_pod(&corner, PodOptions::default()).await;
    assert_eq!(send(&client, &order).await, Answer::Accepted);
    let api = Api::<Pod>::namespaced(corner.client.clone(), &corner.namespace);
    within(await_object(api, &order.pod.name, |p| p.is_none())).await;
    assert_eq!(send(&client, &order).await, Answer::NotFound);
    let delete = Order {
        verb: Verb::Delete,
        mark_disruption: true,
        ..order
    };
    assert_eq!(send(&client, &delete).await, Answer::NotFound);
}

#[tokio::test]
async fn another_uid_on_a_pending_a_finished_or_a_terminating_pod_is_a_conflict_at_once_when_the_version_is_pinned()
 {
    let (corner, client) = corner("pinned").await;
    let stuck = one_pod(&corner, PodOptions::default().stuck()).await;
    assert_eq!(send(&client, &stuck).await, Answer::Accepted);
    let terminating = order(&corner, &stuck.pod.name).await;
    let finished = one_pod(&corner, PodOptions::default()).await;
    let api = Api::<Pod>::namespaced(corner.client.clone(), &corner.namespace);
    let phase = Patch::Merge(json!({"status": {"phase": "Failed"}}));
    api.patch_status(&finished.pod.name, &PatchParams::default(), &phase)
        .await
        .unwrap();
    let finished = order(&corner, &finished.pod.name).await;
    let unscheduled: Pod = serde_json::from_value(json!({
        "metadata": {"name": "pending"},
        "spec": {"nodeSelector": {"none": "such"}, "containers": [{"name": "main", "image": "example.invalid/none"}]},
    }))
    .unwrap();
    api.create(&PostParams::default(), &unscheduled)
        .await
        .unwrap();
    let pending = order(&corner, "pending").await;
    for (mut order, state) in [
        (terminating, "terminating"),
        (finished, "finished"),
        (pending, "pending"),
    ] {
        "another".clone_into(&mut Arc::make_mut(&mut order.pod).uid);
        order.pin_version = true;
        let asked = Instant::now();
        assert_eq!(send(&client, &order).await, Answer::Conflict, "{state}");
        assert!(asked.elapsed() < AT_ONCE, "{state}: {:?}", asked.elapsed());
    }
}

#[tokio::test]
async fn a_budget_without_room_says_what_it_needs_and_has_and_two_budgets_are_told_apart_from_a_failure()
 {
    let (corner, client) = corner("refused").await;
    let order = one_pod(&corner, web()).await;
    keep(&corner, "pdb", 1).await;
    let answer = send(&client, &order).await;
    let Answer::BudgetRefused {
        message,
        retry_after,
    } = &answer
    else {
        panic!("{answer:?}")
    };
    assert!(
        message.contains("needs 1 healthy pods and has 1 currently"),
        "{message}"
    );
    assert_eq!(*retry_after, None);
    keep(&corner, "other", 0).await;
    assert_eq!(send(&client, &order).await, Answer::MultipleBudgets);
}

#[tokio::test]
async fn in_a_terminating_namespace_an_eviction_is_refused_for_that_and_a_deletion_is_accepted() {
    let (corner, client) = corner("ending").await;
    let order = one_pod(&corner, PodOptions::default().stuck()).await;
    let api = Api::<Namespace>::all(corner.client.clone());
    api.delete(&corner.namespace, &DeleteParams::default())
        .await
        .unwrap();
    let terminating = |n: Option<&Namespace>| {
        let phase = n.and_then(|n| n.status.as_ref()?.phase.as_deref());
        phase == Some("Terminating")
    };
    within(await_object(api, &corner.namespace, terminating)).await;
    let answer = send_until(&client, &order, |a| *a != Answer::Conflict).await;
    assert_eq!(answer, Answer::NamespaceTerminating);
    let delete = Order {
        verb: Verb::Delete,
        ..order
    };
    assert_eq!(send(&client, &delete).await, Answer::Accepted);
}

#[tokio::test]
async fn a_webhook_that_denies_by_whatever_code_or_is_down_is_named_and_is_no_overload() {
    let (corner, client) = corner("webhook").await;
    let order = one_pod(&corner, PodOptions::default()).await;
    let webhook = Webhook::start().unwrap();
    webhook.deny(403, "not today");
    let asked = ("CREATE", "pods/eviction");
    let denying = webhook.configuration("deny.example.com", &corner.namespace, asked);
    let name = create(&corner, &denying).await;
    // It asks about changes of pods too, so that it can be seen when it is in force.
    let changes =
        webhook.configuration("changes.example.com", &corner.namespace, ("UPDATE", "pods"));
    create(&corner, &changes).await;
    in_force(&corner, &order.pod.name, "seen").await;
    for code in [400, 403, 429, 500] {
        webhook.deny(code, "not today");
        let answer = send(&client, &order).await;
        let (reason, by, message) = denied(&answer);
        assert_eq!((reason, by), (BlockReason::Webhook, "deny.example.com"));
        assert!(message.contains("not today"), "{message}");
    }
    let down = nobody("down.example.com", &corner.namespace, asked);
    create(&corner, &down).await;
    let api = Api::<ValidatingWebhookConfiguration>::all(corner.client.clone());
    let answer = send_until(
        &client,
        &order,
        |a| matches!(a, Answer::Denied { by, .. } if by.as_deref() == Some("down.example.com")),
    );
    let (answer, ()) = tokio::join!(answer, async {
        // The denying one goes once the other is in force too: the order in which they are asked is not ours.
        tokio::time::sleep(Duration::from_secs(2)).await;
        api.delete(&name, &DeleteParams::default()).await.unwrap();
    });
    let (reason, _, message) = denied(&answer);
    assert_eq!(reason, BlockReason::Webhook);
    assert!(message.contains("failed calling webhook"), "{message}");
}

#[tokio::test]
async fn an_admission_policy_that_denies_is_named_like_a_webhook() {
    let (corner, client) = corner("vap").await;
    let order = one_pod(&corner, PodOptions::default()).await;
    let name = &corner.namespace;
    let rule = |operation: &str, resource: &str| json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": [operation], "resources": [resource]});
    let policy: ValidatingAdmissionPolicy = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
                "resourceRules": [rule("CREATE", "pods/eviction"), rule("UPDATE", "pods")],
            },
            "validations": [{"expression": "false", "message": "not today"}],
        },
    }))
    .unwrap();
    create(&corner, &policy).await;
    let binding: ValidatingAdmissionPolicyBinding = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }))
    .unwrap();
    create(&corner, &binding).await;
    in_force(&corner, &order.pod.name, "seen").await;
    let answer = send(&client, &order).await;
    let (reason, by, message) = denied(&answer);
    assert_eq!((reason, by), (BlockReason::Webhook, name.as_str()));
    assert!(message.contains("not today"), "{message}");
}
