//! Queues that are shared, and messages that tell of more than one instance.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::PostParams;
use node_termination_operator::api::policy::TerminationPolicy;
use node_termination_operator::api::termination::{Phase, SignalKind};
use serde_json::{Value, json};
use testbed::aws::events::ScheduledChange;
use testbed::aws::{ActionState, EndedBy, LifecycleResult, REGION, events};
use testbed::cluster::{instance_id, join_node, make_nodes, map};

use crate::queue::{corner_with_source, source};
use crate::scene::{Corner, TEAM, is_cordoned, something_else_is_drained, status, world};

const HIDE: &str = "ChangeMessageVisibilityBatch";
/// How long a message may take to be settled on a busy machine.
const SETTLED: Duration = Duration::from_mins(1);

fn has_condition(policy: &TerminationPolicy, kind: &str) -> bool {
    let conditions = policy.status.iter().flat_map(|s| &s.conditions);
    conditions
        .into_iter()
        .any(|c| c.type_ == kind && c.status == "True")
}

async fn create(policy: &TerminationPolicy, corner: &Corner) {
    let policies = Api::<TerminationPolicy>::all(corner.client.clone());
    policies
        .create(&PostParams::default(), policy)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_message_about_three_instances_becomes_three_incidents() {
    let corner = Corner::new("three", 3, json!({"maintenance": {"leadSeconds": 7200}})).await;
    let ids: Vec<&str> = corner
        .nodes
        .iter()
        .map(|n| n.instance_id.as_str())
        .collect();
    let soon = Timestamp::now() + Duration::from_hours(1);
    let told = ScheduledChange::reboot(&ids, soon).event("upcoming", Timestamp::now());
    corner.queue.send(told).unwrap();
    corner.queue.await_empty(SETTLED).await.unwrap();
    for id in ids {
        let incident = corner
            .incident(id)
            .await
            .expect("recorded before it is acknowledged");
        assert_eq!(
            incident.spec.signals[0].kind,
            SignalKind::ScheduledMaintenance
        );
    }
}

/// The foreign one may be a node of another cluster, which is to hear of it.
#[tokio::test]
async fn a_message_that_is_about_a_foreign_instance_too_is_recorded_and_left_until_that_is_known() {
    let corner = Corner::new("two-of-three", 2, json!({})).await;
    let foreign = instance_id();
    let [first, second] = [0, 1].map(|n| corner.nodes[n].instance_id.as_str());
    let soon = Timestamp::now() + Duration::from_hours(1);
    let told = ScheduledChange::reboot(&[first, &foreign, second], soon)
        .event("upcoming", Timestamp::now());
    corner.queue.send(told).unwrap();
    for id in [first, second] {
        corner.await_incident(id, |_| true).await;
    }
    corner.await_call(HIDE, |c| c.outcome.is_ok()).await;
    something_else_is_drained().await;
    assert_eq!(corner.queue.depth().total(), 1);
    assert!(corner.incident(&foreign).await.is_none());
    let labels = map(&[(TEAM, &corner.name)]);
    let name = format!("{}-third", corner.name);
    join_node(&corner.client, &name, &foreign, &labels)
        .await
        .unwrap();
    corner.await_incident(&foreign, |_| true).await;
    corner.queue.await_empty(SETTLED).await.unwrap();
    for id in [first, second] {
        assert_eq!(corner.incident(id).await.unwrap().spec.signals.len(), 1);
    }
}

#[tokio::test]
async fn the_policies_that_share_a_queue_each_act_on_their_own_nodes() {
    let corner = Corner::new("together", 1, json!({})).await;
    let other = format!("{}-other", corner.name);
    let nodes = make_nodes(&corner.client, &other, 1, &map(&[(TEAM, &other)])).await;
    let cordons = json!({"actions": {"spotInterruption": "Cordon"},
        "nodeSelector": {"matchLabels": {TEAM: other}}});
    let mut policy = corner.policy(&cordons);
    policy.metadata.name = Some(other.clone());
    create(&policy, &corner).await;
    let nodes = nodes.unwrap();
    for (node, name) in [(&corner.nodes[0], &corner.name), (&nodes[0], &other)] {
        corner.interrupt(node);
        let incident = corner.await_incident(&node.instance_id, |i| status(i).policy.is_some());
        assert_eq!(status(&incident.await).policy.unwrap().name, *name);
        corner.await_node(node, is_cordoned).await;
    }
    corner.queue.await_empty(SETTLED).await.unwrap();
}

#[tokio::test]
async fn several_queues_of_a_policy_one_of_another_account_work_side_by_side() {
    let corner = Corner::without_policy("queues", 2).await;
    let aws = &corner.world.aws;
    let abroad = aws
        .create_queue(&format!("{}-abroad", corner.name))
        .unwrap();
    let role = format!("arn:aws:iam::210987654321:role/{}", corner.name);
    aws.demand_external_id(&role, "secret");
    let sources = json!({"sources": [
        {"name": "home", "sqs": {"queueURL": corner.queue.url(), "region": REGION}},
        {"name": "abroad", "sqs": {"queueURL": abroad.url(), "region": "us-east-2", "roleARN": role, "externalID": "secret"}},
    ]});
    corner.apply_policy(sources).await;
    corner
        .await_policy(|p| p.status.as_ref().is_some_and(|s| s.ready_sources == "2/2"))
        .await;
    corner.put_hook("drain", 600);
    let now = Timestamp::now();
    let mut actions = Vec::new();
    for (node, queue) in corner.nodes.iter().zip([&corner.queue, &abroad]) {
        let group = &corner.name;
        actions.extend(
            aws.start_termination(group, &node.instance_id, None)
                .unwrap(),
        );
        let action = actions.last().unwrap();
        let transition = "autoscaling:EC2_INSTANCE_TERMINATING";
        queue
            .send(events::direct_notification(action, transition, now))
            .unwrap();
    }
    for action in &actions {
        let done = aws.await_action_done(&action.token, SETTLED).await.unwrap();
        let ActionState::Ended { result, by, .. } = done else {
            unreachable!("it is done")
        };
        assert_eq!(
            (result, by),
            (LifecycleResult::Continue, EndedBy::Completion)
        );
    }
    for (node, (region, role)) in corner
        .nodes
        .iter()
        .zip([(REGION, None), ("us-east-2", Some(role))])
    {
        let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
        let calls = corner.calls("CompleteLifecycleAction");
        let of = |c: &&testbed::aws::Call| c.params["InstanceId"] == node.instance_id.as_str();
        let call = calls.iter().find(of).unwrap();
        // The notification names no region: the queue's is taken.
        assert_eq!(
            (call.region.as_deref(), &call.role_arn),
            (Some(region), &role)
        );
        let hook = incident.spec.signals[0].lifecycle_hook.clone().unwrap();
        assert_eq!((hook.region.as_str(), hook.role_arn), (region, role));
    }
    for queue in [&corner.queue, &abroad] {
        queue.await_empty(SETTLED).await.unwrap();
    }
}

#[tokio::test]
async fn a_foreign_instance_in_a_shared_queue_is_neither_completed_nor_its_message_deleted() {
    let source = json!({"launchHooks": {"complete": true, "autoScalingGroupNames": ["ours"]}});
    let corner = corner_with_source("neighbour", 1, source).await;
    corner.put_hook("drain", 600);
    corner
        .world
        .aws
        .put_launch_hook(&corner.name, "ready", SETTLED * 10);
    let aws = &corner.world.aws;
    let queue = Some(&corner.queue);
    let mut actions = aws
        .start_termination(&corner.name, &instance_id(), queue)
        .unwrap();
    actions.extend(
        aws.start_launch(&corner.name, &instance_id(), queue)
            .unwrap(),
    );
    let notice = events::spot_interruption(&instance_id(), Timestamp::now());
    corner.queue.send(notice).unwrap();
    corner.await_call(HIDE, |c| c.outcome.is_ok()).await;
    corner.interrupt(&corner.nodes[0]);
    corner.await_node(&corner.nodes[0], is_cordoned).await;
    something_else_is_drained().await;
    assert_eq!(corner.queue.depth().total(), 3);
    for action in actions {
        let state = aws.action_state(&action.token);
        assert!(
            matches!(state, Some(ActionState::Waiting { .. })),
            "{state:?}"
        );
    }
    assert!(corner.calls("CompleteLifecycleAction").is_empty());
}

#[tokio::test]
async fn bad_messages_for_a_long_time_are_counted_and_end_nothing() {
    let corner = corner_with_source("bad", 1, json!({})).await;
    let malformed = async || {
        let name = "node_termination_operator_messages_discarded_total";
        let operator = &world().await.operator;
        operator
            .metric(name, &["reason=\"Malformed\""])
            .await
            .unwrap()
    };
    let before = malformed().await;
    let bodies = [
        "",
        "{}",
        "[]",
        "null",
        "\u{0}",
        "{\"source\":\"aws.ec2\"}",
        "not json",
        "{\"source\":\"aws.elsewhere\",\"detail-type\":\"x\"}",
        "{\"source\":\"aws.ec2\",\"detail-type\":\"EC2 Spot Instance Interruption Warning\",\"detail\":7}",
    ];
    let deep = "[".repeat(100_000);
    let bodies = bodies.into_iter().chain([deep.as_str()]).cycle().take(200);
    corner.queue.send_batch(bodies.map(str::to_owned)).unwrap();
    // Each is received five times, five seconds apart.
    corner
        .queue
        .await_empty(Duration::from_mins(2))
        .await
        .unwrap();
    assert!(malformed().await >= before + 200.0);
    corner.world.operator.process().check().unwrap();
    corner.interrupt(&corner.nodes[0]);
    corner.await_node(&corner.nodes[0], is_cordoned).await;
}

#[tokio::test]
async fn a_policy_that_only_observes_says_that_it_takes_messages_from_its_queue() {
    let consumes = "ObserveConsumesMessages";
    let corner = Corner::new("taking", 1, json!({"mode": "Observe"})).await;
    corner.await_policy(|p| has_condition(p, consumes)).await;
    corner.put_hook("drain", 600);
    let action = corner
        .scale_in(&corner.nodes[0], Timestamp::now())
        .remove(0);
    corner.queue.await_empty(SETTLED).await.unwrap();
    corner
        .await_phase(&corner.nodes[0].instance_id, Phase::Released)
        .await;
    let state = corner.world.aws.action_state(&action.token);
    assert!(
        matches!(state, Some(ActionState::Waiting { .. })),
        "{state:?}"
    );
    let nodes = Api::<Node>::all(corner.client.clone());
    assert!(!is_cordoned(
        &nodes.get(&corner.nodes[0].name).await.unwrap()
    ));

    let metadata: Value = json!([{"name": "metadata", "imds": {}}]);
    for spec in [json!({"sources": metadata}), json!({"mode": "Enforce"})] {
        corner.change_policy(json!({"mode": "Observe"})).await;
        corner.change_policy(source(&corner, &json!({}))).await;
        corner.await_policy(|p| has_condition(p, consumes)).await;
        corner.change_policy(spec).await;
        corner.await_policy(|p| !has_condition(p, consumes)).await;
    }
}
