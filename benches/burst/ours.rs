//! The operator as its users run it: a process of its own, fed by a queue.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use node_termination_operator::api::policy::TerminationPolicy;
use node_termination_operator::api::termination::{NodeTermination, Phase};
use serde_json::{Value, json};
use testbed::aws::{Aws, Queue, REGION, events};
use testbed::cluster::{await_count, await_object};
use testbed::control_plane::AuditEntry;
use testbed::{ControlPlane, Operator, operator};

use crate::{Cost, ROUND, Round, Stage, seen};

pub async fn run(
    name: &'static str,
    control_plane: &ControlPlane,
    aws: &Aws,
    stage: &Stage,
) -> Round {
    let client = control_plane.client().await.unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_node-termination-operator"));
    let operator = Operator::start(
        binary,
        control_plane,
        aws,
        &stage.name,
        15,
        &[("NTO_LOG_LEVEL", "info")],
    )
    .unwrap();
    operator.await_leader().await.unwrap();
    let queue = aws.create_queue(&stage.name).unwrap();
    let policies: Api<TerminationPolicy> = Api::all(client.clone());
    policies
        .create(&PostParams::default(), &policy(stage, &queue))
        .await
        .unwrap();
    await_object(policies.clone(), &stage.name, |p| {
        p.and_then(|p| p.status.as_ref())
            .is_some_and(|s| s.ready_sources == "1/1")
    })
    .await
    .unwrap();

    let seen = seen::watch(control_plane.client().await.unwrap(), stage).await;
    let before = audited(control_plane).len();
    let start = Instant::now();
    let notice = Timestamp::now();
    queue
        .send_batch(
            stage
                .nodes
                .iter()
                .map(|n| events::spot_interruption(&n.instance_id, notice)),
        )
        .unwrap();
    let seen = seen.await.unwrap();
    let incidents: Api<NodeTermination> = Api::all(client.clone());
    let released = |i: &NodeTermination| {
        i.status
            .as_ref()
            .is_some_and(|s| s.phase == Some(Phase::Released))
    };
    await_count(
        incidents.clone(),
        kube::runtime::watcher::Config::default(),
        stage.nodes.len(),
        released,
    )
    .await
    .unwrap();
    let cost = Cost {
        requests: requests(control_plane, before),
        peak_rss: operator.process().peak_rss_bytes().unwrap(),
        cpu: operator.process().cpu_time().unwrap(),
    };
    policies
        .delete(&stage.name, &DeleteParams::default())
        .await
        .unwrap();
    operator.terminate(Duration::from_secs(5)).await.unwrap();
    clear(&incidents).await;
    Round {
        name,
        cordoned: seen.cordoned_after(start),
        gone: seen.gone.duration_since(start),
        cost: Some(cost),
    }
}

fn policy(stage: &Stage, queue: &Queue) -> TerminationPolicy {
    let object: Value = json!({
        "apiVersion": "nodetermination.dev/v1alpha1",
        "kind": "TerminationPolicy",
        "metadata": {"name": stage.name},
        "spec": {
            "nodeSelector": {"matchLabels": {ROUND: stage.name}},
            "sources": [{"name": "events", "sqs": {"queueURL": queue.url(), "region": REGION}}],
        },
    });
    serde_json::from_value(object).unwrap()
}

/// The operator's requests since `before` of them, its lease apart, by verb and resource.
fn requests(control_plane: &ControlPlane, before: usize) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for entry in audited(control_plane).into_iter().skip(before) {
        let part = if entry.subresource.is_empty() {
            String::new()
        } else {
            format!("/{}", entry.subresource)
        };
        *counted
            .entry(format!("{} {}{part}", entry.verb, entry.resource))
            .or_default() += 1;
    }
    counted
}

fn audited(control_plane: &ControlPlane) -> Vec<AuditEntry> {
    let entries = control_plane.audit_log().unwrap().entries().unwrap();
    let ours = |e: &AuditEntry| e.user == operator::USER && e.resource != "leases";
    entries.into_iter().filter(ours).collect()
}

/// Nobody is left to finish the records: take the finalizers off and delete them, so that the next round starts clean.
async fn clear(incidents: &Api<NodeTermination>) {
    for incident in incidents.list(&ListParams::default()).await.unwrap() {
        let name = incident.metadata.name.unwrap();
        let patch = kube::api::Patch::Merge(json!({"metadata": {"finalizers": null}}));
        incidents
            .patch(&name, &kube::api::PatchParams::default(), &patch)
            .await
            .unwrap();
        incidents
            .delete(&name, &DeleteParams::default())
            .await
            .unwrap();
    }
}
