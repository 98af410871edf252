//! Capacity Blocks: the warning names a reservation alone, EC2 names its instances.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use node_termination_operator::api::termination::SignalKind;
use serde_json::{Value, json};
use testbed::aws::{Fault, FaultGuard, FaultKind, events};
use testbed::cluster::instance_id;

use crate::queue::{corner_with_source, source};
use crate::scene::{Corner, is_cordoned, is_untouched, something_else_is_drained, status, world};

const DESCRIBE: &str = "DescribeInstances";
const DISCARDED: &str = "node_termination_operator_messages_discarded_total";
/// How long a message may take to be settled on a busy machine.
const SETTLED: Duration = Duration::from_mins(1);
/// From the warning to the end of the block (EC2 User Guide, "Monitor Capacity Blocks using EventBridge"),
const WARNED: SignedDuration = SignedDuration::from_mins(40);
/// and from the first termination.
const TAIL: SignedDuration = SignedDuration::from_mins(30);

/// A block that holds these nodes of a corner.
struct Block {
    reservation: String,
    end: Timestamp,
}

impl Block {
    fn of(corner: &Corner, nodes: &[usize]) -> Self {
        let nodes = nodes.iter().map(|&node| &corner.nodes[node].instance_id);
        let block = Self::empty();
        nodes.for_each(|instance| block.holds(corner, instance));
        block
    }

    fn empty() -> Self {
        let whole = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
        Self {
            reservation: instance_id().replace("i-", "cr-"),
            end: whole + WARNED,
        }
    }

    fn holds(&self, corner: &Corner, instance: &str) {
        let aws = &corner.world.aws;
        aws.reserve_instance(instance, &self.reservation);
    }

    fn warning(&self) -> String {
        let time = self.end - WARNED;
        events::block_expires(&self.reservation, self.end, time)
    }

    fn fails(&self, corner: &Corner, kind: FaultKind) -> FaultGuard {
        let fault = Fault::new(DESCRIBE, kind).on_filter(&self.reservation);
        corner.world.aws.inject(fault)
    }

    /// Waits for the node's incident, which has what the block's own time says.
    async fn await_incident(&self, corner: &Corner, node: usize) {
        let instance = &corner.nodes[node].instance_id;
        let incident = corner.await_incident(instance, |_| true).await;
        let signal = &incident.spec.signals[0];
        assert_eq!(signal.kind, SignalKind::CapacityReservation);
        let deadline = signal.deadline.as_ref().unwrap().0;
        assert_eq!(deadline, self.end - TAIL);
    }
}

async fn discarded(reason: &str) -> f64 {
    let labels = [&*format!("reason=\"{reason}\"")];
    let operator = &world().await.operator;
    operator.metric(DISCARDED, &labels).await.unwrap()
}

/// A warning about two nodes and an instance of somebody else, and what is left of it once the nodes are on their way.
async fn two_nodes_and_a_foreign_instance(name: &str, settings: Value) -> Corner {
    let corner = corner_with_source(name, 3, settings).await;
    let block = Block::of(&corner, &[0, 1]);
    block.holds(&corner, &instance_id());
    let gone = &corner.nodes[2].instance_id;
    block.holds(&corner, gone);
    corner.world.aws.end_instance(gone);
    corner.queue.send(block.warning()).unwrap();
    for node in [0, 1] {
        block.await_incident(&corner, node).await;
        corner.await_node(&corner.nodes[node], is_cordoned).await;
    }
    corner
}

#[tokio::test]
async fn the_end_of_a_block_is_an_incident_of_each_of_its_nodes_and_of_no_other() {
    let corner = two_nodes_and_a_foreign_instance("block", json!({})).await;
    something_else_is_drained().await;
    assert_eq!(corner.queue.depth().total(), 1, "for whoever has the third");
    for node in &corner.nodes[..2] {
        let incident = corner.incident(&node.instance_id).await.unwrap();
        assert_eq!(incident.spec.signals.len(), 1, "however often it came");
    }
    let other = &corner.nodes[2];
    assert!(is_untouched(&corner.await_node(other, |_| true).await));
    assert!(corner.incident(&other.instance_id).await.is_none());
}

#[tokio::test]
async fn the_warning_of_a_block_is_deleted_for_foreign_instances_if_the_policy_says_so() {
    let settings = json!({"unknownInstances": "Delete"});
    let corner = two_nodes_and_a_foreign_instance("block-delete", settings).await;
    corner.queue.await_empty(SETTLED).await.unwrap();
}

#[tokio::test]
async fn a_block_without_a_node_is_for_somebody_else_until_its_instances_end() {
    let corner = corner_with_source("block-foreign", 1, json!({})).await;
    let (foreign, empty) = (Block::empty(), Block::empty());
    foreign.holds(&corner, &instance_id());
    let warnings = [&foreign, &empty].map(Block::warning);
    corner.queue.send_batch(warnings).unwrap();
    corner
        .await_call("ChangeMessageVisibilityBatch", |c| {
            c.params["Entries"][0]["VisibilityTimeout"] == 0
        })
        .await;
    assert_eq!(corner.queue.depth().total(), 2);
    // Whoever has the node hears of it: now we do.
    empty.holds(&corner, &corner.nodes[0].instance_id);
    empty.await_incident(&corner, 0).await;

    let over = corner_with_source("block-over", 0, json!({})).await;
    let (mut foreign, mut empty) = (Block::empty(), Block::empty());
    foreign.holds(&corner, &instance_id());
    let before = discarded("Expired").await;
    for block in [&mut foreign, &mut empty] {
        block.end = Timestamp::now() + TAIL - SignedDuration::from_secs(60);
        over.queue.send(block.warning()).unwrap();
    }
    over.queue.await_empty(SETTLED).await.unwrap();
    assert!(discarded("Expired").await >= before + 2.0);
}

#[tokio::test]
async fn a_block_without_a_node_is_deleted_at_once_if_the_policy_says_so() {
    let settings = json!({"unknownInstances": "Delete"});
    let corner = corner_with_source("block-nobody", 0, settings).await;
    let before = discarded("UnknownInstance").await;
    corner.queue.send(Block::empty().warning()).unwrap();
    corner.queue.await_empty(SETTLED).await.unwrap();
    assert!(corner.calls("ChangeMessageVisibilityBatch").is_empty());
    assert!(discarded("UnknownInstance").await > before);
}

/// Under Delete: what is taken for unknown would be gone for good.
#[tokio::test]
async fn the_warning_of_a_block_comes_again_until_ec2_tells_and_the_policy_says_why() {
    let settings = json!({"unknownInstances": "Delete"});
    let corner = corner_with_source("block-denied", 1, settings).await;
    let block = Block::of(&corner, &[0]);
    let fault = block.fails(&corner, FaultKind::AccessDenied);
    corner.queue.send(block.warning()).unwrap();
    corner
        .await_policy(|p| {
            let status = p.status.as_ref();
            status.is_some_and(|s| s.sources[0].reason == "AccessDenied")
        })
        .await;
    something_else_is_drained().await;
    assert_eq!(corner.queue.depth().total(), 1);
    drop(fault);
    block.await_incident(&corner, 0).await;
    corner.await_polling().await;
    corner.queue.await_empty(SETTLED).await.unwrap();
}

#[tokio::test]
async fn a_warning_that_ec2_never_explained_is_deleted_after_its_deadline() {
    let corner = corner_with_source("block-never", 0, json!({})).await;
    let mut block = Block::empty();
    let _fault = block.fails(&corner, FaultKind::AccessDenied);
    block.end = Timestamp::now() + TAIL + SignedDuration::from_secs(8);
    corner.queue.send(block.warning()).unwrap();
    corner.queue.await_empty(SETTLED).await.unwrap();
    assert!(Timestamp::now() >= block.end - TAIL);
}

/// The call is given up after five seconds: what waits for it is not deleted earlier.
#[tokio::test]
async fn a_warning_that_waits_for_ec2_holds_up_no_message_of_its_batch() {
    let corner = corner_with_source("block-silent", 2, json!({"receivers": 1})).await;
    let block = Block::of(&corner, &[0]);
    let fault = block.fails(&corner, FaultKind::TimeOut(Duration::from_mins(1)));
    let spot = events::spot_interruption(&corner.nodes[1].instance_id, Timestamp::now());
    corner.queue.send_batch([block.warning(), spot]).unwrap();
    let waits = |c: &testbed::aws::Call| {
        c.operation == DESCRIBE && c.params.to_string().contains(&block.reservation)
    };
    let asked = corner.world.aws.await_call(SETTLED, waits).await.unwrap();
    let deleted = corner.await_call("DeleteMessageBatch", |_| true).await;
    let waited = deleted.time.duration_since(asked.time);
    assert!(waited < SignedDuration::from_secs(4), "{waited}");
    drop(fault);
    block.await_incident(&corner, 0).await;
}

#[tokio::test]
async fn of_a_block_only_the_instances_with_the_tag_are_acted_on() {
    let corner = Corner::without_policy("block-tagged", 2).await;
    let settings = json!({"managedTag": corner.name, "unknownInstances": "Delete"});
    corner.apply_policy(source(&corner, &settings)).await;
    corner.await_polling().await;
    let [managed, other] = [0, 1].map(|node| corner.nodes[node].instance_id.as_str());
    corner.world.aws.tag_instance(managed, &[&corner.name]);
    let block = Block::of(&corner, &[0, 1]);
    corner.queue.send(block.warning()).unwrap();
    block.await_incident(&corner, 0).await;
    corner.queue.await_empty(SETTLED).await.unwrap();
    assert!(corner.incident(other).await.is_none());
    let incident = corner.await_incident(managed, |i| status(i).phase.is_some());
    assert_eq!(incident.await.spec.signals.len(), 1);
}
