//! A Node that goes before anybody has looked at it.

use jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::PostParams;
use node_termination_operator::api::termination::{NodeTermination, Outcome, Phase};
use serde_json::json;
use testbed::cluster::delete_node;

use crate::stage::Stage;

#[tokio::test]
async fn the_lifecycle_action_of_a_node_that_went_before_the_first_pass_is_completed() {
    let stage = Stage::new(json!({})).await;
    let node = &stage.nodes[0];
    let uid = stage.node(node).await.metadata.uid.unwrap();
    // Nobody is told: the record is made here, as if its reader had been killed just after.
    let (action, noticed) = stage.begin_scale_in(node, SignedDuration::ZERO);
    delete_node(&stage.client, &node.name).await.unwrap();
    let incident: NodeTermination = serde_json::from_value(json!({
        "apiVersion": "nodetermination.dev/v1alpha1",
        "kind": "NodeTermination",
        "metadata": {"name": node.instance_id},
        "spec": {
            "nodeName": node.name,
            "nodeUID": uid,
            "instanceID": node.instance_id,
            "signals": [{
                "id": "AutoScalingTermination-0123456789abcdef",
                "kind": "AutoScalingTermination",
                "noticeTime": noticed.to_string(),
                "lifecycleHook": {
                    "autoScalingGroupName": action.group,
                    "hookName": action.hook,
                    "actionToken": action.token,
                    "transition": "autoscaling:EC2_INSTANCE_TERMINATING",
                    "region": testbed::aws::REGION,
                },
            }],
        },
    }))
    .unwrap();
    let api = Api::<NodeTermination>::all(stage.client.clone());
    api.create(&PostParams::default(), &incident).await.unwrap();
    stage.await_completed(&action).await;
    let status = stage.await_phase(node, Phase::Completed).await;
    assert_eq!(status.outcome, Some(Outcome::NodeGone));
    let took = Timestamp::now().duration_since(noticed);
    assert!(took < SignedDuration::from_mins(1), "{took:#}");
}
