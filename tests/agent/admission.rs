//! An agent can do nothing but record what metadata says about its own node, whatever roles its account is given.

use jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use node_termination_operator::api::termination::NodeTermination;
use node_termination_operator::event::identity::{object_name, object_names, own_object_name};
use serde_json::{Value, json};
use testbed::cluster::TestNode;
use testbed::imds::{Answer, documents};
use testbed::{ControlPlane, operator};
use tokio::sync::OnceCell;

use crate::scene::{Corner, control_plane, world};

/// A control plane without a controller, on which the agents' account may do everything with our kinds: what is refused
/// there is refused by the admission policy alone.
async fn open() -> &'static ControlPlane {
    static OPEN: OnceCell<ControlPlane> = OnceCell::const_new();
    OPEN.get_or_init(async || {
        let control_plane = control_plane().await;
        let account = "--serviceaccount=node-termination-operator:node-termination-operator-agent";
        let all = [
            "create",
            "clusterrolebinding",
            "all",
            "--clusterrole=cluster-admin",
            account,
        ];
        control_plane.kubectl(&all).await.unwrap();
        control_plane
    })
    .await
}

async fn client_of(corner: &Corner<'_>, node: &TestNode) -> Client {
    let token = operator::agent_token(&corner.client, &node.name)
        .await
        .unwrap();
    client_with(corner, &node.name, &token).await
}

async fn client_with(corner: &Corner<'_>, name: &str, token: &str) -> Client {
    let file = corner
        .control_plane
        .kubeconfig_with_token(name, token)
        .unwrap();
    let client = corner.control_plane.client_without_retries(&file);
    client.await.unwrap()
}

fn signal(kind: &str, number: u8) -> Value {
    json!({"id": format!("{kind}-00000000000000{number:02x}"), "kind": kind, "noticeTime": "2026-11-21T10:00:00Z"})
}

/// A signal of that kind with another field.
fn with(kind: &str, field: &str, value: Value) -> Value {
    let mut signal = signal(kind, 5);
    signal[field] = value;
    signal
}

fn maintenance() -> Value {
    json!({"eventID": "instance-event-1", "code": "system-reboot", "state": "Scheduled"})
}

/// What an agent writes about its own node.
fn own(node: &TestNode) -> Value {
    json!({
        "apiVersion": "nodetermination.dev/v1alpha1",
        "kind": "NodeTermination",
        "metadata": {"name": node.instance_id},
        "spec": {
            "nodeName": node.name,
            "nodeUID": node.uid,
            "instanceID": node.instance_id,
            "signals": [signal("SpotInterruption", 1)],
        },
    })
}

async fn apply(client: &Client, manager: &str, body: &Value) -> kube::Result<NodeTermination> {
    let api = Api::<NodeTermination>::all(client.clone());
    let name = body["metadata"]["name"].as_str().unwrap();
    let params = PatchParams::apply(manager).force();
    api.patch(name, &params, &Patch::Apply(body)).await
}

/// The message of a refusal by the admission policy.
fn refusal<T>(answer: kube::Result<T>, what: &str) -> String {
    match answer {
        Err(kube::Error::Api(status)) => {
            let by = "ValidatingAdmissionPolicy 'node-termination-operator-agent'";
            assert!(status.message.contains(by), "{what}: {}", status.message);
            status.message.clone()
        }
        Err(other) => panic!("{what}: {other}"),
        Ok(_) => panic!("{what} was not refused"),
    }
}

#[tokio::test]
async fn what_an_agent_may_not_create_is_refused() {
    let corner = Corner::new(open().await, "creates", 2, crate::scene::imds(&json!({}))).await;
    let [own_node, victim] = &corner.nodes[..] else {
        panic!("two nodes")
    };
    let client = client_of(&corner, own_node).await;
    let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}]);
    for (what, path, value, message) in [
        (
            "another node's name",
            "/spec/nodeName",
            json!(victim.name),
            "own node",
        ),
        (
            "another node's UID",
            "/spec/nodeUID",
            json!(victim.uid),
            "own node",
        ),
        (
            "the name of another instance",
            "/metadata/name",
            json!(victim.instance_id),
            "the name of the instance",
        ),
        (
            "a name that is kept for another node",
            "/metadata/name",
            json!(own_object_name(&own_node.instance_id, &victim.uid, 1)),
            "no other node's UID",
        ),
        ("hold", "/spec/hold", json!(true), "hold is for people"),
        (
            "cancel",
            "/spec/cancel",
            json!(true),
            "cancel is for people",
        ),
        (
            "an owner",
            "/metadata/ownerReferences",
            owner,
            "ownerReferences",
        ),
        (
            "a finalizer",
            "/metadata/finalizers",
            json!(["nodetermination.dev/undo"]),
            "finalizers",
        ),
        ("a label", "/metadata/labels", json!({"a": "b"}), "labels"),
        (
            "an annotation",
            "/metadata/annotations",
            json!({"a": "b"}),
            "annotations",
        ),
    ] {
        let mut body = own(own_node);
        let (parent, field) = path.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[field] = value;
        let said = refusal(apply(&client, "test", &body).await, what);
        assert!(said.contains(message), "{what}: {said}");
    }
    let said = refusal(
        apply(&client, "test", &own(victim)).await,
        "another node's object",
    );
    assert!(said.contains("own node"), "{said}");
    let mut nameless = own(own_node);
    nameless["spec"].as_object_mut().unwrap().remove("nodeUID");
    nameless["spec"]["signals"] = json!([]);
    refusal(apply(&client, "test", &nameless).await, "no UID");

    let unbound = operator::unbound_agent_token(&corner.client).await.unwrap();
    let unbound = client_with(&corner, "unbound-creates", &unbound).await;
    let said = refusal(
        apply(&unbound, "test", &own(own_node)).await,
        "an unbound token",
    );
    assert!(said.contains("not bound to a node"), "{said}");

    apply(&client, "test", &own(own_node)).await.unwrap();
}

#[tokio::test]
async fn a_signal_that_metadata_does_not_give_is_refused() {
    let corner = Corner::new(open().await, "signals", 1, crate::scene::imds(&json!({}))).await;
    let client = client_of(&corner, corner.node()).await;
    let hook = json!({"autoScalingGroupName": "g", "hookName": "h", "actionToken": "t", "transition": "t", "region": "eu-west-1"});
    for (what, signals) in [
        ("no signal", json!([])),
        (
            "a kind of the queue's",
            json!([signal("InstanceStateChange", 3)]),
        ),
        (
            "a lifecycle hook",
            json!([with("AutoScalingTermination", "lifecycleHook", hook)]),
        ),
        (
            "an instance's state",
            json!([with("SpotInterruption", "instanceState", json!("running"))]),
        ),
        (
            "maintenance of another kind",
            json!([with("SpotInterruption", "maintenance", maintenance())]),
        ),
        (
            "maintenance that is none",
            json!([signal("ScheduledMaintenance", 4)]),
        ),
    ] {
        let mut body = own(corner.node());
        body["spec"]["signals"] = signals;
        let said = refusal(apply(&client, "test", &body).await, what);
        assert!(said.contains("only signals"), "{what}: {said}");
    }
}

#[tokio::test]
async fn an_agent_may_take_every_name_that_its_monitor_computes() {
    let corner = Corner::new(open().await, "names", 1, crate::scene::imds(&json!({}))).await;
    let node = corner.node();
    let client = client_of(&corner, node).await;
    let mut body = own(node);
    body["spec"]["signals"] = json!([with("ScheduledMaintenance", "maintenance", maintenance())]);
    for name in object_names(&node.instance_id, &node.uid) {
        body["metadata"]["name"] = json!(name);
        apply(&client, "test", &body).await.expect(&name);
    }
}

#[tokio::test]
async fn what_an_agent_may_not_change_is_refused_and_what_others_have_set_does_not_stand_in_its_way()
 {
    let corner = Corner::new(open().await, "changes", 2, crate::scene::imds(&json!({}))).await;
    let [own_node, victim] = &corner.nodes[..] else {
        panic!("two nodes")
    };
    let client = client_of(&corner, own_node).await;
    // The queue's monitor and a person were there first.
    for node in [own_node, victim] {
        let mut body = own(node);
        body["metadata"]["labels"] = json!({"by": "a-person"});
        body["metadata"]["finalizers"] = json!(["nodetermination.dev/undo"]);
        body["spec"]["hold"] = json!(true);
        body["spec"]["signals"] = json!([signal("InstanceStateChange", 9)]);
        apply(&corner.client, "queue", &body).await.unwrap();
    }
    let api = Api::<NodeTermination>::all(client.clone());
    let merge = async |name: &str, body: Value| {
        api.patch(name, &PatchParams::default(), &Patch::Merge(body))
            .await
    };
    let name = &own_node.instance_id;
    for (what, body) in [
        ("hold taken back", json!({"spec": {"hold": false}})),
        ("a label", json!({"metadata": {"labels": {"by": "me"}}})),
        ("cancel", json!({"spec": {"cancel": true}})),
        (
            "a finalizer taken off",
            json!({"metadata": {"finalizers": null}}),
        ),
        (
            "a finalizer added",
            json!({"metadata": {"finalizers": ["nodetermination.dev/undo", "a.b/c"]}}),
        ),
        ("labels taken off", json!({"metadata": {"labels": null}})),
        (
            "an annotation",
            json!({"metadata": {"annotations": {"a": "b"}}}),
        ),
    ] {
        refusal(merge(name, body).await, what);
    }
    let status = json!({"status": {"phase": "Completed"}});
    let status = api
        .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
        .await;
    refusal(status, "a status");
    refusal(
        api.delete(name, &DeleteParams::default()).await,
        "a deletion",
    );
    refusal(
        merge(&victim.instance_id, json!({"spec": {"hold": true}})).await,
        "a victim's object",
    );
    let mut foreign = own(victim);
    foreign["spec"]["signals"] = json!([signal("SpotInterruption", 7)]);
    refusal(apply(&client, "test", &foreign).await, "a victim's signal");

    apply(&client, "test", &own(own_node)).await.unwrap();
    let again = apply(&client, "test", &own(own_node)).await.unwrap();
    let kinds: Vec<_> = again.spec.signals.iter().map(|s| s.kind.as_str()).collect();
    assert_eq!(kinds, ["InstanceStateChange", "SpotInterruption"]);
    assert!(again.spec.hold && again.metadata.finalizers.is_some());
}

#[tokio::test]
async fn a_policy_can_not_be_written_by_an_agent() {
    let corner = Corner::metadata(open().await, "policies").await;
    let client = client_of(&corner, corner.node()).await;
    let api = Api::<node_termination_operator::api::policy::TerminationPolicy>::all(client);
    let body = json!({"spec": {"priority": 1000}});
    let patched = api
        .patch(&corner.name, &PatchParams::default(), &Patch::Merge(body))
        .await;
    refusal(patched, "a policy");
    refusal(
        api.delete(&corner.name, &DeleteParams::default()).await,
        "a policy's deletion",
    );
}

/// The API server does not know which instance a node is: an agent can claim a name with its own node's identity.
#[tokio::test]
async fn the_notice_of_a_victim_whose_names_were_squatted_is_recorded_under_one_that_is_its_own() {
    let corner = Corner::new(open().await, "squats", 2, crate::scene::imds(&json!({}))).await;
    let [own_node, victim] = &corner.nodes[..] else {
        panic!("two nodes")
    };
    let client = client_of(&corner, own_node).await;
    let mut squatted = own(own_node);
    squatted["spec"]["instanceID"] = json!(victim.instance_id);
    for name in (1..=100).map(|n| object_name(&victim.instance_id, n)) {
        squatted["metadata"]["name"] = json!(name);
        apply(&client, "test", &squatted).await.unwrap();
    }
    let kept = own_object_name(&victim.instance_id, &victim.uid, 1);
    squatted["metadata"]["name"] = json!(kept);
    let said = refusal(apply(&client, "test", &squatted).await, "a kept name");
    assert!(said.contains("no other node's UID"), "{said}");
    let service = testbed::imds::Imds::start(&victim.instance_id).unwrap();
    let time = Timestamp::now() + jiff::SignedDuration::from_secs(120);
    service.set(documents::SPOT, Answer::body(documents::spot(time)));
    let _agent = corner.start_agent(victim, &service.env()).await;
    let recorded = corner.await_incident(&kept, |_| true).await;
    assert_eq!(recorded.spec.node_name, victim.name);
}

#[tokio::test]
async fn the_agents_own_role_lets_it_neither_list_nor_delete_nor_write_a_status() {
    let corner = Corner::metadata(&world().await.control_plane, "role").await;
    let account =
        "--as=system:serviceaccount:node-termination-operator:node-termination-operator-agent";
    for (verb, resource, may) in [
        ("get", "nodes", true),
        ("patch", "nodeterminations", true),
        ("create", "nodeterminations", true),
        ("watch", "terminationpolicies", true),
        ("list", "nodes", false),
        ("patch", "nodes", false),
        ("list", "pods", false),
        ("create", "pods/eviction", false),
        ("delete", "nodeterminations", false),
        ("list", "nodeterminations", false),
        ("patch", "nodeterminations/status", false),
        ("patch", "terminationpolicies", false),
        ("get", "secrets", false),
    ] {
        let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
        let sub = format!("--subresource={sub}");
        let said = corner
            .control_plane
            .kubectl(&["auth", "can-i", verb, resource, &sub, account, "-A"])
            .await;
        assert_eq!(
            said.is_ok_and(|s| s.trim() == "yes"),
            may,
            "{verb} {resource}"
        );
    }
}
