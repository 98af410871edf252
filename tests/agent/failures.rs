//! What stands in an agent's way: it says so, and goes on when it is gone.

use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use testbed::imds::{Answer, Imds, documents};
use testbed::{Operator, operator};

use crate::scene::{Corner, PATIENCE, TEAM, imds, within, world};

fn spot() -> Answer {
    let time = Timestamp::now() + SignedDuration::from_secs(120);
    Answer::body(documents::spot(time))
}

/// Waits until the agent is not ready for this reason.
async fn await_missing(agent: &Operator, reason: &str) {
    let line = format!("instance metadata: {reason}: ");
    agent
        .await_answer("/readyz", |code, body| code == 503 && body.contains(&line))
        .await
        .unwrap();
    let state = format!("node_termination_operator_agent_state{{reason=\"{reason}\"}} 1");
    let (_, metrics) = agent.get("/metrics").await.unwrap();
    assert!(metrics.contains(&state), "{state}");
}

/// Waits until the agent has nothing to read for.
async fn await_idle(agent: &Operator) {
    let idle = "agent_state{reason=\"Idle\"} 1";
    agent
        .await_answer("/metrics", |_, body| body.contains(idle))
        .await
        .unwrap();
}

async fn fails_and_recovers(name: &str, outage: Answer, reason: &str) {
    let corner = Corner::metadata(&world().await.control_plane, name).await;
    let (service, agent) = corner.reading().await;
    service.set_outage(Some(outage));
    await_missing(&agent, reason).await;
    service.set(documents::SPOT, spot());
    assert!(corner.incident(&corner.node().instance_id).await.is_none());
    service.set_outage(None);
    agent.await_ready().await.unwrap();
    let name = &corner.node().instance_id;
    corner.await_incident(name, |_| true).await;
    agent.process().check().unwrap();
}

#[tokio::test]
async fn a_metadata_service_that_fails_shows_in_readyz_and_is_heard_again_when_it_is_well() {
    let cases = [
        ("fails-401", Answer::Status(401), "Credentials"),
        ("fails-403", Answer::Status(403), "AccessDenied"),
        ("fails-503", Answer::Status(503), "Unavailable"),
        ("fails-silent", Answer::Hang, "TimedOut"),
    ];
    join_all(cases.map(|(name, outage, reason)| fails_and_recovers(name, outage, reason))).await;
}

#[tokio::test]
async fn one_document_that_fails_costs_the_others_nothing_and_is_asked_for_ever_more_rarely() {
    let corner = Corner::metadata(&world().await.control_plane, "one-fails").await;
    let (service, agent) = corner.reading().await;
    service.set(documents::MAINTENANCE, Answer::Status(500));
    await_missing(&agent, "Unavailable").await;
    let before = service.reads(documents::MAINTENANCE);
    let reads = service.reads(documents::SPOT) + 15;
    within(service.await_reads(documents::SPOT, reads, PATIENCE)).await;
    let failing = service.reads(documents::MAINTENANCE) - before;
    assert!(
        failing <= 6,
        "read {failing} times while others were read 15 times"
    );
    service.set(documents::SPOT, spot());
    let name = &corner.node().instance_id;
    corner.await_incident(name, |_| true).await;
    service.set(documents::MAINTENANCE, Answer::body("no list"));
    await_missing(&agent, "Malformed").await;
}

#[tokio::test]
async fn a_service_that_has_forgotten_its_tokens_is_read_on_at_once() {
    let corner = Corner::metadata(&world().await.control_plane, "tokens").await;
    let (service, agent) = corner.reading().await;
    service.forget_tokens();
    service.set(documents::SPOT, spot());
    let name = &corner.node().instance_id;
    corner.await_incident(name, |_| true).await;
    let (code, body) = agent.get("/readyz").await.unwrap();
    assert_eq!(code, 200, "{body}");
}

#[tokio::test]
async fn metadata_of_another_instance_is_not_recorded() {
    let corner = Corner::metadata(&world().await.control_plane, "stranger").await;
    let other = "i-0123456789abcdef0";
    let service = Imds::start(other).unwrap();
    service.set(documents::SPOT, spot());
    let agent = corner.start_agent(corner.node(), &service.env()).await;
    await_missing(&agent, "IdentityMismatch").await;
    let name = &corner.node().instance_id;
    assert!(corner.incident(name).await.is_none() && corner.incident(other).await.is_none());
    assert_eq!(service.reads(documents::SPOT), 0);
    service.become_instance(name);
    corner.await_incident(name, |_| true).await;
}

#[tokio::test]
async fn a_token_that_is_bound_to_no_node_is_told_and_asked_about_again() {
    let corner = Corner::metadata(&world().await.control_plane, "unbound").await;
    let service = Imds::start(&corner.node().instance_id).unwrap();
    service.set(documents::SPOT, spot());
    let token = operator::unbound_agent_token(&corner.client).await.unwrap();
    let kubeconfig = corner
        .control_plane
        .kubeconfig_with_token("unbound", &token);
    let agent = corner.start_agent_as(&kubeconfig.unwrap(), &service.env());
    await_missing(&agent, "NotBound").await;
    let reviews = || {
        let log = corner.control_plane.audit_log().unwrap().entries().unwrap();
        log.iter()
            .filter(|e| e.resource == "selfsubjectreviews")
            .count()
    };
    let first = reviews();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while reviews() == first {
        assert!(
            tokio::time::Instant::now() < deadline,
            "it does not ask again"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(corner.incident(&corner.node().instance_id).await.is_none());
    agent.process().check().unwrap();
}

/// As under kustomize's `namePrefix`: the token of a pod on the node, with the agents' role, but of another account.
#[tokio::test]
async fn an_agent_whose_account_was_renamed_is_held_by_no_admission_policy_and_does_nothing() {
    let corner = Corner::metadata(&world().await.control_plane, "renamed").await;
    let service = Imds::start(&corner.node().instance_id).unwrap();
    service.set(documents::SPOT, spot());
    let account = format!("eu-{}", operator::AGENT);
    let create = ["create", "serviceaccount", &account, "-n", operator::NAME];
    corner.control_plane.kubectl(&create).await.unwrap();
    let role = format!("--clusterrole={}", operator::AGENT);
    let subject = format!("--serviceaccount={}:{account}", operator::NAME);
    let bind = ["create", "clusterrolebinding", &account, &role, &subject];
    corner.control_plane.kubectl(&bind).await.unwrap();
    let pod = json!({
        "metadata": {"name": account},
        "spec": {
            "serviceAccountName": account,
            "nodeName": corner.node().name,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "agent",
                "image": "example.invalid/none",
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    });
    let pods = Api::<Pod>::namespaced(corner.client.clone(), operator::NAME);
    let pod = serde_json::from_value(pod).unwrap();
    let pod = pods.create(&PostParams::default(), &pod).await.unwrap();
    let token = operator::pod_token(&corner.client, &account, pod).await;
    let kubeconfig = corner
        .control_plane
        .kubeconfig_with_token("renamed", &token.unwrap());
    let agent = corner.start_agent_as(&kubeconfig.unwrap(), &service.env());
    await_missing(&agent, "OtherAccount").await;
    assert_eq!(service.reads(documents::SPOT), 0);
    assert!(corner.incident(&corner.node().instance_id).await.is_none());
    agent.process().check().unwrap();
}

#[tokio::test]
async fn an_agent_without_an_imds_source_is_ready_and_records_nothing_until_there_is_one() {
    let world = world().await;
    let queue = world.aws.create_queue("no-imds").unwrap();
    let sqs = json!({"queueURL": queue.url(), "region": testbed::aws::REGION});
    let sources = json!({"sources": [{"name": "queue", "sqs": sqs}]});
    let corner = Corner::new(&world.control_plane, "no-imds", 1, sources).await;
    let (service, agent) = corner.reading().await;
    await_idle(&agent).await;
    service.set(documents::SPOT, spot());
    within(service.await_reads(documents::SPOT, 3, PATIENCE)).await;
    assert!(corner.incident(&corner.node().instance_id).await.is_none());
    let spec = json!({"spec": imds(&json!({}))}).to_string();
    let patch = ["patch", "tp", &corner.name, "--type", "merge", "-p", &spec];
    corner.control_plane.kubectl(&patch).await.unwrap();
    let name = &corner.node().instance_id;
    corner.await_incident(name, |_| true).await;
}

#[tokio::test]
async fn a_node_that_gets_its_labels_after_its_agent_started_is_heard() {
    let control_plane = &world().await.control_plane;
    let corner = Corner::metadata(control_plane, "late-labels").await;
    let node = corner.node().name.clone();
    let label = async |label: String| {
        let command = ["label", "node", &node, &label];
        corner.control_plane.kubectl(&command).await.unwrap();
    };
    label(format!("{TEAM}-")).await;
    let (service, agent) = corner.reading().await;
    await_idle(&agent).await;
    service.set(documents::SPOT, spot());
    label(format!("{TEAM}={}", corner.name)).await;
    corner
        .await_incident(&corner.node().instance_id, |_| true)
        .await;
}
