//! The rights that the manifests grant are those that the operator uses: a rule that is missing is seen as a request that
//! was refused, a rule too many as one that nobody used.
//!
//! The story uses each right once; whoever adds a rule adds what uses it.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Node, Secret};
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, Subject,
};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, Client};
use node_termination_operator::api::termination::{NodeTermination, Phase, WaitReason};
use node_termination_operator::drain::volumes::attachment_name;
use serde_json::json;
use testbed::aws::events::ScheduledChange;
use testbed::aws::{Queue, events};
use testbed::cluster::{
    Budget, PodOptions, TestNode, await_count, await_object, delete_node, make_pdb, map,
};
use testbed::control_plane::AuditEntry;
use testbed::imds::{Answer, Imds, documents};
use testbed::operator;
use tokio::time::{Instant, sleep};

use crate::site::{Site, status, within};

/// Nothing can watch the audit log.
const LOOK: Duration = Duration::from_millis(200);
/// The last requests of the story are in the audit log within this.
const WRITTEN: Duration = Duration::from_secs(20);

#[tokio::test]
async fn the_roles_grant_what_is_used_and_nothing_else() {
    let site = Site::new().await;
    site.install("both").await;
    let _controller = site.controller().await;
    let queue = site.aws.create_queue("events").unwrap();
    // Its Secret is read, and its template makes nothing to send: a record waits for what is still to be told.
    let hook = json!({
        "name": "hook",
        "urlFrom": {"secretKeyRef": {"name": "hook", "key": "url"}},
        "template": "{% if false %}told{% endif %}",
    });
    let settings = json!({"ttlSecondsAfterFinished": 10, "notifications": [hook]});
    make_secret(&site).await;
    site.apply_example("both.yaml", &queue, &settings).await;
    let nodes = site.nodes("work", 4).await;

    // What takes the longest is first: a record goes at the housekeeping of the next minute.
    drained_and_gone(&site, &queue, &nodes[0]).await;
    tokio::join!(
        heard_by_its_agent(&site, &queue, &nodes[1]),
        forced(&site, &queue, &nodes[2]),
        held_twice(&site, &queue, &nodes[3]),
    );
    await_pruned(&site, &nodes[0].instance_id).await;
    for account in [operator::NAME, operator::AGENT] {
        compare(&site, account).await;
    }
}

/// The Secret that the policy's notification names.
async fn make_secret(site: &Site) {
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "hook", "labels": {"nodetermination.dev/notification": "true"}},
        "stringData": {"url": "https://127.0.0.1:1/nobody"},
    }))
    .unwrap();
    let secrets = Api::<Secret>::namespaced(site.client.clone(), operator::NAME);
    secrets
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
}

/// Waits for the housekeeping, which is each minute.
async fn await_pruned(site: &Site, name: &str) {
    let records = Api::<NodeTermination>::all(site.client.clone());
    within(await_object(records, name, |r| r.is_none())).await;
}

/// Eviction, volumes, the end of a record.
async fn drained_and_gone(site: &Site, queue: &Queue, node: &TestNode) {
    let attached = attach(&site.client, node).await;
    let work = site.pods(node, 1, PodOptions::default()).await;
    let notice = events::spot_interruption(&node.instance_id, Timestamp::now());
    queue.send(notice).unwrap();
    site.await_gone(&work).await;
    let attachments = Api::<VolumeAttachment>::all(site.client.clone());
    let waits = |i: &NodeTermination| status(i).volumes.is_some_and(|v| v.left == 1);
    site.await_incident(&node.instance_id, waits).await;
    let params = DeleteParams::default();
    attachments.delete(&attached, &params).await.unwrap();
    site.await_phase(&node.instance_id, Phase::Released).await;
    delete_node(&site.client, &node.name).await.unwrap();
    site.await_phase(&node.instance_id, Phase::Completed).await;
}

/// A pod with this volume is on the node.
async fn attach(client: &Client, node: &TestNode) -> String {
    let (driver, volume) = ("ebs.csi.example.com", "vol-1");
    let name = attachment_name(driver, volume, &node.name);
    let attachment = json!({
        "metadata": {"name": name},
        "spec": {"attacher": driver, "nodeName": node.name, "source": {"persistentVolumeName": volume}},
    });
    let attachment: VolumeAttachment = serde_json::from_value(attachment).unwrap();
    let attachments = Api::all(client.clone());
    let params = PostParams::default();
    attachments.create(&params, &attachment).await.unwrap();
    let unique = format!("kubernetes.io/csi/{driver}^{volume}");
    let attached = json!([{"name": unique, "devicePath": ""}]);
    let shown = json!({"status": {"volumesInUse": [unique], "volumesAttached": attached}});
    let nodes = Api::<Node>::all(client.clone());
    let params = PatchParams::default();
    nodes
        .patch_status(&node.name, &params, &Patch::Merge(shown))
        .await
        .unwrap();
    name
}

/// The agent makes a record. When that is over, the agent and the queue tell the same again: both look what became of it.
async fn heard_by_its_agent(site: &Site, queue: &Queue, node: &TestNode) {
    let imds = Imds::start(&node.instance_id).unwrap();
    let agent = site.agent(node, &imds).await;
    let noticed = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    let goes = noticed + SignedDuration::from_secs(120);
    imds.set(documents::SPOT, Answer::body(documents::spot(goes)));
    let name = &node.instance_id;
    site.await_phase(name, Phase::Released).await;
    site.change_incident(name, json!({"cancel": true})).await;
    site.await_phase(name, Phase::Canceled).await;
    // Another second makes another signal, which a record that is finished does not take.
    let notice = events::spot_interruption(name, noticed - SignedDuration::from_secs(1));
    queue.send(notice).unwrap();
    within(queue.await_empty(Duration::from_mins(1))).await;
    drop(agent);
    let goes = goes - SignedDuration::from_secs(2);
    imds.set(documents::SPOT, Answer::body(documents::spot(goes)));
    let agent = site.agent(node, &imds).await;
    let settled = "outcome=\"LateDuplicate\"";
    let heard = agent.await_answer("/metrics", |_, body| body.contains(settled));
    heard.await.unwrap();
}

/// A budget keeps a Job's pod until its last moment: it is marked, so that the Job knows, and deleted.
async fn forced(site: &Site, queue: &Queue, node: &TestNode) {
    let namespace = site.namespace().await;
    let job: Job = serde_json::from_value(json!({
        "metadata": {"name": "job"},
        "spec": {"template": {
            "metadata": {"labels": {"app": "kept"}, "annotations": {"testbed/lasting": "true"}},
            "spec": {
                "restartPolicy": "Never",
                "nodeName": node.name,
                "containers": [{"name": "main", "image": "example.invalid/none"}],
            },
        }},
    }))
    .unwrap();
    let jobs = Api::<Job>::namespaced(site.client.clone(), &namespace);
    jobs.create(&PostParams::default(), &job).await.unwrap();
    let runs = |j: Option<&Job>| {
        let status = j.and_then(|j| j.status.as_ref());
        status.is_some_and(|s| s.ready == Some(1))
    };
    within(await_object(jobs, "job", runs)).await;
    let labels = map(&[("app", "kept")]);
    let one = Budget::MinAvailable(IntOrString::Int(1));
    make_pdb(&site.client, &namespace, "keep", &labels, one)
        .await
        .unwrap();
    let noticed = Timestamp::now() - SignedDuration::from_secs(90);
    let notice = events::spot_interruption(&node.instance_id, noticed);
    queue.send(notice).unwrap();
    let forced = |i: &NodeTermination| status(i).pods.is_some_and(|p| p.forced > 0);
    site.await_incident(&node.instance_id, forced).await;
}

/// An incident that waits for its window is held and let go: what it waits for is told again, and counted.
async fn held_twice(site: &Site, queue: &Queue, node: &TestNode) {
    let name = node.instance_id.as_str();
    let later = Timestamp::now() + Duration::from_hours(100);
    let change = ScheduledChange::reboot(&[name], later);
    queue
        .send(change.event("upcoming", Timestamp::now()))
        .unwrap();
    let waits = |held: bool| {
        move |i: &NodeTermination| {
            let reason = status(i).waiting.map(|w| w.reason);
            reason.is_some_and(|r| (r == WaitReason::Held) == held)
        }
    };
    site.await_incident(name, waits(false)).await;
    site.change_incident(name, json!({"hold": true})).await;
    site.await_incident(name, waits(true)).await;
    site.change_incident(name, json!({"hold": false})).await;
    site.await_incident(name, waits(false)).await;
    let of_incident = watcher::Config::default().fields(&format!("involvedObject.name={name}"));
    let counted = |e: &Event| e.series.is_some();
    let events = Api::<Event>::all(site.client.clone());
    within(await_count(events, of_incident, 1, counted)).await;
}

/// Holds what the roles of an account grant against what it has asked for.
async fn compare(site: &Site, account: &str) {
    let granted = granted(site, account).await;
    let account_name = format!("system:serviceaccount:{}:{account}", operator::NAME);
    let deadline = Instant::now() + WRITTEN;
    loop {
        let entries = site.control_plane.audit_log().unwrap().entries().unwrap();
        let ours = entries.iter().filter(|e| e.user == account_name);
        let used: BTreeSet<String> = ours.flat_map(|e| used(e, &granted.everybody)).collect();
        let unused: Vec<_> = granted.account.difference(&used).collect();
        let missing: Vec<_> = used.difference(&granted.account).collect();
        assert!(missing.is_empty(), "{account} was not granted: {missing:?}");
        if unused.is_empty() {
            println!("{account}: {} rights, each used", used.len());
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{account} is granted and has not used: {unused:?}"
        );
        sleep(LOOK).await;
    }
}

/// The rights that an answered request used, which every account has anyway left out. An apply that made its object took
/// the right to create it too.
fn used(entry: &AuditEntry, everybody: &BTreeSet<String>) -> Vec<String> {
    let resource = match entry.subresource.as_str() {
        "" => entry.resource.clone(),
        sub => format!("{}/{sub}", entry.resource),
    };
    let mut verbs = vec![entry.verb.as_str()];
    if entry.verb == "patch" && entry.status_code == 201 {
        verbs.push("create");
    }
    // What the operator keeps in its own namespace is granted there only.
    let own = ["leases", "daemonsets", "secrets"].contains(&entry.resource.as_str())
        && entry.namespace == operator::NAME;
    let place = if own { Place::Own } else { Place::Cluster };
    let rights = verbs
        .into_iter()
        .map(|v| right(place, v, &entry.group, &resource));
    let known = |r: &String| entry.resource.is_empty() || everybody.contains(r);
    rights.filter(|r| !known(r)).collect()
}

#[derive(Clone, Copy)]
enum Place {
    Own,
    Cluster,
}

fn right(place: Place, verb: &str, group: &str, resource: &str) -> String {
    let group = if group.is_empty() { "core" } else { group };
    let place = match place {
        Place::Own => "in its own namespace",
        Place::Cluster => "everywhere",
    };
    format!("{verb} {group} {resource} {place}")
}

struct Granted {
    account: BTreeSet<String>,
    everybody: BTreeSet<String>,
}

/// What is bound to the account, and what is to everybody who has logged in.
async fn granted(site: &Site, account: &str) -> Granted {
    let client = &site.client;
    let all = ListParams::default();
    let is_ours = |subjects: Option<Vec<Subject>>| {
        let ours = |s: &Subject| s.kind == "ServiceAccount" && s.name == account;
        subjects.into_iter().flatten().any(|s| ours(&s))
    };
    let is_everybodys = |subjects: Option<Vec<Subject>>| {
        let everybody = |s: &Subject| s.name == "system:authenticated";
        subjects.into_iter().flatten().any(|s| everybody(&s))
    };
    let cluster_roles = Api::<ClusterRole>::all(client.clone());
    let bindings = Api::<ClusterRoleBinding>::all(client.clone());
    let (mut ours, mut everybody) = (BTreeSet::new(), BTreeSet::new());
    for binding in bindings.list(&all).await.unwrap() {
        let role = cluster_roles.get(&binding.role_ref.name).await.unwrap();
        let rights = rights(Place::Cluster, role.rules);
        if is_ours(binding.subjects.clone()) {
            ours.extend(rights);
        } else if is_everybodys(binding.subjects) {
            everybody.extend(rights);
        }
    }
    let bindings = Api::<RoleBinding>::all(client.clone());
    let in_own = bindings.list(&all).await.unwrap().into_iter();
    for binding in in_own.filter(|b| is_ours(b.subjects.clone())) {
        assert_eq!(binding.metadata.namespace.as_deref(), Some(operator::NAME));
        let roles = Api::<Role>::namespaced(client.clone(), operator::NAME);
        let role = roles.get(&binding.role_ref.name).await.unwrap();
        ours.extend(rights(Place::Own, role.rules));
    }
    Granted {
        account: ours,
        everybody,
    }
}

fn rights(place: Place, rules: Option<Vec<PolicyRule>>) -> Vec<String> {
    let mut rights = Vec::new();
    for rule in rules.into_iter().flatten() {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                let each = rule.verbs.iter();
                rights.extend(each.map(|verb| right(place, verb, group, resource)));
            }
        }
    }
    rights
}
