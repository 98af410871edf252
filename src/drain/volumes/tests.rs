//! Whose volumes are waited for.

use kube::core::{Expression, Selector};
use serde_json::json;

use super::*;
use crate::api::policy::{Cordon, Drain};
use crate::drain::arrivals::Arrivals;
use crate::drain::node::NodeObject;
use crate::drain::pod::{Owner, Phase};
use crate::drain::select::tests::pod;

const DRIVER: &str = "ebs.csi.aws.com";

fn node(in_use: &[&str], attached: &[&str]) -> Node {
    let unique = |handle: &&str| format!("{CSI}{DRIVER}^{handle}");
    let in_use: Vec<String> = in_use.iter().map(unique).collect();
    let attached = attached.iter().map(unique);
    let attached = attached.map(|n| json!({"name": n, "devicePath": ""}));
    let object: NodeObject = serde_json::from_value(json!({
        "metadata": {"name": "n"},
        "status": {"volumesInUse": in_use, "volumesAttached": attached.collect::<Vec<_>>()},
    }))
    .unwrap();
    object.into()
}

fn attachment(handle: &str) -> Attachment {
    Attachment {
        name: attachment_name(DRIVER, handle, "n").into(),
        node: "n".into(),
        volume: Some(format!("pv-{handle}").into()),
    }
}

#[test]
fn an_attachment_is_named_as_kubernetes_names_it() {
    // By sha256sum, of the three words in one.
    assert_eq!(
        attachment_name(DRIVER, "vol-0123", "node-1"),
        "csi-07ecfc852da5dfbbd7b01cdb93df1864837f37ce73ed4e3cb83ccc4a0168a004"
    );
}

#[test]
fn only_csi_volumes_count() {
    let other: NodeObject = serde_json::from_value(json!({
        "metadata": {"name": "n"},
        "status": {
            "volumesInUse": ["kubernetes.io/iscsi/10.0.0.1"],
            "volumesAttached": [{"name": "kubernetes.io/fc/1", "devicePath": ""}],
        },
    }))
    .unwrap();
    assert_eq!(Node::from(other).volumes.count(), 0);
    assert_eq!(node(&["a"], &["a", "b"]).volumes.count(), 2);
    let handles = node(&["a", "b"], &[]).volumes;
    assert_eq!(handles.handles().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn what_pods_that_stay_may_hold_is_not_waited_for_unless_nobody_has_it_mounted() {
    let all: Vec<Attachment> = ["a", "b"].map(attachment).into();
    for (kept, in_use, left) in [
        (0, &["a", "b"][..], 2),
        (0, &[], 2),
        (1, &["a", "b"], 1),
        (1, &["a"], 1),
        (2, &["a", "b"], 0),
        (2, &["a"], 1),
        (3, &[], 2),
    ] {
        let node = node(in_use, &[]);
        assert_eq!(awaited(&all, &node, kept).len(), left, "{kept} {in_use:?}");
    }
    assert_eq!(awaited(&all, &node(&["a"], &[]), 1)[0].shown(), "pv-b");
}

#[test]
fn a_pod_that_stays_keeps_its_own_claims_and_shared_ones_but_for_those_of_a_daemon_set() {
    let (drain, cordon) = (Drain::default(), Cordon::default());
    let skip = Selector::from_iter([Expression::In(
        "app".into(),
        ["a", "b"].map(String::from).into(),
    )]);
    let selection = Selection {
        drain: &drain,
        cordon: &cordon,
        skip: Some(skip),
        cordoned_at: None,
        seen: &BTreeSet::new(),
        came: &Arrivals::default(),
        own_pod: None,
    };
    let shared = |pods: Vec<Pod>| -> Vec<_> { pods.into_iter().map(Arc::new).collect() };
    let claims = |name: &str| Pod {
        claims: vec!["shared".into(), "shared".into()],
        own_claims: 1,
        ..pod(name)
    };
    assert_eq!(kept(&shared(vec![claims("a"), claims("b")]), &selection), 3);
    let owner = Owner {
        kind: "DaemonSet".into(),
        name: "d".into(),
        api_version: "apps/v1".into(),
    };
    let daemon = Pod {
        owner: Some(owner),
        ..claims("d")
    };
    assert_eq!(kept(&shared(vec![daemon]), &selection), 1);
    let finished = Pod {
        phase: Phase::Succeeded,
        ..claims("f")
    };
    assert_eq!(
        kept(&shared(vec![claims("leaves"), finished]), &selection),
        0
    );
}
