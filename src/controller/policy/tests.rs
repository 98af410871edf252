//! What a policy's status is written from, and when it is not.

use serde_json::json;

use super::*;
use crate::controller::tests::{Replica, Server};
use crate::source::Recorder;

fn context(replica: &Replica) -> Arc<Context> {
    let parts = replica.parts.clone();
    let recorder = Recorder {
        client: parts.clients.control.clone(),
        gate: parts.gate,
        nodes: parts.nodes.clone(),
        policies: parts.policies.clone(),
        timeline: parts.timeline,
        metrics: parts.source_metrics,
    };
    Arc::new(Context {
        notifier: replica.notifier(),
        supervisor: Arc::new(Supervisor::new(parts.aws, recorder, parts.health.clone())),
        clients: parts.clients,
        nodes: parts.nodes,
        policies: parts.policies,
        terminations: parts.terminations,
        agents: parts.agents,
        metrics: parts.metrics,
        health: parts.health,
        term: parts.term,
        uncovered_told: AtomicBool::default(),
    })
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_term_is_over_says_nothing_of_a_policy() {
    let server = Server::default();
    let replica = Replica::new(&server);
    let context = context(&replica);
    let policy = json!({
        "apiVersion": "nodetermination.dev/v1alpha1",
        "kind": "TerminationPolicy",
        "metadata": {"name": "p", "uid": "uid", "generation": 1},
        "spec": {"sources": [{"name": "metadata", "imds": {}}]},
    });
    let policy: TerminationPolicy = serde_json::from_value(policy).unwrap();
    let policy = Arc::new(kube::core::DeserializeGuard(Ok(policy)));
    replica.freeze();
    let next = reconcile(policy.clone(), context.clone()).await.unwrap();
    assert_eq!(next, Action::requeue(RETRY));
    assert!(server.statuses().is_empty());
    replica.renew();
    reconcile(policy, context).await.unwrap();
    assert_eq!(server.statuses()[0]["readySources"], "0/1");
}
