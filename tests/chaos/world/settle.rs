//! After the chaos: everything that was begun comes to its end, and then the instances do.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::DeleteParams;
use node_termination_operator::api::termination::Phase;
use tokio::time::timeout;

use super::{World, cast};
use crate::history::IncidentLife;
use crate::plan::{Pool, Story};

/// The last deadline is this long after the last notice, and a drain by hand-over of budgets takes as long.
const WORK_ENDS_WITHIN: Duration = Duration::from_secs(90);
/// Then only Nodes go.
const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// Queues tell nobody that they are empty.
const LOOK: Duration = Duration::from_millis(500);

/// Waits until all work is done, ends the instances, and waits until every incident is over. What does not come in time is
/// for the checkers to find.
pub async fn settle(world: &World) {
    wait(world, WORK_ENDS_WITHIN, || is_worked_off(world)).await;
    end_instances(world).await;
    wait(world, ENDS_WITHIN, || is_over(world)).await;
}

async fn wait(world: &World, limit: Duration, reached: impl Fn() -> bool) {
    let mut changes = world.observer.changes();
    let waited = async {
        while !reached() {
            let _ = timeout(LOOK, changes.changed()).await;
        }
    };
    let _ = timeout(limit, waited).await;
}

/// Nothing is to be done any more but to wait for the instances.
fn is_worked_off(world: &World) -> bool {
    if !world.is_heard() {
        return false;
    }
    let seen = world.observer.seen();
    seen.incidents.values().all(|incident| {
        let rests = incident.is_over() || incident.phase() == Some(Phase::Released);
        let ends_itself = world.story(incident).is_some_and(|(pool, story)| {
            let expires = story == Story::Rebalance && pool == Pool::Respect;
            expires || story == Story::CanceledReboot
        });
        rests && (!ends_itself || incident.is_over())
    })
}

fn is_over(world: &World) -> bool {
    let seen = world.observer.seen();
    let over = seen.incidents.values().all(IncidentLife::is_over);
    drop(seen);
    over && world.is_heard()
}

/// The instances with an open incident are rebooted, or gone, and then the cloud controller deletes their Nodes.
async fn end_instances(world: &World) {
    let open: Vec<String> = {
        let seen = world.observer.seen();
        let open = seen.incidents.values().filter(|i| !i.is_over());
        open.map(|i| i.node_uid.clone()).collect()
    };
    let api = Api::<Node>::all(world.client.clone());
    for (node, plan) in world.nodes.iter().zip(&world.plan.nodes) {
        if !open.contains(&node.uid) || world.is_gone(&node.uid) {
            continue;
        }
        if plan.story == Story::Reboot && plan.pool.acts() {
            cast::boot(&world.client, &node.name, "second").await;
        } else {
            // Somebody may have been faster.
            let _ = api.delete(&node.name, &DeleteParams::default()).await;
        }
    }
}

impl World {
    fn story(&self, incident: &IncidentLife) -> Option<(Pool, Story)> {
        let node = self.nodes.iter().position(|n| n.uid == incident.node_uid)?;
        let plan = &self.plan.nodes[node];
        Some((plan.pool, plan.story))
    }

    pub(super) fn is_gone(&self, uid: &str) -> bool {
        let seen = self.observer.seen();
        seen.nodes.get(uid).is_some_and(|n| n.gone.is_some())
    }

    /// No message is left but about instances that have no Node any more.
    fn is_heard(&self) -> bool {
        let nodes = |id: &str| self.nodes.iter().find(|n| n.instance_id == id);
        let gone = |id: &str| nodes(id).is_some_and(|n| self.is_gone(&n.uid));
        self.left().iter().all(|(id, _)| gone(id))
    }

    /// The messages that are left, by instance.
    pub(super) fn left(&self) -> Vec<(String, String)> {
        let bodies = self.queues.iter().flat_map(|q| q.bodies());
        let named = bodies.map(|body| {
            let node = self.nodes.iter().find(|n| body.contains(&n.instance_id));
            (
                node.map(|n| n.instance_id.clone()).unwrap_or_default(),
                body,
            )
        });
        named.collect()
    }
}
