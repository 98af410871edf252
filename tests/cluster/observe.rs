//! Observe means observe: nothing changes anywhere, and the object tells what would have been done.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use node_termination_operator::api::Time;
use node_termination_operator::api::termination::{
    BlockReason, Outcome, Phase, Signal, SignalKind,
};
use serde_json::{Value, json};
use testbed::aws::ActionState;
use testbed::cluster::PodOptions;

use crate::budgets::keep;
use crate::scene::{Corner, is_untouched, says, something_else_is_drained, status};
use crate::waiting::hear;

/// A signal that names nothing but its kind.
fn signal(kind: SignalKind) -> Signal {
    let id = format!("{}-{:016x}", kind.as_str(), 11);
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    Signal::new(id, kind, Time(now))
}

/// Everything of the node that we could have changed.
fn content(node: &Node) -> Value {
    let metadata = &node.metadata;
    json!([
        metadata.labels,
        metadata.annotations,
        metadata.finalizers,
        node.spec
    ])
}

#[tokio::test]
async fn what_would_have_been_done_is_told_once_and_nothing_is_touched() {
    let heartbeat = json!({"heartbeat": {"intervalSeconds": 30, "untilSeconds": 600}});
    let settings = json!({"mode": "Observe", "lifecycle": heartbeat});
    let corner = Corner::new("preview", 1, settings).await;
    corner.put_hook("drain", 300);
    let node = &corner.nodes[0];
    let web = PodOptions::default().label("app", "web");
    corner.make_pods(node, 2, web).await;
    keep(&corner, "pdb", 2).await;
    corner
        .make_pods(node, 1, PodOptions::default().grace(600))
        .await;
    corner.make_pods(node, 1, PodOptions::default()).await;
    let nodes = Api::<Node>::all(corner.client.clone());
    let pods = Api::<Pod>::namespaced(corner.client.clone(), &corner.namespace);
    let versions = async || {
        let list = pods.list(&ListParams::default()).await.unwrap();
        list.iter()
            .map(|p| (p.uid(), p.resource_version()))
            .collect::<Vec<_>>()
    };
    let before = (
        content(&nodes.get(&node.name).await.unwrap()),
        versions().await,
    );
    let action = corner.scale_in(node, corner.world.aws.now()).remove(0);
    hear(&corner, node, &signal(SignalKind::AutoScalingTermination)).await;
    corner.interrupt(node);
    let incident = corner
        .await_incident(&node.instance_id, |i| {
            i.spec.signals.len() == 3
                && status(i).signals.len() == 3
                && status(i).phase == Some(Phase::Released)
        })
        .await;
    something_else_is_drained().await;
    let told = status(&incident);
    assert_eq!(told.outcome, Some(Outcome::Observed));
    let counts = told.pods.unwrap();
    assert_eq!(
        (counts.summary.as_str(), counts.total, counts.blocked),
        ("0/4", 4, 2)
    );
    assert_eq!(told.blocked.len(), 2);
    for pod in &told.blocked {
        assert_eq!(
            pod.by.as_deref(),
            Some(format!("{}/pdb", corner.namespace).as_str())
        );
        let reasons = [BlockReason::Budget, BlockReason::BudgetUnsatisfiable];
        assert!(reasons.contains(&pod.reason), "{pod:?}");
    }
    assert!(
        says(&incident, "WouldDrain", true, "Observed"),
        "{incident:?}"
    );
    let conditions = serde_json::to_string(&told.conditions).unwrap();
    let sentence = "a drain would move 4 pods, of which 2 are blocked at first and 1 have their grace period cut";
    assert!(conditions.contains(sentence), "{conditions}");
    // Nothing is touched.
    assert!(incident.finalizers().is_empty());
    let now = nodes.get(&node.name).await.unwrap();
    assert!(is_untouched(&now));
    assert_eq!((content(&now), versions().await), before);
    assert!(corner.requests(|e| e.name == node.name).is_empty());
    let writes = corner.requests(|e| e.namespace == corner.namespace);
    assert!(writes.is_empty(), "{writes:?}");
    let state = corner.world.aws.action_state(&action.token);
    assert!(
        matches!(state, Some(ActionState::Waiting { .. })),
        "{state:?}"
    );
    let asked = corner.world.aws.calls();
    let auto_scaling = asked.iter().filter(|c| {
        let params = c.params.to_string();
        c.service == "autoscaling"
            && (params.contains(&corner.name) || params.contains(&node.instance_id))
    });
    assert_eq!(auto_scaling.count(), 0);
    // It is told once: one more pod is no reason to look again.
    corner.make_pods(node, 1, PodOptions::default()).await;
    something_else_is_drained().await;
    let later = corner.incident(&node.instance_id).await.unwrap();
    assert_eq!(later.resource_version(), incident.resource_version());
}

#[tokio::test]
async fn a_recommendation_is_observed_and_the_spot_notice_that_follows_drains() {
    let corner = Corner::new("rebalance", 1, json!({})).await;
    let node = &corner.nodes[0];
    let pods = corner.make_pods(node, 2, PodOptions::default()).await;
    hear(&corner, node, &signal(SignalKind::RebalanceRecommendation)).await;
    let observed = corner.await_phase(&node.instance_id, Phase::Released).await;
    assert_eq!(status(&observed).outcome, Some(Outcome::Observed));
    assert_eq!(status(&observed).pods.unwrap().summary, "0/2");
    let nodes = Api::<Node>::all(corner.client.clone());
    assert!(is_untouched(&nodes.get(&node.name).await.unwrap()));
    corner.interrupt(node);
    corner.await_gone(&pods).await;
    let drained = corner
        .await_incident(&node.instance_id, |i| {
            let status = status(i);
            status.phase == Some(Phase::Released) && status.outcome == Some(Outcome::Drained)
        })
        .await;
    let status = status(&drained);
    assert_eq!(status.pods.unwrap().summary, "2/2");
    assert_eq!(status.reason, Some(SignalKind::SpotInterruption));
    assert!(!says(&drained, "WouldDrain", true, "Observed"));
    assert_eq!(corner.evictions().len(), 2);
}
