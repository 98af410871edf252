//! Launches: the message is leased until the Node is Ready, and only then is the hook completed.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use node_termination_operator::api::policy::TerminationPolicy;
use serde_json::{Value, json};
use testbed::aws::{
    ActionState, EndedBy, Fault, FaultKind, LifecycleAction, LifecycleResult, events,
};
use testbed::cluster::{await_object, get_ready, instance_id, join_node, make_nodes, map};

use crate::queue::{self, corner_with_source};
use crate::scene::{Corner, TEAM, is_cordoned, something_else_is_drained, within, world};

const COMPLETE: &str = "CompleteLifecycleAction";
const HIDE: &str = "ChangeMessageVisibilityBatch";
/// How long a message may take to be settled on a busy machine.
const SETTLED: Duration = Duration::from_mins(1);

/// An instance that launches into the corner's group, and whose hook waits.
struct Launching {
    corner: Corner,
    action: LifecycleAction,
}

impl Launching {
    /// In a corner whose policy has these settings, and its queue these.
    async fn new(name: &str, settings: Value, source: Value, timeout: Duration) -> Self {
        let corner = Corner::without_policy(name, 0).await;
        let mut policy = queue::source(&corner, &source);
        let fields = settings.as_object().unwrap().clone();
        policy.as_object_mut().unwrap().extend(fields);
        corner.apply_policy(policy).await;
        corner.await_polling().await;
        corner
            .world
            .aws
            .put_launch_hook(&corner.name, "ready", timeout);
        let action = Self::launch(&corner, true);
        Self { corner, action }
    }

    /// One that is leased in steps of 30 s by now.
    async fn leased(name: &str) -> Self {
        let source = json!({"launchHooks": {"complete": true}, "receivers": 1});
        let launching = Self::new(name, json!({}), source, Duration::from_mins(10)).await;
        launching.await_lease().await;
        launching
    }

    /// One that no message tells of yet.
    async fn untold(name: &str) -> Self {
        let source = json!({"launchHooks": {"complete": true}});
        let corner = corner_with_source(name, 0, source).await;
        let minutes = Duration::from_mins(10);
        corner
            .world
            .aws
            .put_launch_hook(&corner.name, "ready", minutes);
        let action = Self::launch(&corner, false);
        Self { corner, action }
    }

    fn launch(corner: &Corner, told: bool) -> LifecycleAction {
        let aws = &corner.world.aws;
        let queue = Some(&corner.queue).filter(|_| told);
        let actions = aws.start_launch(&corner.name, &instance_id(), queue);
        actions.unwrap().remove(0)
    }

    async fn await_lease(&self) {
        self.corner.await_call(HIDE, |c| hides_for(c, 30)).await;
    }

    /// The instance joins the cluster; its node is not Ready.
    async fn join(&self) -> String {
        let name = format!("{}-new", self.corner.name);
        let labels = map(&[(TEAM, &self.corner.name)]);
        let (client, instance) = (&self.corner.client, &self.action.instance_id);
        join_node(client, &name, instance, &labels).await.unwrap();
        name
    }

    async fn get_ready(&self, node: &str) {
        get_ready(&self.corner.client, node).await.unwrap();
    }

    fn state(&self) -> ActionState {
        let aws = &self.corner.world.aws;
        aws.action_state(&self.action.token).unwrap()
    }

    fn assert_waits(&self) {
        let state = self.state();
        assert!(matches!(state, ActionState::Waiting { .. }), "{state:?}");
        assert!(self.corner.calls(COMPLETE).is_empty());
    }

    async fn await_completion(&self) {
        let aws = &self.corner.world.aws;
        let done = aws.await_action_done(&self.action.token, SETTLED);
        let ActionState::Ended { result, by, .. } = done.await.unwrap() else {
            unreachable!("it is done")
        };
        assert_eq!(
            (result, by),
            (LifecycleResult::Continue, EndedBy::Completion)
        );
        self.corner.queue.await_empty(SETTLED).await.unwrap();
    }
}

fn hides_for(call: &testbed::aws::Call, seconds: u64) -> bool {
    let entries = call.params["Entries"].as_array().into_iter().flatten();
    call.outcome.is_ok()
        && entries
            .into_iter()
            .any(|e| e["VisibilityTimeout"] == seconds)
}

async fn launches(outcome: &str) -> f64 {
    let label = format!("outcome=\"{outcome}\"");
    let operator = &world().await.operator;
    let name = "node_termination_operator_launches_total";
    operator.metric(name, &[&label]).await.unwrap()
}

#[tokio::test]
async fn a_launch_is_completed_when_its_node_is_ready_and_not_before() {
    let launching = Launching::leased("launch").await;
    // The lease of one message holds up no other, not even with a single receiver.
    let other = format!("{}-other", launching.corner.name);
    let labels = map(&[(TEAM, &launching.corner.name)]);
    let nodes = make_nodes(&launching.corner.client, &other, 1, &labels)
        .await
        .unwrap();
    launching.corner.interrupt(&nodes[0]);
    launching.corner.await_node(&nodes[0], is_cordoned).await;

    let node = launching.join().await;
    something_else_is_drained().await;
    launching.assert_waits();
    assert_eq!(launching.corner.queue.depth().total(), 1);

    let completed = launches("Completed").await;
    launching.get_ready(&node).await;
    let ready = Instant::now();
    launching.await_completion().await;
    // The next look at the lease would have come as late as 20 s after the last.
    assert!(ready.elapsed() < Duration::from_secs(10), "{ready:?}");
    let call = launching.corner.calls(COMPLETE).remove(0);
    assert_eq!(
        call.params["LifecycleActionToken"],
        launching.action.token.as_str()
    );
    assert_eq!(launching.corner.calls(COMPLETE).len(), 1);
    assert!(launches("Completed").await > completed);
    let incident = launching
        .corner
        .incident(&launching.action.instance_id)
        .await;
    assert!(incident.is_none(), "a launch is no termination");
}

#[tokio::test]
async fn the_launch_of_a_node_that_is_ready_already_is_completed_at_once() {
    let launching = Launching::untold("launch-late").await;
    let node = launching.join().await;
    launching.get_ready(&node).await;
    let told = events::launch_lifecycle(&launching.action, Timestamp::now());
    launching.corner.queue.send(told).unwrap();
    launching.await_completion().await;
}

#[tokio::test]
async fn a_launch_of_an_instance_that_never_joins_is_never_completed_and_is_let_go_with_its_policy()
{
    let launching = Launching::leased("launch-never").await;
    something_else_is_drained().await;
    launching.assert_waits();
    let policies = Api::<TerminationPolicy>::all(launching.corner.client.clone());
    let name = &launching.corner.name;
    policies
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
    launching.corner.await_call(HIDE, |c| hides_for(c, 0)).await;
    launching.assert_waits();
    assert_eq!(
        launching.corner.queue.depth().visible,
        1,
        "at once, not after 30 s"
    );
}

#[tokio::test]
async fn a_launch_whose_hook_has_ended_is_held_no_more() {
    let overdue = launches("Overdue").await;
    let source = json!({"launchHooks": {"complete": true}});
    let launching = Launching::new("launch-over", json!({}), source, Duration::from_secs(5)).await;
    launching.await_lease().await;
    launching.corner.await_call(HIDE, |c| hides_for(c, 0)).await;
    assert!(launches("Overdue").await > overdue);
    assert!(launching.corner.calls(COMPLETE).is_empty());
    // Should the node come all the same, there is nothing to complete: the message goes.
    let node = launching.join().await;
    launching.get_ready(&node).await;
    launching
        .corner
        .queue
        .await_empty(Duration::from_mins(2))
        .await
        .unwrap();
    let ended = launching.state();
    assert!(
        matches!(
            ended,
            ActionState::Ended {
                by: EndedBy::TimeOut,
                ..
            }
        ),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_completion_that_fails_is_repeated_while_the_message_is_leased() {
    let launching = Launching::leased("launch-again").await;
    let fault = Fault::new(COMPLETE, FaultKind::Throttling).times(2);
    let fault = launching
        .corner
        .world
        .aws
        .inject(fault.on_group(&launching.corner.name));
    let node = launching.join().await;
    launching.get_ready(&node).await;
    launching.await_completion().await;
    assert_eq!(fault.struck(), 2);
    assert_eq!(launching.corner.calls(COMPLETE).len(), 3);
}

#[tokio::test]
async fn a_launch_that_somebody_else_has_completed_is_only_acknowledged() {
    let over = launches("AlreadyOver").await;
    let launching = Launching::leased("launch-done").await;
    let long_ago = Timestamp::now() - SignedDuration::from_secs(30);
    let stranger = LifecycleAction {
        token: "87654321-4321-4321-4321-210987654321".to_owned(),
        ..launching.action.clone()
    };
    let told = events::launch_lifecycle(&stranger, long_ago);
    launching.corner.queue.send(told).unwrap();
    let node = launching.join().await;
    launching.get_ready(&node).await;
    launching.await_completion().await;
    assert!(launches("AlreadyOver").await > over);
}

#[tokio::test]
async fn a_launch_that_auto_scaling_tells_of_by_itself_is_completed_in_the_queues_region() {
    let launching = Launching::untold("launch-direct").await;
    let transition = "autoscaling:EC2_INSTANCE_LAUNCHING";
    let told = events::direct_notification(&launching.action, transition, Timestamp::now());
    launching.corner.queue.send(told).unwrap();
    let node = launching.join().await;
    launching.get_ready(&node).await;
    launching.await_completion().await;
    let call = launching.corner.calls(COMPLETE).remove(0);
    assert_eq!(call.region.as_deref(), Some(testbed::aws::REGION));
}

/// A Ready node changes nothing for this launch, and its message is not leased.
async fn is_left_alone(launching: &Launching) {
    let node = launching.join().await;
    launching.get_ready(&node).await;
    launching
        .corner
        .await_call(HIDE, |c| c.outcome.is_ok())
        .await;
    something_else_is_drained().await;
    launching.assert_waits();
    let calls = launching.corner.calls(HIDE);
    assert!(!calls.iter().any(|c| hides_for(c, 30)), "{calls:?}");
    assert!(launching.corner.calls("DeleteMessageBatch").is_empty());
    assert_eq!(launching.corner.queue.depth().total(), 1);
}

#[tokio::test]
async fn launches_are_left_alone_unless_they_are_asked_for_in_a_policy_that_enforces() {
    let minutes = Duration::from_mins(10);
    let asked = json!({"launchHooks": {"complete": true}});
    let others = json!({"launchHooks": {"complete": true, "autoScalingGroupNames": ["others"]}});
    let observe = json!({"mode": "Observe"});
    let cases = [
        ("launch-unasked", json!({}), json!({})),
        ("launch-group", json!({}), others),
        ("launch-observe", observe.clone(), asked.clone()),
        (
            "launch-observe-delete",
            observe,
            json!({"launchHooks": {"complete": true}, "unknownInstances": "Delete"}),
        ),
    ];
    for (name, settings, source) in cases {
        let launching = Launching::new(name, settings, source, minutes).await;
        is_left_alone(&launching).await;
    }
}

#[tokio::test]
async fn a_launch_of_another_group_is_deleted_if_unknown_instances_are() {
    let source = json!({
        "launchHooks": {"complete": true, "autoScalingGroupNames": ["others"]},
        "unknownInstances": "Delete",
    });
    let minutes = Duration::from_mins(10);
    let launching = Launching::new("launch-delete", json!({}), source, minutes).await;
    launching.corner.queue.await_empty(SETTLED).await.unwrap();
    launching.assert_waits();
}

/// The queue's policy enforces; the node has another one that only observes.
#[tokio::test]
async fn the_launch_of_a_node_whose_policy_only_observes_is_never_completed() {
    let launching = Launching::leased("launch-seen").await;
    let mut observer = launching.corner.policy(&json!({
        "mode": "Observe", "priority": 1, "sources": [{"name": "metadata", "imds": {}}],
    }));
    observer.metadata.name = Some(format!("{}-observer", launching.corner.name));
    let policies = Api::<TerminationPolicy>::all(launching.corner.client.clone());
    let created = policies
        .create(&PostParams::default(), &observer)
        .await
        .unwrap();
    let name = created.metadata.name.unwrap();
    let known = await_object(policies, &name, |p| p.is_some_and(|p| p.status.is_some()));
    within(known).await;
    let seen = launches("Observed").await;
    let node = launching.join().await;
    launching.get_ready(&node).await;
    launching.corner.await_call(HIDE, |c| hides_for(c, 0)).await;
    something_else_is_drained().await;
    launching.assert_waits();
    assert!(launches("Observed").await > seen);
    assert_eq!(launching.corner.queue.depth().total(), 1);
}

#[tokio::test]
async fn the_launch_of_a_node_that_no_policy_speaks_for_is_never_completed() {
    let launching = Launching::leased("launch-nobody").await;
    let without = launches("NoPolicy").await;
    let name = format!("{}-new", launching.corner.name);
    let (client, instance) = (&launching.corner.client, &launching.action.instance_id);
    join_node(client, &name, instance, &map(&[])).await.unwrap();
    launching.get_ready(&name).await;
    launching.corner.await_call(HIDE, |c| hides_for(c, 0)).await;
    something_else_is_drained().await;
    launching.assert_waits();
    assert!(launches("NoPolicy").await > without);
    assert_eq!(launching.corner.queue.depth().total(), 1);
}
