//! Messages against an API server that has one policy, and takes no record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::api::policy::{Mode, SourceState, SqsSource, TerminationPolicy};
use crate::aws::{self, Account, Aws};
use crate::cluster::{Gate, Nodes, Objects};
use crate::drain::node::NodeObject;
use crate::source::Recorder;
use crate::source::settings::Settings;
use crate::source::sqs::Open;
use crate::source::supervisor::{MonitorState, QueueKey};
use crate::telemetry::{Health, Pulse, Timeline};

const INSTANCE: &str = "i-0123456789abcdef0";
const QUEUE: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/queue";

/// A queue's monitor, and how often it has tried to record something.
struct Scene {
    monitor: Monitor,
    open: Open,
    pulse: Pulse,
    stop: CancellationToken,
    tries: Arc<AtomicUsize>,
}

impl Scene {
    /// The source has these settings; the nodes are not known yet.
    async fn new(settings: Value) -> Self {
        let tries = Arc::<AtomicUsize>::default();
        let router = Router::new().fallback(answer).with_state(tries.clone());
        let client = kube::Client::new(router, "default");
        let (stop, mut registry) = (CancellationToken::new(), Registry::default());
        let policies = Objects::<TerminationPolicy>::start(client.clone(), stop.clone());
        assert!(policies.synced().await);
        let recorder = Recorder {
            client,
            gate: Gate::default(),
            nodes: Arc::new(Nodes::default()),
            policies,
            timeline: Timeline::register(&mut registry),
            metrics: crate::source::Metrics::register(&mut registry),
        };
        let mut source = json!({"queueURL": QUEUE});
        let more = settings.as_object().unwrap().clone();
        source.as_object_mut().unwrap().extend(more);
        let source: SqsSource = serde_json::from_value(source).unwrap();
        let aws = Aws::new(aws::Metrics::register(&mut registry)).unwrap();
        let account = Account {
            region: "eu-west-1".to_owned(),
            role_arn: None,
            external_id: None,
        };
        let queue = aws.queue(&account, QUEUE).await;
        let launches = Launches::new(
            queue.clone(),
            aws.clone(),
            recorder.clone(),
            Duration::from_secs(30),
            stop.clone(),
        );
        let state = MonitorState {
            state: SourceState::Polling,
            reason: "Polling".to_owned(),
            message: String::new(),
            since: Timestamp::now(),
        };
        let health = Health::default();
        let pulse = health.pulse("queue receiver", Duration::from_mins(1));
        let monitor = Monitor {
            key: QueueKey {
                url: QUEUE.to_owned(),
                account,
            },
            settings: Settings::of(&source, Mode::Enforce),
            aws,
            recorder,
            state: watch::Sender::new(state),
            health,
            troubles: std::sync::Mutex::default(),
        };
        let open = Open {
            queue,
            instances: None,
            launches,
        };
        Self {
            monitor,
            open,
            pulse,
            stop,
            tries,
        }
    }

    /// All nodes are known: this one.
    fn knows(&self, instance: &str) {
        let node = json!({
            "metadata": {"name": "node", "uid": "u"},
            "spec": {"providerID": format!("aws:///eu-west-1a/{instance}")},
        });
        let node: NodeObject = serde_json::from_value(node).unwrap();
        self.monitor.recorder.nodes.only(node.into());
    }

    fn receiver(&self) -> Receiver<'_> {
        Receiver {
            open: &self.open,
            pulse: &self.pulse,
            stop: &self.stop,
        }
    }

    async fn record(&self, heard: Vec<Heard>) -> Disposition {
        let receiver = self.receiver();
        self.monitor
            .record_all(&message(), heard, &Managed::Every, receiver)
            .await
    }

    fn tries(&self) -> usize {
        self.tries.load(Ordering::Relaxed)
    }
}

async fn answer(State(tries): State<Arc<AtomicUsize>>, request: Request) -> Response {
    let watches = request.uri().query().is_some_and(|q| q.contains("watch="));
    if request.method() == Method::GET && watches {
        std::future::pending::<()>().await;
    }
    if request.method() == Method::GET {
        let policy = json!({
            "apiVersion": "nodetermination.dev/v1alpha1", "kind": "TerminationPolicy",
            "metadata": {"name": "all", "resourceVersion": "1"},
            "spec": {"sources": [{"name": "events", "sqs": {"queueURL": QUEUE}}]},
        });
        let list = json!({
            "apiVersion": "nodetermination.dev/v1alpha1", "kind": "TerminationPolicyList",
            "metadata": {"resourceVersion": "1"}, "items": [policy],
        });
        return list.to_string().into_response();
    }
    tries.fetch_add(1, Ordering::Relaxed);
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}

fn message() -> Message {
    Message {
        id: "m".to_owned(),
        receipt: "r".to_owned().into(),
        body: String::new(),
        receive_count: 2,
        sent_at: None,
    }
}

/// A spot interruption of so long ago.
fn interruption(minutes: i64) -> Heard {
    let notice = Timestamp::now() - SignedDuration::from_mins(minutes);
    let body = json!({
        "version": "0", "id": "e", "source": "aws.ec2", "time": notice.to_string(),
        "detail-type": "EC2 Spot Instance Interruption Warning", "account": "123456789012", "region": "eu-west-1",
        "detail": {"instance-id": INSTANCE, "instance-action": "terminate"},
    });
    let Ok(Parsed::Signals(mut heard)) = crate::event::parse(&body.to_string()) else {
        panic!("{body}")
    };
    heard.remove(0)
}

fn without_deadline(mut heard: Heard) -> Heard {
    heard.signal.deadline = None;
    heard
}

fn launch(minutes: i64) -> Launch {
    Launch {
        instance_id: INSTANCE.to_owned(),
        notice_time: Timestamp::now() - SignedDuration::from_mins(minutes),
        hook: LifecycleHook {
            auto_scaling_group_name: "workers".to_owned(),
            hook_name: "ready".to_owned(),
            action_token: "0f4ae510".to_owned(),
            region: "eu-west-1".to_owned(),
            ..LifecycleHook::default()
        },
    }
}

fn is_given_back(disposition: &Disposition) -> bool {
    matches!(disposition, Disposition::Release(after) if *after == patience(2))
}

fn is_deleted(disposition: &Disposition, why: &str) -> bool {
    matches!(disposition, Disposition::Delete(proofs) if matches!(proofs[..], [Settled::Nothing(w)] if w == why))
}

#[tokio::test]
async fn while_the_api_server_is_away_only_the_first_of_many_signals_is_tried() {
    let scene = Scene::new(json!({})).await;
    scene.knows(INSTANCE);
    let left = scene.record(vec![interruption(0); 3]).await;
    assert!(matches!(left, Disposition::Refused));
    assert_eq!(scene.tries(), 1);
}

#[tokio::test]
async fn a_message_with_many_signals_is_let_go_at_once_when_the_receiver_is_to_stop() {
    let scene = Scene::new(json!({})).await;
    scene.knows("i-0fedcba9876543210");
    let foreign = interruption(0);
    scene.stop.cancel();
    let one = scene.record(vec![foreign.clone()]).await;
    assert!(is_given_back(&one), "what is in hand is settled");
    let many = scene.record(vec![foreign.clone(), foreign]).await;
    assert!(matches!(many, Disposition::Release(Duration::ZERO)));
}

#[tokio::test]
async fn an_instance_that_may_yet_turn_out_to_be_a_node_expires_by_its_own_deadline_only() {
    let scene = Scene::new(json!({"unknownInstances": "Delete"})).await;
    let old = without_deadline(interruption(60));
    assert!(is_given_back(&scene.record(vec![old]).await));
    let over = scene.record(vec![interruption(60)]).await;
    assert!(is_deleted(&over, "Expired"));
}

#[tokio::test]
async fn an_unknown_instance_without_a_deadline_expires_after_a_quarter_of_an_hour() {
    let scene = Scene::new(json!({})).await;
    scene.knows("i-0fedcba9876543210");
    let young = without_deadline(interruption(14));
    assert!(is_given_back(&scene.record(vec![young]).await));
    let old = scene.record(vec![without_deadline(interruption(16))]).await;
    assert!(is_deleted(&old, "Expired"));
}

#[tokio::test]
async fn a_launch_without_the_tag_is_given_back_for_a_quarter_of_an_hour_even_if_unknown_instances_are_deleted()
 {
    let settings = json!({"unknownInstances": "Delete", "managedTag": "ours", "launchHooks": {"complete": true}});
    let scene = Scene::new(settings).await;
    let managed = Managed::Listed(BTreeMap::from([(INSTANCE.to_owned(), false)]));
    let handle = |launch| {
        let parsed = Ok(Parsed::Launch(launch));
        let (monitor, receiver, managed) = (&scene.monitor, scene.receiver(), &managed);
        async move { monitor.handle(&message(), parsed, managed, receiver).await }
    };
    assert!(is_given_back(&handle(launch(14)).await));
    assert!(is_deleted(&handle(launch(16)).await, "UnknownInstance"));
}

#[test]
fn a_message_for_somebody_else_is_given_back_within_two_seconds_at_first_and_then_more_slowly() {
    let waits: Vec<u64> = [1, 2, 3, 4, 5, 6, 7, 8, 100]
        .into_iter()
        .map(|n| patience(n).as_secs())
        .collect();
    assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
}
