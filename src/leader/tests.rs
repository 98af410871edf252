//! Electors against a stand-in of the API server that keeps one lease under optimistic concurrency.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::*;

/// Fast, and still three looks of a candidate in one lease.
const LEASE: Duration = Duration::from_millis(1500);

#[derive(Clone, Default)]
struct Cluster(Arc<Mutex<Stored>>);

#[derive(Default)]
struct Stored {
    lease: Option<Value>,
    version: u64,
    hangs: bool,
}

impl Stored {
    fn answer(&mut self, method: &Method, body: &str) -> (StatusCode, Value) {
        let sent: Option<Value> = serde_json::from_str(body).ok();
        let version = |lease: &Value| lease.pointer("/metadata/resourceVersion").cloned();
        match (method.as_str(), &self.lease) {
            ("GET", None) => refusal(404, "NotFound"),
            ("GET", Some(lease)) => (StatusCode::OK, lease.clone()),
            ("POST", Some(_)) => refusal(409, "AlreadyExists"),
            ("PUT", Some(lease)) if sent.as_ref().and_then(version) != version(lease) => {
                refusal(409, "Conflict")
            }
            _ => {
                let mut lease = sent.unwrap();
                self.version += 1;
                lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
                self.lease = Some(lease.clone());
                (StatusCode::OK, lease)
            }
        }
    }
}

fn refusal(code: u16, reason: &str) -> (StatusCode, Value) {
    let status = json!({ "kind": "Status", "status": "Failure", "code": code, "reason": reason });
    (StatusCode::from_u16(code).unwrap(), status)
}

async fn answer(
    State(cluster): State<Cluster>,
    method: Method,
    body: String,
) -> (StatusCode, String) {
    if cluster.0.lock().unwrap().hangs {
        std::future::pending::<()>().await;
    }
    let (status, body) = cluster.0.lock().unwrap().answer(&method, &body);
    (status, body.to_string())
}

/// A running elector.
struct Candidate {
    leading: watch::Receiver<bool>,
    until: watch::Receiver<Option<Instant>>,
    stop: CancellationToken,
    run: JoinHandle<()>,
}

impl Cluster {
    fn candidate(&self, identity: &str) -> Candidate {
        let router = Router::new().fallback(answer).with_state(self.clone());
        let config = Config {
            namespace: "operators".to_owned(),
            name: "leader".to_owned(),
            identity: identity.to_owned(),
            lease_duration: LEASE,
        };
        let metrics = Metrics::register(&mut Registry::default());
        let elector = Elector::new(Client::new(router, "default"), config, metrics);
        let (leading, until) = (elector.subscribe(), elector.until());
        let stop = CancellationToken::new();
        let run = tokio::spawn(elector.run(stop.clone()));
        Candidate {
            leading,
            until,
            stop,
            run,
        }
    }

    /// Writes the lease as if `thief` had taken it over.
    fn rob(&self, thief: &str) {
        let mut stored = self.0.lock().unwrap();
        let mut lease = stored.lease.clone().unwrap();
        lease["spec"]["holderIdentity"] = json!(thief);
        stored.answer(&Method::PUT, &lease.to_string());
    }

    fn spec(&self) -> Value {
        self.0.lock().unwrap().lease.as_ref().unwrap()["spec"].clone()
    }
}

impl Candidate {
    async fn leads(&mut self, leads: bool, within: Duration) {
        let awaited = self.leading.wait_for(|leading| *leading == leads);
        timeout(within, awaited).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn one_leads_and_a_release_hands_over_at_once() {
    let cluster = Cluster::default();
    let mut first = cluster.candidate("first");
    first.leads(true, LEASE / 2).await;
    let mut second = cluster.candidate("second");
    tokio::time::sleep(LEASE * 2).await;
    assert!(*first.leading.borrow() && !*second.leading.borrow());
    let until = first.until.borrow().unwrap();
    assert!(until > Instant::now() && until <= Instant::now() + LEASE * 4 / 5);
    assert_eq!(*second.until.borrow(), None);
    assert_eq!(cluster.spec()["leaseTransitions"], 0);

    first.stop.cancel();
    first.run.await.unwrap();

    assert_eq!(*first.until.borrow(), None);
    assert_eq!(cluster.spec()["holderIdentity"], "");
    assert_eq!(cluster.spec()["leaseDurationSeconds"], 1);
    second.leads(true, SHORTEST_PAUSE + LEASE / 5).await;
    assert_eq!(cluster.spec()["holderIdentity"], "second");
    assert_eq!(cluster.spec()["leaseTransitions"], 1);
}

#[tokio::test]
async fn a_leader_that_died_is_followed_after_its_lease() {
    let cluster = Cluster::default();
    let mut first = cluster.candidate("first");
    first.leads(true, LEASE / 2).await;
    first.run.abort();
    let died = Instant::now();
    first.leads(false, LEASE / 10).await;

    let mut second = cluster.candidate("second");
    second.leads(true, LEASE * 4).await;

    assert!(died.elapsed() >= LEASE);
}

#[tokio::test]
async fn a_leader_whose_renewal_hangs_stops_leading_before_the_lease_runs_out() {
    let cluster = Cluster::default();
    let mut first = cluster.candidate("first");
    first.leads(true, LEASE / 2).await;

    cluster.0.lock().unwrap().hangs = true;
    first.leads(false, LEASE).await;

    cluster.0.lock().unwrap().hangs = false;
    first.leads(true, LEASE * 2).await;
}

#[tokio::test]
async fn a_leader_that_lost_its_lease_stops_leading_at_its_next_look() {
    let cluster = Cluster::default();
    let mut first = cluster.candidate("first");
    first.leads(true, LEASE / 2).await;

    cluster.rob("second");

    first.leads(false, LEASE / 5 + LEASE / 5).await;
    first.stop.cancel();
    first.run.await.unwrap();
    assert_eq!(cluster.spec()["holderIdentity"], "second");
}
