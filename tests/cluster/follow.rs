//! Signals that only change what was heard before: they find the open incident, or nothing.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use node_termination_operator::api::policy::TerminationPolicy;
use node_termination_operator::api::termination::{
    MaintenanceEvent, MaintenanceState, NodeTermination, RUNNING, Signal, SignalKind,
};
use node_termination_operator::cluster::{Gate, Nodes, Objects, watch};
use node_termination_operator::event::Heard;
use node_termination_operator::event::identity::{object_name, object_names};
use node_termination_operator::source;
use node_termination_operator::source::record::{Recorder, Settled, Verdict};
use node_termination_operator::telemetry::Timeline;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use testbed::cluster::{TestNode, await_object, make_nodes, map};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::bare::{bare, spot};
use crate::scene::within;

/// A recorder of its own on a control plane without the operator, a node and its policy.
struct Listener {
    recorder: Recorder,
    node: TestNode,
    incidents: Api<NodeTermination>,
    _stop: DropGuard,
}

impl Listener {
    async fn new(name: &str) -> Self {
        let client = bare().await.client().await.unwrap();
        let labels = map(&[("team", name)]);
        let nodes = make_nodes(&client, name, 1, &labels).await;
        let node = nodes.unwrap().remove(0);
        let policy = json!({
            "apiVersion": "nodetermination.dev/v1alpha1",
            "kind": "TerminationPolicy",
            "metadata": {"name": name},
            "spec": {
                "nodeSelector": {"matchLabels": {"team": name}},
                "sources": [{"name": "metadata", "imds": {}}],
            },
        });
        let policy: TerminationPolicy = serde_json::from_value(policy).unwrap();
        Api::all(client.clone())
            .create(&PostParams::default(), &policy)
            .await
            .unwrap();
        let stop = CancellationToken::new();
        let nodes = Arc::new(Nodes::default());
        tokio::spawn(watch::nodes(client.clone(), nodes.clone(), stop.clone()));
        let policies = Objects::start(client.clone(), stop.clone());
        nodes.synced().await;
        assert!(policies.synced().await);
        let mut registry = Registry::default();
        let recorder = Recorder {
            client: client.clone(),
            gate: Gate::default(),
            nodes,
            policies,
            timeline: Timeline::register(&mut registry),
            metrics: source::Metrics::register(&mut registry),
        };
        Self {
            recorder,
            node,
            incidents: Api::all(client),
            _stop: stop.drop_guard(),
        }
    }

    /// What the recorder says to the signal, in a word.
    async fn hear(&self, signal: Signal) -> &'static str {
        let instance_id = self.node.instance_id.clone();
        let heard = Heard {
            instance_id,
            signal,
        };
        match self.recorder.record(&heard).await {
            Verdict::Settled(Settled::Recorded(_)) => "Recorded",
            Verdict::Settled(Settled::Nothing(why)) | Verdict::Later(why) => why,
            Verdict::UnknownInstance | Verdict::MaybeUnknown => "UnknownInstance",
        }
    }

    fn name(&self, number: u32) -> String {
        object_name(&self.node.instance_id, number)
    }

    async fn incident(&self, number: u32) -> Option<NodeTermination> {
        self.incidents.get_opt(&self.name(number)).await.unwrap()
    }

    async fn finish(&self, number: u32) {
        let over = json!({"status": {"phase": "Completed", "completedAt": Timestamp::now()}});
        let (params, over) = (PatchParams::default(), Patch::Merge(over));
        let name = self.name(number);
        self.incidents
            .patch_status(&name, &params, &over)
            .await
            .unwrap();
    }

    fn spot(&self) -> Signal {
        spot(&self.node.instance_id, Timestamp::now())
    }
}

/// The news that a maintenance became this.
fn maintenance(state: MaintenanceState) -> Signal {
    let (id, kind) = (
        "ScheduledMaintenance-0123456789abcdef",
        SignalKind::ScheduledMaintenance,
    );
    Signal {
        maintenance: Some(MaintenanceEvent {
            event_id: "instance-event-0d59937288b749b32".to_owned(),
            code: "system-reboot".to_owned(),
            state,
            ..MaintenanceEvent::default()
        }),
        ..Signal::new(id.to_owned(), kind, Time(Timestamp::now()))
    }
}

fn running() -> Signal {
    let (id, kind) = (
        "InstanceStateChange-0123456789abcdef",
        SignalKind::InstanceStateChange,
    );
    Signal {
        instance_state: Some(RUNNING.to_owned()),
        ..Signal::new(id.to_owned(), kind, Time(Timestamp::now()))
    }
}

#[tokio::test]
async fn a_signal_that_only_follows_is_recorded_on_the_open_incident_and_opens_none() {
    let follow = [
        ("canceled", maintenance(MaintenanceState::Canceled)),
        ("completed", maintenance(MaintenanceState::Completed)),
        ("running", running()),
    ];
    for (name, signal) in follow {
        let listener = Listener::new(&format!("follows-{name}")).await;
        assert_eq!(listener.hear(signal.clone()).await, "NothingToFollow");
        assert!(listener.incident(1).await.is_none(), "{name}");

        assert_eq!(listener.hear(listener.spot()).await, "Recorded");
        listener.finish(1).await;
        let over = listener.incident(1).await.unwrap();
        assert_eq!(listener.hear(signal.clone()).await, "NothingToFollow");
        let after = listener.incident(1).await.unwrap();
        assert_eq!(after.resource_version(), over.resource_version());
        assert!(listener.incident(2).await.is_none(), "{name}");

        let mut next = listener.spot();
        next.notice_time = Time(Timestamp::now() + jiff::SignedDuration::from_secs(60));
        next.id = "SpotInterruption-0123456789abcdef".to_owned();
        assert_eq!(listener.hear(next).await, "Recorded");
        for _twice in 0..2 {
            assert_eq!(listener.hear(signal.clone()).await, "Recorded");
        }
        let open = listener.incident(2).await.unwrap();
        assert!(open.spec.signals.iter().any(|s| s.id == signal.id));
        assert_eq!(open.spec.signals.len(), 2);
        assert_eq!(listener.incident(1).await.unwrap().spec, over.spec);
    }
}

#[tokio::test]
async fn a_notice_whose_names_are_all_taken_comes_again_until_one_is_free() {
    let listener = Listener::new("names").await;
    let mut taken = Vec::new();
    for name in object_names(&listener.node.instance_id, &listener.node.uid) {
        let squatted = json!({
            "apiVersion": "nodetermination.dev/v1alpha1",
            "kind": "NodeTermination",
            "metadata": {"name": name},
            "spec": {"nodeName": "another"},
        });
        let squatted = serde_json::from_value(squatted).unwrap();
        let params = PostParams::default();
        let created = listener.incidents.create(&params, &squatted);
        taken.push(created.await.unwrap().name_any());
    }
    assert_eq!(listener.hear(listener.spot()).await, "NamesTaken");
    let (last, now) = (taken.pop().unwrap(), DeleteParams::default());
    listener.incidents.delete(&last, &now).await.unwrap();
    assert_eq!(listener.hear(listener.spot()).await, "Recorded");
}

#[tokio::test]
async fn maintenance_that_is_to_come_opens_an_incident() {
    let listener = Listener::new("to-come").await;
    let scheduled = maintenance(MaintenanceState::Scheduled);
    assert_eq!(listener.hear(scheduled).await, "Recorded");
    assert!(listener.incident(1).await.is_some());
}

/// The object is deleted while the signal is being applied: wherever between the look and the write that falls, none
/// is made anew.
#[tokio::test]
async fn a_signal_that_only_follows_never_makes_the_object_that_was_deleted_meanwhile() {
    let listener = Listener::new("meanwhile").await;
    for _round in 0..40 {
        assert_eq!(listener.hear(listener.spot()).await, "Recorded");
        let (name, now) = (listener.name(1), DeleteParams::default());
        let (deleted, heard) = tokio::join!(
            listener.incidents.delete(&name, &now),
            listener.hear(maintenance(MaintenanceState::Canceled)),
        );
        deleted.unwrap();
        let answers = ["Recorded", "NothingToFollow", "BeingDeleted"];
        assert!(answers.contains(&heard), "{heard}");
        assert!(listener.incident(1).await.is_none(), "{heard}");
    }
}

#[tokio::test]
async fn a_signal_for_an_incident_that_is_being_deleted_comes_again() {
    let listener = Listener::new("going").await;
    listener.hear(listener.spot()).await;
    let (name, now) = (listener.name(1), DeleteParams::default());
    let incidents = &listener.incidents;
    let keep = async |finalizers: Value| {
        let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
        let params = PatchParams::default();
        incidents.patch(&name, &params, &patch).await.unwrap();
    };
    keep(json!(["test.example.com/kept"])).await;
    incidents.delete(&name, &now).await.unwrap();
    assert_eq!(listener.hear(running()).await, "BeingDeleted");
    keep(json!(null)).await;
    within(await_object(incidents.clone(), &name, |i| i.is_none())).await;
    assert_eq!(listener.hear(running()).await, "NothingToFollow");
}
