//! Recording: what becomes of a signal, by what the API server answers.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use node_termination_operator::api::termination::{
    NodeTermination, NodeTerminationStatus, Phase, Signal, SignalKind,
};
use node_termination_operator::cluster::record::{self, Answer, Identity};
use node_termination_operator::cluster::status::report;
use node_termination_operator::event::identity::{field_manager, object_names};
use serde_json::{Value, json};
use testbed::ControlPlane;
use testbed::aws::{LifecycleAction, events};
use testbed::cluster::{TestNode, delete_node};
use testbed::operator::USER;

use crate::bare::{bare, spot, spots};
use crate::scene::{Corner, status, within};

/// A finalizer that keeps a deleted object.
const KEPT: &str = "test.example.com/kept";
/// A message is settled in milliseconds, or given back a few times first.
const SETTLED: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_notice_that_comes_again_changes_nothing_and_costs_one_request() {
    let corner = open("twice").await;
    let before = corner.incident(1).await.unwrap();
    corner.send(corner.noticed()).await;
    let after = corner.incident(1).await.unwrap();
    assert_eq!(after.resource_version(), before.resource_version());
    assert!(corner.incident(2).await.is_none());
    let asked = requests(&corner.world().control_plane, &corner.name(1)).await;
    let operator: Vec<_> = asked.iter().filter(|(user, _)| user == USER).collect();
    assert!(
        operator.iter().all(|(_, verb)| verb == "patch") && operator.len() == 2,
        "one apply per delivery: {asked:?}"
    );
}

#[tokio::test]
async fn another_kind_of_signal_merges_into_the_open_incident() {
    let corner = open("merge").await;
    corner.send(corner.hook(Timestamp::now())).await;
    let merged = corner
        .corner
        .await_incident(&corner.name(1), |i| status(i).signals.len() == 2)
        .await;
    let kinds: BTreeSet<_> = merged.spec.signals.iter().map(|s| s.kind).collect();
    let both = [
        SignalKind::SpotInterruption,
        SignalKind::AutoScalingTermination,
    ];
    assert_eq!(kinds, both.into());
    assert_eq!(status(&merged).reason, Some(SignalKind::SpotInterruption));
    assert!(corner.incident(2).await.is_none());
    assert!(merged.finalizers().is_empty(), "a recorder adds none");
}

#[tokio::test]
async fn a_message_for_an_incident_that_is_being_deleted_waits_and_is_recorded_afresh() {
    let corner = open("dying").await;
    let api = corner.api();
    corner
        .patch(json!({"metadata": {"finalizers": [KEPT]}}))
        .await;
    let name = corner.name(1);
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    let dying = corner.corner.await_phase(&name, Phase::Canceled).await;
    corner.notify(corner.noticed());
    let queue = corner.corner.queue.name().to_owned();
    let aws = &corner.world().aws;
    let given_back = aws.await_call(SETTLED, |call| {
        let url = call.params["QueueUrl"].as_str().unwrap_or_default();
        call.operation == "ChangeMessageVisibilityBatch" && url.ends_with(&queue)
    });
    within(given_back).await;
    assert_eq!(corner.corner.queue.depth().total(), 1, "not acknowledged");
    assert!(corner.incident(2).await.is_none());
    corner
        .patch(json!({"metadata": {"finalizers": null}}))
        .await;
    let fresh = corner
        .corner
        .await_incident(&name, |i| {
            i.uid() != dying.uid() && status(i).phase == Some(Phase::Released)
        })
        .await;
    assert_eq!(fresh.spec.signals, dying.spec.signals);
    within(corner.corner.queue.await_empty(SETTLED)).await;
}

#[tokio::test]
async fn a_straggler_of_an_incident_that_is_over_is_acknowledged_without_a_record() {
    let corner = over("straggler").await;
    let before = corner.incident(1).await.unwrap();
    let completed = status(&before).completed_at.unwrap().0;
    for age in [600, 1, 0] {
        corner
            .send(completed - SignedDuration::from_secs(age))
            .await;
    }
    let after = corner.incident(1).await.unwrap();
    assert_eq!(after.resource_version(), before.resource_version());
    assert!(corner.incident(2).await.is_none());
}

#[tokio::test]
async fn a_newer_notice_after_an_incident_that_is_over_opens_the_next() {
    let corner = over("newer").await;
    let completed = status(&corner.incident(1).await.unwrap())
        .completed_at
        .unwrap();
    let notice = completed.0 + SignedDuration::from_secs(1);
    corner.send(notice).await;
    let next = corner
        .corner
        .await_phase(&corner.name(2), Phase::Released)
        .await;
    assert_eq!(
        next.spec.signals,
        [spot(&corner.node().instance_id, notice)]
    );
    assert_eq!(next.node_uid(), Some(corner.node().uid.as_str()));
    corner.send(notice + SignedDuration::from_secs(1)).await;
    assert_eq!(corner.incident(2).await.unwrap().spec.signals.len(), 2);
    assert!(corner.incident(3).await.is_none());
}

#[tokio::test]
async fn a_lifecycle_action_is_never_a_straggler() {
    let corner = over("late-hook").await;
    let long_ago = Timestamp::now() - SignedDuration::from_secs(600);
    corner.send(corner.hook(long_ago)).await;
    let next = corner.incident(2).await.unwrap();
    assert!(next.spec.signals[0].lifecycle_hook.is_some());
    assert_eq!(corner.incident(1).await.unwrap().spec.signals.len(), 1);
}

#[tokio::test]
async fn squatted_names_do_not_keep_a_notice_from_being_recorded() {
    for (prefix, names, signals) in [("squat", 1, 1), ("squat-full", 1, 32), ("squat-all", 10, 1)] {
        let corner = quiet(prefix).await;
        let mut squatter = object(
            &Identity {
                node_uid: "another-machine".to_owned(),
                ..corner.identity()
            },
            &spots(&corner.node().instance_id, signals),
        );
        let node = corner.node();
        let mut free = object_names(&node.instance_id, &node.uid);
        for name in free.by_ref().take(names) {
            squatter.metadata.name = Some(name);
            corner
                .api()
                .create(&PostParams::default(), &squatter)
                .await
                .unwrap();
        }
        corner.send(corner.noticed()).await;
        let ours = corner.api().get(&free.next().unwrap()).await.expect(prefix);
        assert_eq!(ours.node_uid(), Some(corner.node().uid.as_str()));
        assert_eq!(
            ours.spec.signals,
            [spot(&corner.node().instance_id, corner.noticed())]
        );
        assert_eq!(corner.incident(1).await.unwrap().spec, squatter.spec);
    }
}

#[tokio::test]
async fn a_full_incident_counts_further_notices_and_numbers_a_lifecycle_action() {
    let corner = full("full").await;
    let truncated = || async {
        let labels = ["SpotInterruption", "SignalsTruncated"];
        let operator = &corner.world().operator;
        let name = "node_termination_operator_signals_total";
        operator.metric(name, &labels).await.unwrap()
    };
    let before = truncated().await;
    corner.send(Timestamp::now()).await;
    assert!((truncated().await - before - 1.0).abs() < 0.5);
    assert_eq!(corner.incident(1).await.unwrap().spec.signals.len(), 32);
    assert!(corner.incident(2).await.is_none());
    corner.send(corner.hook(Timestamp::now())).await;
    let next = corner.incident(2).await.unwrap();
    assert!(next.spec.signals[0].lifecycle_hook.is_some());
}

#[tokio::test]
async fn a_newer_notice_after_a_full_incident_that_is_over_opens_the_next() {
    let corner = full("full-over").await;
    let completed = corner.cancel().await;
    corner.send(completed - SignedDuration::from_secs(1)).await;
    assert!(corner.incident(2).await.is_none());
    corner.send(completed + SignedDuration::from_secs(1)).await;
    assert!(corner.incident(2).await.is_some());
}

/// Signals are applied one after the other while the Node goes: wherever the end of the incident falls among them, its
/// record tells of every signal that was taken.
#[tokio::test]
async fn the_report_that_closes_an_incident_overlooks_no_signal_that_was_taken() {
    let corner = Corner::new("race", 6, json!({"mode": "Observe"})).await;
    let races = corner.nodes.iter().map(|node| race(&corner, node));
    futures::future::join_all(races).await;
}

async fn race(corner: &Corner, node: &TestNode) {
    let name = &node.instance_id;
    corner.interrupt(node);
    corner.await_phase(name, Phase::Released).await;
    let identity = identity_of(node);
    let signals = spots(name, 31);
    let apply = async {
        let mut taken = 1;
        for signal in &signals {
            match apply(&corner.client, name, &identity, signal).await {
                Answer::Recorded(_) => taken += 1,
                Answer::Finished => break,
                other => panic!("{other:?}"),
            }
        }
        taken
    };
    let (taken, gone) = tokio::join!(apply, delete_node(&corner.client, &node.name));
    gone.unwrap();
    let over = corner.await_phase(name, Phase::Completed).await;
    let told = status(&over).signals.len();
    assert_eq!((over.spec.signals.len(), told), (taken, taken));
}

#[tokio::test]
async fn the_report_that_closes_an_incident_is_refused_if_a_signal_slipped_in() {
    let client = bare().await.client().await.unwrap();
    let identity = identity("i-00000000000000001");
    let name = &identity.instance_id;
    let signals = spots(name, 3);
    apply(&client, name, &identity, &signals[0]).await;
    let api = Api::<NodeTermination>::all(client.clone());
    let seen = api.get(name).await.unwrap();
    apply(&client, name, &identity, &signals[1]).await;
    let over = NodeTerminationStatus {
        phase: Some(Phase::Completed),
        ..NodeTerminationStatus::default()
    };
    let refused = report(&client, &seen, &over, true).await.unwrap_err();
    assert!(refused.is_conflict(), "{refused}");
    let stored = api.get(name).await.unwrap().status;
    assert_eq!(stored.and_then(|s| s.phase), None);
    let draining = NodeTerminationStatus {
        phase: Some(Phase::Draining),
        ..over.clone()
    };
    report(&client, &seen, &draining, false).await.unwrap();
    let seen = api.get(name).await.unwrap();
    report(&client, &seen, &over, true).await.unwrap();
    let answer = apply(&client, name, &identity, &signals[2]).await;
    assert!(matches!(answer, Answer::Finished), "{answer:?}");
}

#[tokio::test]
async fn each_signal_is_one_request_under_a_field_manager_of_its_own() {
    let control_plane = bare().await;
    let client = control_plane.client().await.unwrap();
    let identity = identity("i-00000000000000002");
    let name = &identity.instance_id;
    let signals = spots(name, 2);
    let api = Api::<NodeTermination>::all(client.clone());
    let mut versions = Vec::new();
    for signal in [&signals[0], &signals[1], &signals[0]] {
        let answer = apply(&client, name, &identity, signal).await;
        assert!(matches!(answer, Answer::Recorded(_)), "{answer:?}");
        let metadata = api.get_metadata(name).await.unwrap();
        versions.push(metadata.resource_version());
    }
    assert!(
        versions[0] != versions[1] && versions[1] == versions[2],
        "{versions:?}"
    );
    let stored = api.get(name).await.unwrap();
    assert_eq!(stored.spec.signals, signals);
    for (managed, signal) in stored.managed_fields().iter().zip(&signals) {
        assert_eq!(managed.manager, Some(field_manager(&signal.id)));
        assert_eq!(managed.operation.as_deref(), Some("Apply"));
        let fields = serde_json::to_string(&managed.fields_v1).unwrap();
        let owned = |s: &Signal| fields.contains(&s.id);
        assert_eq!(
            signals.iter().filter(|s| owned(s)).collect::<Vec<_>>(),
            [signal]
        );
    }
    assert_eq!(stored.managed_fields().len(), 2);
    let asked = requests(control_plane, name).await;
    let patches = asked.iter().filter(|(_, verb)| verb == "patch").count();
    assert_eq!(patches, 3, "{asked:?}");
    assert!(
        asked
            .iter()
            .all(|(_, verb)| verb == "patch" || verb == "get")
    );
}

/// An object that is full, or that holds the signal with another role, hides from the API server's answer what else
/// is the matter with it.
#[tokio::test]
async fn an_answer_tells_what_the_object_is_whatever_else_is_the_matter_with_it() {
    let client = bare().await.client().await.unwrap();
    let api = Api::<NodeTermination>::all(client.clone());
    let free = json!({});
    let over = json!({"status": {"phase": "Failed"}});
    let kept = json!({"metadata": {"finalizers": [KEPT]}});
    for (number, (signals, state, deleted, uid, answered)) in [
        (1, &free, false, "uid", "Recorded"),
        (1, &free, false, "other", "OtherIdentity"),
        (1, &over, false, "uid", "Finished"),
        (1, &over, false, "other", "OtherIdentity"),
        (1, &kept, true, "uid", "Dying"),
        (32, &free, false, "uid", "Full"),
        (32, &free, false, "other", "OtherIdentity"),
        (32, &over, false, "uid", "Finished"),
        (32, &over, false, "other", "OtherIdentity"),
        (32, &kept, true, "uid", "Dying"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut identity = identity(&format!("i-1000000000000000{number}"));
        let name = identity.instance_id.clone();
        let stored = object(&identity, &spots(&name, signals));
        api.create(&PostParams::default(), &stored).await.unwrap();
        let (params, patch) = (PatchParams::default(), Patch::Merge(state));
        api.patch(&name, &params, &patch).await.unwrap();
        api.patch_status(&name, &params, &patch).await.unwrap();
        if deleted {
            api.delete(&name, &DeleteParams::default()).await.unwrap();
        }
        identity.node_uid = uid.to_owned();
        let answer = apply(&client, &name, &identity, &spot(&name, Timestamp::now())).await;
        let answer = format!("{answer:?}");
        assert!(
            answer.starts_with(answered),
            "{signals} {state} {uid}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_signal_that_is_there_with_another_role_is_recorded_unless_the_object_is_dying() {
    let client = bare().await.client().await.unwrap();
    let api = Api::<NodeTermination>::all(client.clone());
    let identity = identity("i-00000000000000003");
    let name = &identity.instance_id;
    let mut signal = spots(name, 1).remove(0);
    signal.lifecycle_hook = Some(serde_json::from_value(json!({
        "autoScalingGroupName": "group", "hookName": "hook", "actionToken": "token", "transition": "", "region": "eu-west-1",
    })).unwrap());
    apply(&client, name, &identity, &signal).await;
    let first = api.get(name).await.unwrap();
    let role = Some("arn:aws:iam::123456789012:role/nodes".to_owned());
    signal.lifecycle_hook.as_mut().unwrap().role_arn = role;
    let answer = apply(&client, name, &identity, &signal).await;
    assert!(matches!(answer, Answer::Recorded(_)), "{answer:?}");
    assert_eq!(api.get(name).await.unwrap().spec, first.spec);
    let kept = Patch::Merge(json!({"metadata": {"finalizers": [KEPT]}}));
    api.patch(name, &PatchParams::default(), &kept)
        .await
        .unwrap();
    api.delete(name, &DeleteParams::default()).await.unwrap();
    let answer = apply(&client, name, &identity, &signal).await;
    assert!(matches!(answer, Answer::Dying), "{answer:?}");
}

#[tokio::test]
async fn a_signal_that_breaks_the_schema_is_said_to_be_invalid_and_why() {
    let client = bare().await.client().await.unwrap();
    let identity = identity("i-00000000000000004");
    let mut signal = spots(&identity.instance_id, 1).remove(0);
    signal.id = "Spot".to_owned();
    match apply(&client, &identity.instance_id, &identity, &signal).await {
        Answer::Invalid(why) => assert!(why.contains("spec.signals[0].id"), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// A corner of one node whose incidents are only observed, so that nothing but recording happens to them.
struct Observed {
    corner: Corner,
    noticed: Timestamp,
}

async fn quiet(prefix: &str) -> Observed {
    Observed {
        corner: Corner::new(prefix, 1, json!({"mode": "Observe"})).await,
        // Long enough ago that nothing else happens in that second.
        noticed: Timestamp::from_second(Timestamp::now().as_second() - 30).unwrap(),
    }
}

/// One with an open incident of one notice.
async fn open(prefix: &str) -> Observed {
    let observed = quiet(prefix).await;
    observed.send(observed.noticed()).await;
    observed
        .corner
        .await_phase(&observed.name(1), Phase::Released)
        .await;
    observed
}

/// One with an incident that is over, its node still there.
async fn over(prefix: &str) -> Observed {
    let observed = open(prefix).await;
    observed.cancel().await;
    observed
}

/// One whose incident holds all the signals that it may.
async fn full(prefix: &str) -> Observed {
    let observed = open(prefix).await;
    let name = observed.name(1);
    for signal in spots(&observed.node().instance_id, 31) {
        let answer = apply(
            &observed.corner.client,
            &name,
            &observed.identity(),
            &signal,
        )
        .await;
        assert!(matches!(answer, Answer::Recorded(_)), "{answer:?}");
    }
    observed
}

/// What is sent to the queue.
enum Message {
    Spot(Timestamp),
    Hook(String),
}

impl From<Timestamp> for Message {
    fn from(notice: Timestamp) -> Self {
        Self::Spot(notice)
    }
}

impl Observed {
    fn world(&self) -> &'static crate::scene::World {
        self.corner.world
    }

    fn node(&self) -> &TestNode {
        &self.corner.nodes[0]
    }

    fn identity(&self) -> Identity {
        identity_of(self.node())
    }

    /// When the first notice was given.
    fn noticed(&self) -> Timestamp {
        self.noticed
    }

    fn api(&self) -> Api<NodeTermination> {
        Api::all(self.corner.client.clone())
    }

    /// The name of the incident with that number.
    fn name(&self, number: u32) -> String {
        let instance = &self.node().instance_id;
        node_termination_operator::event::identity::object_name(instance, number)
    }

    async fn incident(&self, number: u32) -> Option<NodeTermination> {
        self.api().get_opt(&self.name(number)).await.unwrap()
    }

    /// The message of a lifecycle action that began then.
    fn hook(&self, time: Timestamp) -> Message {
        let action = LifecycleAction {
            group: self.corner.name.clone(),
            hook: "drain".to_owned(),
            instance_id: self.node().instance_id.clone(),
            token: "87654321-4321-4321-4321-210987654321".to_owned(),
        };
        Message::Hook(events::terminate_lifecycle(&action, time))
    }

    fn notify(&self, message: impl Into<Message>) {
        match message.into() {
            Message::Spot(notice) => self.corner.interrupt_at(self.node(), notice),
            Message::Hook(body) => drop(self.corner.queue.send(body).unwrap()),
        }
    }

    /// Sends a message and waits until it is acknowledged.
    async fn send(&self, message: impl Into<Message>) {
        self.notify(message);
        within(self.corner.queue.await_empty(SETTLED)).await;
    }

    async fn patch(&self, body: Value) {
        self.api()
            .patch(&self.name(1), &PatchParams::default(), &Patch::Merge(body))
            .await
            .unwrap();
    }

    /// Cancels the incident and says when it was over.
    async fn cancel(&self) -> Timestamp {
        self.patch(json!({"spec": {"cancel": true}})).await;
        let over = self
            .corner
            .await_phase(&self.name(1), Phase::Canceled)
            .await;
        status(&over).completed_at.unwrap().0
    }
}

fn identity_of(node: &TestNode) -> Identity {
    Identity {
        node_name: node.name.clone(),
        node_uid: node.uid.clone(),
        instance_id: node.instance_id.clone(),
    }
}

fn identity(instance_id: &str) -> Identity {
    Identity {
        node_name: "node".to_owned(),
        node_uid: "uid".to_owned(),
        instance_id: instance_id.to_owned(),
    }
}

fn object(identity: &Identity, signals: &[Signal]) -> NodeTermination {
    let object = json!({
        "apiVersion": "nodetermination.dev/v1alpha1",
        "kind": "NodeTermination",
        "metadata": {"name": identity.instance_id},
        "spec": {
            "nodeName": identity.node_name,
            "nodeUID": identity.node_uid,
            "instanceID": identity.instance_id,
            "signals": signals,
        },
    });
    serde_json::from_value(object).unwrap()
}

async fn apply(client: &Client, name: &str, identity: &Identity, signal: &Signal) -> Answer {
    record::apply(client, name, &field_manager(&signal.id), identity, signal)
        .await
        .unwrap()
}

/// Who asked what of the incident so far: user and verb.
async fn requests(control_plane: &ControlPlane, name: &str) -> Vec<(String, String)> {
    let client = control_plane.client().await.unwrap();
    let marker = format!("{name}-marker");
    let none = Api::<NodeTermination>::all(client).get_opt(&marker).await;
    assert!(none.unwrap().is_none());
    let log = control_plane.audit_log().unwrap();
    let logged = async {
        loop {
            let entries = log.entries().unwrap();
            if entries.iter().any(|e| e.name == marker) {
                return Ok(entries);
            }
            tokio::task::yield_now().await;
        }
    };
    let entries = within(logged).await.into_iter();
    entries
        .filter(|e| e.name == name && e.subresource.is_empty())
        .map(|e| (e.user, e.verb))
        .collect()
}
