//! What the controllers are tried on: the parts of a replica, over an API server that is a table.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::BoxError;

use super::{Evictor, HandOver, Metrics, Notifier, NotifyOptions, Parts, Term};
use crate::api::termination::NodeTermination;
use crate::aws::{self, Aws};
use crate::cluster::events::Events;
use crate::cluster::{AgentWatch, Clients, Gate, Objects};
use crate::source;
use crate::telemetry::{Health, Timeline};

/// Longer than any test.
const TERM: Duration = Duration::from_hours(1);

/// An API server that gives what was put there, takes every write, and never tells a watch anything.
#[derive(Clone, Default)]
pub(super) struct Server(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    objects: HashMap<String, Value>,
    writes: Vec<(String, Value)>,
}

impl Server {
    /// What a GET of that path gives from now on.
    pub(super) fn put(&self, path: &str, object: Value) {
        self.lock().objects.insert(path.to_owned(), object);
    }

    /// What was written to statuses.
    pub(super) fn statuses(&self) -> Vec<Value> {
        let table = self.lock();
        let writes = table.writes.iter();
        let statuses = writes.filter(|(path, _)| path.ends_with("/status"));
        statuses.map(|(_, body)| body["status"].clone()).collect()
    }

    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request| server.clone().answer(request));
        Client::new(service, "default")
    }

    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or_default();
        if query.contains("watch=true") {
            return std::future::pending().await;
        }
        let missing = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "message": "", "code": 404});
        let (code, answer) = if parts.method == Method::GET {
            let found = self.lock().objects.get(&path).cloned();
            found.map_or((404, missing), |object| (200, object))
        } else {
            let body: Value = serde_json::from_slice(&body.collect().await?.to_bytes())?;
            self.lock().writes.push((path, body.clone()));
            (200, body)
        };
        let answer = Body::from(answer.to_string().into_bytes());
        Ok(Response::builder().status(code).body(answer)?)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap()
    }
}

/// A replica that leads, until its term is ended.
pub(super) struct Replica {
    pub(super) parts: Parts,
    term: watch::Sender<Option<Instant>>,
    _stop: DropGuard,
}

impl Replica {
    pub(super) fn new(server: &Server) -> Self {
        let (client, stop) = (server.client(), CancellationToken::new());
        let (term, until) = watch::channel(None);
        let (until, gate) = (Term::new(until), Gate::default());
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let events = Events::start(client.clone(), "replica".to_owned(), stop.clone());
        let evictor = Evictor::new(
            client.clone(),
            gate.clone(),
            metrics.clone(),
            events.clone(),
            until.clone(),
        );
        let parts = Parts {
            clients: Clients::one(&client),
            nodes: Arc::default(),
            policies: Objects::start(client.clone(), stop.clone()),
            terminations: Objects::start(client.clone(), stop.clone()),
            agents: AgentWatch::start(client, "operator", stop.clone()),
            evictor: Arc::new(evictor),
            gate,
            aws: Aws::new(aws::Metrics::register(&mut registry)).unwrap(),
            events,
            timeline: Timeline::register(&mut registry),
            metrics,
            source_metrics: source::Metrics::default(),
            health: Health::default(),
            own_pod: "operator/replica".to_owned(),
            hand_over: HandOver::default(),
            term: until,
            notifications: NotifyOptions {
                namespace: "operator".to_owned(),
                allow_http: true,
                cluster: None,
            },
        };
        let replica = Self {
            parts,
            term,
            _stop: stop.drop_guard(),
        };
        replica.renew();
        replica
    }

    /// It leads for a long time from now on.
    pub(super) fn renew(&self) {
        self.term.send_replace(Some(Instant::now() + TERM));
    }

    /// Its term is over, and nobody has said so.
    pub(super) fn freeze(&self) {
        self.term.send_replace(Some(Instant::now()));
    }

    pub(super) fn notifier(&self) -> Arc<Notifier> {
        let parts = self.parts.clone();
        Arc::new(Notifier::new(
            parts.clients.stores,
            parts.notifications,
            parts.policies,
            parts.metrics,
            parts.term,
        ))
    }
}

/// An incident whose record says this.
pub(super) fn incident(status: &Value) -> NodeTermination {
    let object = json!({
        "apiVersion": "nodetermination.dev/v1alpha1",
        "kind": "NodeTermination",
        "metadata": {"name": "incident", "uid": "uid", "generation": 1, "resourceVersion": "1"},
        "spec": {"nodeName": "node"},
        "status": status,
    });
    serde_json::from_value(object).unwrap()
}
