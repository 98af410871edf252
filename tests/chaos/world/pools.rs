//! The policies, one for each pool, and their two queues.

use kube::Api;
use kube::Client;
use kube::api::PostParams;
use node_termination_operator::api::policy::TerminationPolicy;
use serde_json::{Value, json};
use testbed::aws::{Aws, Queue, REGION};
use testbed::cluster::await_object;

use crate::plan::Pool;
use crate::plan::story::DRAIN_TIMEOUT;

/// The label that puts a node into a pool.
pub const POOL: &str = "chaos.example.com/pool";

/// Makes all of them, and waits until their queues are read.
pub async fn make(client: &Client, aws: &Aws) -> Vec<Queue> {
    let queues: Vec<Queue> = ["first", "second"]
        .map(|name| aws.create_queue(name).unwrap())
        .into();
    let api = Api::<TerminationPolicy>::all(client.clone());
    for (index, pool) in Pool::ALL.into_iter().enumerate() {
        let policy = policy(pool, &queues[index % 2]);
        let policy: TerminationPolicy = serde_json::from_value(policy).unwrap();
        api.create(&PostParams::default(), &policy).await.unwrap();
    }
    for pool in Pool::ALL {
        let read = |p: &TerminationPolicy| {
            let status = p.status.as_ref();
            status.is_some_and(|s| s.ready_sources == "1/1")
        };
        let ready = await_object(api.clone(), pool.name(), |p| p.is_some_and(read));
        ready.await.unwrap();
    }
    queues
}

fn policy(pool: Pool, queue: &Queue) -> Value {
    let mut spec = json!({
        "nodeSelector": {"matchLabels": {POOL: pool.name()}},
        "sources": [{"name": "events", "sqs": {"queueURL": queue.url(), "region": REGION}}],
        "drain": {"timeoutSeconds": DRAIN_TIMEOUT.as_secs()},
    });
    match pool {
        Pool::Deadline => {}
        Pool::Respect => {
            spec["drain"]["disruptionBudgets"] = json!("Respect");
            spec["actions"] = json!({"rebalanceRecommendation": "CordonAndDrain"});
            spec["cordon"] = json!({"expireSeconds": 15});
        }
        Pool::Beat => {
            let heartbeat = json!({"intervalSeconds": 30, "untilSeconds": 120});
            spec["lifecycle"] = json!({"heartbeat": heartbeat});
        }
        Pool::Observe => spec["mode"] = json!("Observe"),
    }
    json!({
        "apiVersion": "nodetermination.dev/v1alpha1",
        "kind": "TerminationPolicy",
        "metadata": {"name": pool.name()},
        "spec": spec,
    })
}
