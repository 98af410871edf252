//! Volumes: what is attached to a drained node is waited for, within the drain's time, at no cost where there is none.
//!
//! The Node's status and the attachments are written by hand: kube-controller-manager leaves attachments alone that it has
//! not made, and there is no kubelet.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use node_termination_operator::api::termination::{NodeTermination, Outcome, Phase};
use node_termination_operator::drain::volumes::attachment_name;
use serde_json::json;
use testbed::cluster::{PodOptions, TestNode};

use crate::scene::{Corner, says, something_else_is_drained, status};

/// No such driver runs here.
const DRIVER: &str = "ebs.csi.example.com";

/// Attaches these volumes to the node, each mounted and for a persistent volume of its name.
pub async fn attach(corner: &Corner, node: &TestNode, handles: &[&str]) {
    let api = Api::<VolumeAttachment>::all(corner.client.clone());
    for handle in handles {
        let attachment = json!({
            "apiVersion": "storage.k8s.io/v1",
            "kind": "VolumeAttachment",
            "metadata": {"name": attachment_name(DRIVER, handle, &node.name)},
            "spec": {"attacher": DRIVER, "nodeName": node.name, "source": {"persistentVolumeName": handle}},
        });
        let attachment = serde_json::from_value(attachment).unwrap();
        api.create(&PostParams::default(), &attachment)
            .await
            .unwrap();
    }
    mount(corner, node, handles).await;
}

/// Lets the node's status show these volumes.
async fn mount(corner: &Corner, node: &TestNode, handles: &[&str]) {
    let unique = handles
        .iter()
        .map(|h| format!("kubernetes.io/csi/{DRIVER}^{h}"));
    let in_use: Vec<String> = unique.collect();
    let attached: Vec<_> = in_use
        .iter()
        .map(|n| json!({"name": n, "devicePath": ""}))
        .collect();
    let shown = json!({"status": {"volumesInUse": in_use, "volumesAttached": attached}});
    let api = Api::<Node>::all(corner.client.clone());
    api.patch_status(&node.name, &PatchParams::default(), &Patch::Merge(shown))
        .await
        .unwrap();
}

async fn detach(corner: &Corner, node: &TestNode, handle: &str) {
    let api = Api::<VolumeAttachment>::all(corner.client.clone());
    let name = attachment_name(DRIVER, handle, &node.name);
    api.delete(&name, &DeleteParams::default()).await.unwrap();
}

fn waits_for(incident: &NodeTermination, names: &[&str]) -> bool {
    let volumes = status(incident).volumes.unwrap_or_default();
    says(incident, "VolumesDetached", false, "Detaching") && volumes.names == names
}

#[tokio::test]
async fn the_hook_is_completed_when_the_last_volume_is_detached() {
    let corner = Corner::new("detached", 2, json!({})).await;
    let (node, other) = (&corner.nodes[0], &corner.nodes[1]);
    let names = ["detached-a", "detached-b"];
    attach(&corner, node, &names).await;
    attach(&corner, other, &["detached-c"]).await;
    let pods = corner.make_pods(node, 2, PodOptions::default()).await;
    corner.put_hook("drain", 300);
    corner.scale_in(node, Timestamp::now());
    corner.await_gone(&pods).await;
    let waits = |i: &NodeTermination| waits_for(i, &names);
    corner.await_incident(&node.instance_id, waits).await;
    // The kubelet has unmounted them, and the Node says nothing of them any more.
    mount(&corner, node, &[]).await;
    detach(&corner, node, names[0]).await;
    let last = |i: &NodeTermination| waits_for(i, &names[1..]);
    corner.await_incident(&node.instance_id, last).await;
    something_else_is_drained().await;
    assert!(corner.calls("CompleteLifecycleAction").is_empty());
    detach(&corner, node, names[1]).await;
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    assert!(says(&incident, "VolumesDetached", true, "Detached"));
    assert_eq!(status(&incident).outcome, Some(Outcome::Drained));
    corner.await_call("CompleteLifecycleAction", |_| true).await;
}

#[tokio::test]
async fn a_volume_that_stays_is_given_up_before_the_deadline_and_named() {
    let corner = Corner::new("kept", 1, json!({})).await;
    let node = &corner.nodes[0];
    attach(&corner, node, &["kept-a"]).await;
    let pods = corner.make_pods(node, 1, PodOptions::default()).await;
    // Half a minute is left of the two.
    corner.interrupt_at(node, Timestamp::now() - SignedDuration::from_secs(90));
    corner.await_gone(&pods).await;
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    assert!(says(&incident, "VolumesDetached", false, "DetachTimeout"));
    let told = status(&incident);
    assert_eq!(told.outcome, Some(Outcome::Drained));
    let volumes = told.volumes.unwrap();
    assert_eq!(
        (volumes.left, volumes.names),
        (1, vec!["kept-a".to_owned()])
    );
    assert!(volumes.ended_at.unwrap() < told.deadline.unwrap());
}

#[tokio::test]
async fn a_policy_that_does_not_wait_releases_at_once() {
    let settings = json!({"drain": {"waitForVolumeDetach": false}});
    let corner = Corner::new("hasty", 1, settings).await;
    let node = &corner.nodes[0];
    attach(&corner, node, &["hasty-a"]).await;
    corner.interrupt(node);
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    assert_eq!(status(&incident).volumes, None);
}
