//! What `GitOps` tools make of our objects: kstatus as Flux computes it, the health that Argo CD's script tells, and
//! `kubectl wait`; and that the examples of `docs/gitops` are what they say.

mod examples;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use node_termination_operator::api::condition;
use node_termination_operator::api::policy::TerminationPolicy;
use node_termination_operator::api::termination::{NodeTermination, Phase, WaitReason};
use serde::Serialize;
use serde_json::{Value, json};
use testbed::aws::{Fault, FaultKind};
use testbed::binaries::Binaries;
use testbed::cluster::{TestNode, await_object, delete_node, instance_id};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::bare::bare;
use crate::budgets::{await_blocked, keep, keep_only, web};
use crate::scene::{Corner, patch, status, within};
use crate::waiting::ask_for;

/// Keeps an object that is deleted, so that it can be looked at.
const KEEP: &str = "example.com/keep";

/// The folder of the examples.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/gitops")
}

/// Objects at moments of their lives, with what each tool should say then.
#[derive(Default)]
struct Moments(Vec<(&'static str, Value, [&'static str; 2])>);

impl Moments {
    /// Adds one: kstatus, then Argo CD.
    fn add(&mut self, what: &'static str, object: &impl Serialize, said: [&'static str; 2]) {
        self.0
            .push((what, serde_json::to_value(object).unwrap(), said));
    }

    /// Asks both tools. Returns what Argo CD's users read of each.
    async fn check(&self, script: &str) -> Vec<String> {
        let script = folder().join("argocd").join(script);
        let objects: Vec<&Value> = self.0.iter().map(|(_, object, _)| object).collect();
        let kstatus = judged(&objects, &[]).await;
        let health = judged(&objects, &["-lua", script.to_str().unwrap()]).await;
        let said = kstatus.iter().zip(&health);
        for ((what, object, wanted), (kstatus, health)) in self.0.iter().zip(said) {
            let said = [&kstatus["status"], &health["status"]];
            assert_eq!(said, *wanted, "{what}: {kstatus}, {health}\n{object:#}");
            assert_ne!(health["message"], "", "{what}");
        }
        let messages = health.iter().map(|h| h["message"].as_str().unwrap().into());
        messages.collect()
    }
}

/// What the program of the test bed says of each object.
async fn judged(objects: &[&Value], arguments: &[&str]) -> Vec<Value> {
    let program = tokio::task::spawn_blocking(|| Binaries::extra("kstatus"));
    let mut child = Command::new(program.await.unwrap().unwrap())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: Vec<String> = objects.iter().map(|o| format!("{o}\n")).collect();
    let mut stdin = child.stdin.take().unwrap();
    let written = tokio::spawn(async move { stdin.write_all(lines.concat().as_bytes()).await });
    let output = child.wait_with_output().await.unwrap();
    written.await.unwrap().unwrap();
    assert!(output.status.success(), "it fails, and says why on stderr");
    let text = String::from_utf8(output.stdout).unwrap();
    let said: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(said.len(), objects.len());
    said
}

/// `kubectl wait --for=condition=Ready`, for so long.
async fn wait(corner: &Corner, object: &str, timeout: &str) -> anyhow::Result<String> {
    let timeout = format!("--timeout={timeout}");
    let wait = ["wait", "--for=condition=Ready", object, &timeout];
    corner.world.control_plane.kubectl(&wait).await
}

/// Deletes the object and returns it as it is when all that the operator does about that is done.
async fn being_deleted<K>(corner: &Corner, name: &str) -> K
where
    K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    K: Send + 'static,
{
    let api = Api::<K>::all(corner.client.clone());
    // Applied, for it must not take the operator's own finalizer away.
    let keep = async |finalizers: &[&str]| {
        let metadata = json!({"name": name, "finalizers": finalizers});
        let (api_version, kind) = (K::api_version(&()), K::kind(&()));
        let object = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata});
        let params = PatchParams::apply("keeper");
        api.patch(name, &params, &Patch::Apply(object))
            .await
            .unwrap()
    };
    keep(&[KEEP]).await;
    api.delete(name, &DeleteParams::default()).await.unwrap();
    let alone = |o: Option<&K>| {
        o.is_some_and(|o| o.meta().deletion_timestamp.is_some() && o.finalizers() == [KEEP])
    };
    let deleted = within(await_object(api.clone(), name, alone))
        .await
        .unwrap();
    keep(&[]).await;
    deleted
}

/// A NodeTermination whose Node is another instance.
async fn mistaken(corner: &Corner, node: &TestNode) -> NodeTermination {
    let instance_id = instance_id();
    let object = json!({
        "apiVersion": "nodetermination.dev/v1alpha1",
        "kind": "NodeTermination",
        "metadata": {"name": instance_id},
        "spec": {"nodeName": node.name, "nodeUID": node.uid, "instanceID": instance_id},
    });
    let object: NodeTermination = serde_json::from_value(object).unwrap();
    let api = Api::<NodeTermination>::all(corner.client.clone());
    api.create(&PostParams::default(), &object).await.unwrap();
    corner.await_phase(&instance_id, Phase::Failed).await
}

#[tokio::test]
async fn each_phase_of_an_incident_is_what_kstatus_and_argo_cd_take_it_for() {
    let settings = json!({"lifecycle": {"completionDelaySeconds": 3}});
    let corner = Corner::new("phases", 2, settings).await;
    let mut moments = Moments::default();
    corner.put_hook("drain", 3600);
    let node = &corner.nodes[0];
    let name = &node.instance_id;
    corner.make_pods(node, 2, web()).await;
    keep(&corner, "pdb", 2).await;
    corner.scale_in(node, jiff::Timestamp::now());
    let draining = await_blocked(&corner, node, 2).await;
    moments.add("Draining", &draining, ["InProgress", "Progressing"]);
    let object = format!("nt/{name}");
    let refused = wait(&corner, &object, "1s").await.unwrap_err().to_string();
    assert!(refused.contains("timed out"), "{refused}");

    let switch = async |field: &str, on: bool| {
        let body = json!({"spec": {field: on}});
        patch::<NodeTermination>(&corner.client, name, body).await
    };
    let unseen = switch("hold", true).await;
    moments.add("edited", &unseen, ["InProgress", "Progressing"]);
    let held = corner.await_phase(name, Phase::Waiting).await;
    moments.add("Waiting: held", &held, ["Current", "Suspended"]);
    switch("hold", false).await;
    keep_only(&corner, "pdb", 0).await;
    let releasing = corner.await_phase(name, Phase::Releasing).await;
    moments.add("Releasing", &releasing, ["InProgress", "Progressing"]);
    wait(&corner, &object, "60s").await.unwrap();
    let released = corner.await_phase(name, Phase::Released).await;
    moments.add("Released", &released, ["Current", "Healthy"]);
    delete_node(&corner.client, &node.name).await.unwrap();
    let completed = corner.await_phase(name, Phase::Completed).await;
    moments.add("Completed", &completed, ["Current", "Healthy"]);

    let failed = mistaken(&corner, &corner.nodes[1]).await;
    moments.add("Failed", &failed, ["Failed", "Degraded"]);
    let messages = moments.check("node-termination.lua").await;
    assert!(messages[0].contains("leaving"), "{messages:?}");
    assert!(messages[2].contains("spec.hold"), "{messages:?}");
}

#[tokio::test]
async fn what_people_ask_for_waits_its_turn_is_canceled_and_deleted_as_kstatus_and_argo_cd_take_it()
{
    let corner = Corner::new("turns-told", 2, json!({"limits": {"maxConcurrent": 1}})).await;
    let mut moments = Moments::default();
    let [first, second] = &corner.nodes[..] else {
        panic!("two nodes")
    };
    corner.make_pods(first, 1, web()).await;
    keep(&corner, "pdb", 1).await;
    ask_for(&corner, first).await;
    corner.await_phase(&first.name, Phase::Draining).await;
    ask_for(&corner, second).await;
    let waiting = corner
        .await_incident(&second.name, |i| {
            let waiting = status(i).waiting.map(|w| w.reason);
            waiting == Some(WaitReason::LimitReached)
        })
        .await;
    moments.add("Waiting: its turn", &waiting, ["Current", "Progressing"]);
    let cancel = json!({"spec": {"cancel": true}});
    patch::<NodeTermination>(&corner.client, &first.name, cancel).await;
    let canceled = corner.await_phase(&first.name, Phase::Canceled).await;
    moments.add("Canceled", &canceled, ["Current", "Healthy"]);
    // An edit of a finished one changes nothing, and it is said that it was seen.
    let hold = json!({"spec": {"hold": true}});
    patch::<NodeTermination>(&corner.client, &first.name, hold).await;
    let seen = |i: &NodeTermination| status(i).observed_generation == i.metadata.generation;
    let edited = corner.await_incident(&first.name, seen).await;
    assert_eq!(edited.metadata.generation, Some(3));
    assert_eq!(status(&edited).completed_at, status(&canceled).completed_at);
    moments.add("Canceled, edited", &edited, ["Current", "Healthy"]);
    let deleted = being_deleted::<NodeTermination>(&corner, &second.name).await;
    moments.add("deleted", &deleted, ["Terminating", "Progressing"]);
    moments.check("node-termination.lua").await;
}

/// The policy as soon as a condition of this type holds.
async fn once(corner: &Corner, kind: &str) -> TerminationPolicy {
    let api = Api::<TerminationPolicy>::all(corner.client.clone());
    let holds = |p: Option<&TerminationPolicy>| {
        let status = p.and_then(|p| p.status.as_ref());
        status.is_some_and(|s| condition::holds(&s.conditions, kind))
    };
    within(await_object(api, &corner.name, holds))
        .await
        .unwrap()
}

#[tokio::test]
async fn each_state_of_a_policy_is_what_kstatus_and_argo_cd_take_it_for() {
    let corner = Corner::new("states", 1, json!({})).await;
    let mut moments = Moments::default();
    let ready = once(&corner, "Ready").await;
    moments.add("every source polls", &ready, ["Current", "Healthy"]);
    wait(&corner, &format!("tp/{}", corner.name), "60s")
        .await
        .unwrap();

    let fault = Fault::new("ReceiveMessage", FaultKind::InternalError).on_queue(&corner.name);
    let fault = corner.world.aws.inject(fault);
    let backing_off = once(&corner, "Reconciling").await;
    moments.add(
        "a source backs off",
        &backing_off,
        ["InProgress", "Progressing"],
    );
    drop(fault);
    once(&corner, "Ready").await;
    corner.queue.delete();
    let stalled = once(&corner, "Stalled").await;
    moments.add("no such queue", &stalled, ["Failed", "Degraded"]);

    corner.world.aws.create_queue(&corner.name).unwrap();
    once(&corner, "Ready").await;
    let node = &corner.nodes[0];
    let label = json!({"metadata": {"labels": {"karpenter.sh/nodepool": "general"}}});
    patch::<k8s_openapi::api::core::v1::Node>(&corner.client, &node.name, label).await;
    let overlaps = once(&corner, "OverlapsKarpenter").await;
    moments.add("Ready, and it overlaps", &overlaps, ["Current", "Healthy"]);
    let deleted = being_deleted::<TerminationPolicy>(&corner, &corner.name).await;
    moments.add("deleted", &deleted, ["Terminating", "Progressing"]);
    let messages = moments.check("termination-policy.lua").await;
    let doubt = format!(
        "; OverlapsKarpenter: 1 of its 1 nodes are Karpenter's (karpenter.sh/nodepool), such as {}:",
        node.name
    );
    assert!(messages[3].contains(&doubt), "{messages:?}");
}

#[tokio::test]
async fn argo_cd_tells_which_notification_can_not_be_sent_until_it_can() {
    let url = json!({"secretKeyRef": {"name": "no-such-secret", "key": "url"}});
    let settings = json!({"notifications": [{"name": "chat", "urlFrom": url}]});
    let corner = Corner::new("untold", 1, settings).await;
    let valid = |p: &TerminationPolicy, valid: &str| {
        let status = p.status.as_ref();
        let conditions = status.map_or(&[][..], |s| &s.conditions);
        let said = condition::find(conditions, "NotificationsValid");
        condition::holds(conditions, "Ready") && said.is_some_and(|c| c.status == valid)
    };
    let api = Api::<TerminationPolicy>::all(corner.client.clone());
    let mut moments = Moments::default();
    corner.await_policy(|p| valid(p, "False")).await;
    let untold = api.get(&corner.name).await.unwrap();
    moments.add("a Secret is missing", &untold, ["Current", "Healthy"]);
    let plain = json!([{"name": "chat", "url": "https://example.com/"}]);
    corner.change_policy(json!({"notifications": plain})).await;
    corner.await_policy(|p| valid(p, "True")).await;
    let told = api.get(&corner.name).await.unwrap();
    moments.add("it is mended", &told, ["Current", "Healthy"]);
    let messages = moments.check("termination-policy.lua").await;
    let doubt = "; NotificationsValid: chat: there is no Secret no-such-secret in the namespace";
    assert!(messages[0].contains(doubt), "{messages:?}");
    assert!(!messages[1].contains("NotificationsValid"), "{messages:?}");
}

#[tokio::test]
async fn what_no_operator_has_looked_at_yet_is_in_progress() {
    let client = bare().await.client().await.unwrap();
    let meta = |kind: &str| {
        json!({
            "apiVersion": "nodetermination.dev/v1alpha1",
            "kind": kind,
            "metadata": {"generateName": "unseen-"},
        })
    };
    let mut incident = meta("NodeTermination");
    incident["spec"] = json!({"nodeName": "node"});
    let mut policy = meta("TerminationPolicy");
    policy["spec"] = json!({"sources": [{"name": "metadata", "imds": {}}]});
    let params = PostParams::default();
    let incident: NodeTermination = serde_json::from_value(incident).unwrap();
    let incidents = Api::<NodeTermination>::all(client.clone());
    let incident = incidents.create(&params, &incident).await.unwrap();
    let policy: TerminationPolicy = serde_json::from_value(policy).unwrap();
    let policies = Api::<TerminationPolicy>::all(client);
    let policy = policies.create(&params, &policy).await.unwrap();
    for (script, object) in [
        ("node-termination.lua", serde_json::to_value(incident)),
        ("termination-policy.lua", serde_json::to_value(policy)),
    ] {
        let mut moments = Moments::default();
        moments.add(script, &object.unwrap(), ["InProgress", "Progressing"]);
        let messages = moments.check(script).await;
        assert_eq!(messages, ["the operator has not looked at it yet"]);
    }
}
