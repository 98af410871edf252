//! What `GitOps` tools make of our objects: kstatus as Flux computes it, the health that Argo CD's script tells, and
//! `kubectl wait`; and that the examples of `docs/gitops` are what they say.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use k8s_openapi::api::core::v1::ObjectReference;
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

/// Applies a folder or a file of the examples as a trial; anything that the API server does not know is an error.
async fn try_to_apply(flag: &str, path: &Path) {
    let path = path.to_str().unwrap();
    let apply = [
        "apply",
        "--server-side",
        "--dry-run=server",
        "--validate=strict",
        "--warnings-as-errors",
        flag,
        path,
    ];
    bare().await.kubectl(&apply).await.unwrap();
}

#[tokio::test]
async fn the_policies_and_the_incident_of_the_examples_are_accepted_without_a_warning() {
    for example in ["policies", "nodes"] {
        try_to_apply("-k", &folder().join(example)).await;
    }
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/examples");
    for example in ["policy.yaml", "metadata.yaml"] {
        try_to_apply("-f", &manifests.join(example)).await;
    }
}

fn documents(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join(file)).unwrap();
    serde_yaml::Deserializer::from_str(&text)
        .map(|document| serde::Deserialize::deserialize(document).unwrap())
        .collect()
}

#[test]
fn the_config_map_of_argo_cd_holds_the_scripts() {
    let [config] = &documents("argocd/argocd-cm.yaml")[..] else {
        panic!("one document")
    };
    let scripts = [
        ("NodeTermination", "argocd/node-termination.lua"),
        ("TerminationPolicy", "argocd/termination-policy.lua"),
    ];
    let mut wanted = serde_json::Map::new();
    for (kind, file) in scripts {
        let script = std::fs::read_to_string(folder().join(file)).unwrap();
        let key = format!("resource.customizations.health.nodetermination.dev_{kind}");
        wanted.insert(key, script.into());
    }
    assert_eq!(config["data"], Value::Object(wanted));
}

/// What is installed by a kustomization of the operator's manifests with these images and patches: how both tools do it.
async fn installed(source: &Value) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let name = instance_id();
    let folder = bare().await.folder().join(name);
    std::fs::create_dir(&folder).unwrap();
    // kustomize takes relative paths only.
    let up = "../".repeat(folder.components().count() - 1);
    let base = root.join(source["path"].as_str().unwrap());
    let base = base.strip_prefix("/").unwrap().to_str().unwrap();
    let kustomization = json!({
        "resources": [format!("{up}{base}")],
        "images": source["images"],
        "patches": source["patches"],
    });
    let file = folder.join("kustomization.yaml");
    std::fs::write(file, kustomization.to_string()).unwrap();
    let path = folder.to_str().unwrap();
    let built = bare().await.kubectl(&["kustomize", path]).await.unwrap();
    serde_yaml::Deserializer::from_str(&built)
        .map(|document| serde::Deserialize::deserialize(document).unwrap())
        .collect()
}

#[tokio::test]
async fn both_tools_install_the_image_the_role_and_crds_that_are_not_pruned() {
    let flux = documents("flux/operator.yaml")[1]["spec"].clone();
    let argo = documents("argocd/application.yaml")[0]["spec"]["sources"][0].clone();
    let image = json!({
        "name": "node-termination-operator",
        "newName": "registry.example.com/node-termination-operator",
        "newTag": "0.1.0",
    });
    let text = "node-termination-operator=registry.example.com/node-termination-operator:0.1.0";
    assert_eq!(
        argo["kustomize"]["images"],
        json!([text]),
        "as Argo CD writes it"
    );
    let argo = json!({
        "path": argo["path"],
        "images": [image],
        "patches": argo["kustomize"]["patches"],
    });
    assert_eq!(flux["images"], json!([image]));
    for (tool, source, kept) in [
        (
            "Flux",
            flux,
            ("kustomize.toolkit.fluxcd.io/prune", "disabled"),
        ),
        (
            "Argo CD",
            argo,
            (
                "argocd.argoproj.io/sync-options",
                "Prune=false,Delete=false",
            ),
        ),
    ] {
        let objects = installed(&source).await;
        let of = |kind: &str| -> Vec<Value> {
            let objects = objects.iter().filter(|o| o["kind"] == kind);
            objects.cloned().collect()
        };
        let crds = of("CustomResourceDefinition");
        assert_eq!(crds.len(), 2, "{tool}");
        for crd in crds {
            assert_eq!(crd["metadata"]["annotations"][kept.0], kept.1, "{tool}");
        }
        let role = "arn:aws:iam::123456789012:role/node-termination-operator";
        let account = &of("ServiceAccount")[0]["metadata"]["annotations"];
        assert_eq!(account["eks.amazonaws.com/role-arn"], role, "{tool}");
        let pod = &of("Deployment")[0]["spec"]["template"]["spec"];
        let image = "registry.example.com/node-termination-operator:0.1.0";
        assert_eq!(pod["containers"][0]["image"], image, "{tool}");
    }
}

#[test]
fn the_objects_of_flux_and_argo_cd_are_of_known_kinds_and_refer_to_each_other() {
    let of = |kind: &str, api_version: &str, name: &str| ObjectReference {
        kind: Some(kind.into()),
        api_version: Some(api_version.into()),
        name: Some(name.into()),
        ..ObjectReference::default()
    };
    let (operator, kinds) = (
        "node-termination-operator",
        "node-termination-operator-crds",
    );
    let helm = "helm.toolkit.fluxcd.io/v2";
    let kustomize = "kustomize.toolkit.fluxcd.io/v1";
    let source = "source.toolkit.fluxcd.io/v1";
    let wanted = [
        (
            "argocd/application.yaml",
            vec![of("Application", "argoproj.io/v1alpha1", operator)],
        ),
        (
            "flux/operator.yaml",
            vec![
                of("GitRepository", source, operator),
                of("Kustomization", kustomize, operator),
            ],
        ),
        (
            "flux/policies.yaml",
            vec![of("Kustomization", kustomize, "node-termination-policies")],
        ),
        (
            "flux/nodes.yaml",
            vec![of("Kustomization", kustomize, "nodes-out-of-service")],
        ),
        (
            "flux/helm-release.yaml",
            vec![
                of("OCIRepository", source, kinds),
                of("OCIRepository", source, operator),
                of("HelmRelease", helm, kinds),
                of("HelmRelease", helm, operator),
            ],
        ),
    ];
    for (file, wanted) in wanted {
        let found = documents(file);
        let found: Vec<ObjectReference> = found
            .iter()
            .map(|o| {
                of(
                    o["kind"].as_str().unwrap(),
                    o["apiVersion"].as_str().unwrap(),
                    o["metadata"]["name"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(found, wanted, "{file}");
    }
    for file in ["flux/policies.yaml", "flux/nodes.yaml"] {
        let spec = &documents(file)[0]["spec"];
        assert_eq!(spec["dependsOn"], json!([{"name": operator}]), "{file}");
        assert_eq!(spec["wait"], true, "{file}");
    }
}
