//! The agents' `DaemonSets`, told from those of other products.

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::Api;
use kube::api::PostParams;
use node_termination_operator::cluster::agents::{AgentWatch, Agents};
use serde_json::json;
use testbed::cluster::namespace;
use tokio_util::sync::CancellationToken;

use crate::bare::bare;
use crate::scene::within;

fn daemon_set(name: &str, product: &str) -> DaemonSet {
    let labels = json!({"app.kubernetes.io/name": product, "app.kubernetes.io/component": "agent"});
    let set = json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "nodeSelector": {"none": "such"},
                    "containers": [{"name": "main", "image": "example.invalid/none"}],
                },
            },
        },
    });
    serde_json::from_value(set).unwrap()
}

#[tokio::test]
async fn another_products_agents_in_the_namespace_are_not_taken_for_ours() {
    let client = bare().await.client().await.unwrap();
    let namespace = namespace(&client, "agents").await.unwrap();
    let sets = Api::<DaemonSet>::namespaced(client.clone(), &namespace);
    let params = PostParams::default();
    let foreign = daemon_set("foreign", "some-monitoring");
    sets.create(&params, &foreign).await.unwrap();
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let watch = AgentWatch::start(client, &namespace, stop);
    let mut changes = watch.changes();
    let read = changes.wait_for(|known| *known != Agents::NotRead);
    let known = within(async { Ok(*read.await?) }).await;
    assert_eq!(known, Agents::Absent);
    let ours = daemon_set("ours", "node-termination-operator");
    sets.create(&params, &ours).await.unwrap();
    let ours = changes.wait_for(|known| matches!(known, Agents::Running { .. }));
    within(async { Ok(*ours.await?) }).await;
}
