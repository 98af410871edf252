//! The end of an installation, in the order of `docs/install.md` and in the wrong one.

use kube::ResourceExt as _;
use testbed::aws::events;

use crate::site::Site;
use crate::text::{root, section};

/// The definitions go with everything that is in them, or hang as long as something does.
const DELETE_KINDS: &str = "kubectl delete crd terminationpolicies.nodetermination.dev nodeterminations.nodetermination.dev";

#[tokio::test]
async fn in_the_order_of_the_guide_nothing_is_left_on_nodes_and_the_kinds_go() {
    let site = Site::new().await;
    let _operator = site.operator().await;
    site.policy().await;
    site.stuck_pods().await;
    interrupt(&site).await;
    let blocks = section("docs/install.md", "Uninstall", "sh");
    let [policies, records, _helm] = &blocks[..] else {
        panic!("three blocks")
    };
    let open = site.sh(policies).await;
    assert!(open.contains("Draining"), "{open}");
    site.sh(records).await;
    site.await_given_back().await;
    site.sh(&format!("{DELETE_KINDS} --timeout=60s")).await;
}

#[tokio::test]
async fn if_the_operator_went_first_its_return_undoes_everything_and_the_kind_that_hung_goes() {
    let site = deserted().await;
    site.sh(&format!("{DELETE_KINDS} --wait=false")).await;
    let hangs = "kubectl wait --for=delete --timeout=3s nodeterminations --all";
    site.sh(&format!("! {hangs}")).await;
    site.await_cordoned().await;
    testbed::operator::install(&site.control_plane, root())
        .await
        .unwrap();
    let _operator = site.start_operator();
    site.await_given_back().await;
    let gone = "kubectl wait --for=delete --timeout=60s crd/nodeterminations.nodetermination.dev";
    site.sh(gone).await;
}

#[tokio::test]
async fn if_the_operator_never_comes_back_the_commands_of_the_guide_free_the_record_and_its_node() {
    let site = deserted().await;
    site.sh("kubectl delete nodeterminations --all --wait=false")
        .await;
    let [by_hand] = &section("docs/install.md", "If the operator went first", "sh")[..] else {
        panic!("one block")
    };
    let printed = site.sh(by_hand).await;
    assert!(printed.contains("incidents"), "{printed}");
    site.await_given_back().await;
    site.await_incident(|incident| incident.is_none()).await;
}

/// Where the operator went while a drain was under way.
async fn deserted() -> Site {
    let site = Site::new().await;
    let operator = site.operator().await;
    site.policy().await;
    site.stuck_pods().await;
    interrupt(&site).await;
    operator.kill();
    site
}

/// A spot notice whose drain stays under way.
async fn interrupt(site: &Site) {
    let notice = events::spot_interruption(&site.node.instance_id, site.aws.now());
    site.queue.send(notice).unwrap();
    site.await_incident(|incident| {
        incident.is_some_and(|i| {
            !i.finalizers().is_empty()
                && i.status
                    .as_ref()
                    .is_some_and(|s| s.pods.as_ref().is_some_and(|p| p.evicted > 0))
        })
    })
    .await;
}
