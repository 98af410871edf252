//! The one eviction engine: slots and calls around the pure queue of `drain`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, Resource};
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use super::term::Term;
use crate::api::termination::{BlockReason, NodeTermination};
use crate::clock;
use crate::cluster::events::{Events, Happening};
use crate::cluster::watch::BudgetEvent;
use crate::cluster::{Gate, pods};
use crate::drain::plan::Candidate;
use crate::drain::queue::Work;
use crate::drain::slots::Slots;
use crate::drain::{Answer, Order, Plan, Preview, Queue, preview};
use crate::lifecycle;
use crate::telemetry::Pulse;

/// While records and cordons are outstanding, so many evictions go on all the same.
const SLOTS_UNDER_PRESSURE: usize = 4;
/// How often what holds slots back is looked at again: the gate, or a term that is over.
const HELD_LOOK: Duration = Duration::from_millis(30);
/// With nothing to wait for by time, the loop still turns, for its metrics.
const IDLE_TURN: Duration = Duration::from_secs(10);
/// A subscriber that falls further behind than this looks at everything again.
const CHANGES: usize = 8192;
/// So many pods of a node get an Event of their own. Of a node with more it is clear by then.
const POD_EVENTS_MAX: u32 = 10;

/// A node whose pods leave.
struct Leaving {
    name: Arc<str>,
    /// On whose account.
    incident: ObjectReference,
    /// The same in words.
    why: String,
    /// How many pods got an Event.
    told: u32,
}

/// The engine. Budgets are told to it always, so that a new leader need not list them; it sends only while it runs.
pub struct Evictor {
    queue: Mutex<Queue>,
    /// By the node's UID.
    nodes: Mutex<HashMap<String, Leaving>>,
    news: Notify,
    budgets_known: watch::Sender<bool>,
    changes: broadcast::Sender<Arc<str>>,
    client: Client,
    gate: Gate,
    metrics: Metrics,
    events: Events,
    term: Term,
}

impl Evictor {
    /// An engine with an empty queue. It sends nothing once the term is over.
    #[must_use]
    pub fn new(client: Client, gate: Gate, metrics: Metrics, events: Events, term: Term) -> Self {
        Self {
            queue: Mutex::default(),
            nodes: Mutex::default(),
            news: Notify::new(),
            budgets_known: watch::Sender::new(false),
            changes: broadcast::Sender::new(CHANGES),
            client,
            gate,
            metrics,
            events,
            term,
        }
    }

    /// Names of nodes for whose pods something was refused, or goes on, from now on.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Arc<str>> {
        self.changes.subscribe()
    }

    /// Tells the queue of budgets.
    pub fn budgets(&self, event: BudgetEvent) {
        if matches!(event, BudgetEvent::Listed(_)) {
            self.budgets_known.send_replace(true);
        }
        event.tell(&mut self.queue(), clock::now());
        self.news.notify_one();
    }

    /// Waits until all budgets have been told once: a pod whose budget is not known would be evicted past it.
    pub async fn budgets_known(&self) {
        // The sender lives as long as the engine: this can not fail.
        let _ = self
            .budgets_known
            .subscribe()
            .wait_for(|known| *known)
            .await;
    }

    /// Hands the pods of the incident's node over, in place of those handed over before.
    pub fn offer(&self, incident: &NodeTermination, candidates: Vec<Candidate>) {
        let uid = incident.node_uid().unwrap_or_default();
        self.name(incident, uid);
        let (new, changed) = {
            let mut queue = self.queue();
            let before = reasons(queue.work(uid));
            let new = queue.offer(uid, candidates, clock::now());
            (new, before != reasons(queue.work(uid)))
        };
        if new {
            self.news.notify_one();
        }
        if changed {
            self.tell(uid);
        }
    }

    /// Takes a node's pods back.
    pub fn withdraw(&self, uid: &str) {
        self.queue().withdraw(uid);
        self.news.notify_one();
        self.nodes().remove(uid);
    }

    /// Which of a node's pods are blocked, and how many were deleted past a refusal.
    #[must_use]
    pub fn work(&self, uid: &str) -> (Vec<Work>, u32) {
        let queue = self.queue();
        (queue.work(uid), queue.forced(uid))
    }

    /// What a drain by this plan would do. Nothing is handed over.
    #[must_use]
    pub fn preview(&self, plan: &Plan) -> Preview {
        let now = clock::now();
        let blocked = self.queue().would_hold(&plan.candidates, now);
        preview::preview(plan, blocked, now)
    }

    /// Sends until `stop`, then waits for the calls in flight and forgets every node.
    pub async fn run(&self, pulse: Pulse, stop: CancellationToken) {
        let mut slots = Slots::default();
        let mut calls: JoinSet<(Order, Answer)> = JoinSet::new();
        while !stop.is_cancelled() {
            pulse.beat();
            self.fill(&mut calls, &slots);
            let pause = self.pause(calls.len() >= slots.limit());
            tokio::select! {
                () = stop.cancelled() => {}
                Some(done) = calls.join_next() => self.settle(done, &mut slots),
                () = self.news.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            self.metrics.queue(self.queue().waiting(), slots.limit());
        }
        while let Some(done) = calls.join_next().await {
            self.settle(done, &mut slots);
        }
        let nodes: Vec<String> = self.nodes().keys().cloned().collect();
        for uid in &nodes {
            self.withdraw(uid);
        }
    }

    fn fill(&self, calls: &mut JoinSet<(Order, Answer)>, slots: &Slots) {
        let limit = if self.gate.is_calm() {
            slots.limit()
        } else {
            slots.limit().min(SLOTS_UNDER_PRESSURE)
        };
        let now = clock::now();
        while calls.len() < limit && !self.term.is_over() {
            let Some(order) = self.queue().pop(now) else {
                return;
            };
            let client = self.client.clone();
            calls.spawn(async move {
                let answer = pods::send(&client, &order).await;
                (order, answer)
            });
        }
    }

    fn settle(&self, done: Result<(Order, Answer), tokio::task::JoinError>, slots: &mut Slots) {
        let Ok((order, answer)) = done else { return };
        tracing::debug!(pod = order.pod.full_name(), verb = ?order.verb, grace = order.grace.as_secs(), answer = answer.as_str(), "told to end");
        self.metrics.evicted(order.verb, &answer);
        if answer == Answer::Accepted {
            self.explain(&order);
        }
        match &answer {
            Answer::Overloaded { .. } => slots.overloaded(),
            Answer::ServerError { .. } => slots.failed(&order.pod.uid),
            Answer::Unanswered { .. } => {}
            _ => slots.served(),
        }
        self.queue().answered(&order, &answer, clock::now());
        if !matches!(
            answer,
            Answer::Accepted | Answer::NotFound | Answer::Overloaded { .. }
        ) {
            self.tell(&order.node);
        }
    }

    /// Until when there is nothing to do by time alone. With every slot taken that is so until an answer comes, and once
    /// the term is over until somebody ends the loop: a time that has come already would only turn it.
    fn pause(&self, full: bool) -> Duration {
        if !self.gate.is_calm() || self.term.is_over() {
            return HELD_LOOK;
        }
        if full {
            return IDLE_TURN;
        }
        let wake = self.queue().wake();
        wake.map_or(IDLE_TURN, |at| {
            Duration::try_from(at.duration_since(clock::now()))
                .unwrap_or_default()
                .min(IDLE_TURN)
        })
    }

    fn name(&self, incident: &NodeTermination, uid: &str) {
        let (node, mut nodes) = (&incident.spec.node_name, self.nodes());
        let same = |known: &Leaving| {
            *known.name == **node && known.incident.name == incident.metadata.name
        };
        let known = nodes.get(uid).is_some_and(same);
        if !known {
            let leaving = Leaving {
                name: node.as_str().into(),
                incident: incident.object_ref(&()),
                why: lifecycle::why_pods_leave(incident),
                told: 0,
            };
            nodes.insert(uid.to_owned(), leaving);
        }
    }

    /// Publishes on the pod what was done to it beyond an eviction with its whole grace period: nothing else of the pod
    /// outlives it. An ordinary eviction costs one request and no Event.
    fn explain(&self, order: &Order) {
        let mut nodes = self.nodes();
        let Some(leaving) = nodes.get_mut(&*order.node) else {
            return;
        };
        let Some(news) = lifecycle::news_of_pod(order, &leaving.why) else {
            return;
        };
        leaving.told += 1;
        if leaving.told > POD_EVENTS_MAX {
            return;
        }
        self.events.emit(Happening {
            regarding: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                namespace: Some(order.pod.namespace.clone()),
                name: Some(order.pod.name.clone()),
                uid: Some(order.pod.uid.clone()),
                ..ObjectReference::default()
            },
            related: Some(leaving.incident.clone()),
            warning: news.warning,
            reason: news.reason,
            action: "Terminate",
            note: news.note,
        });
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<String, Leaving>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, uid: &str) {
        let name = self.nodes().get(uid).map(|leaving| leaving.name.clone());
        if let Some(name) = name {
            // Nobody listens while the last leader task ends.
            let _ = self.changes.send(name);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is blocked, by what sort of reason.
fn reasons(work: Vec<Work>) -> Vec<(String, Option<BlockReason>)> {
    let reason = |w: Work| (w.uid, w.block.map(|b| b.reason));
    work.into_iter().map(reason).collect()
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use jiff::SignedDuration;
    use kube::client::Body;
    use prometheus_client::registry::Registry;
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;
    use crate::api::termination::NodeTerminationSpec;
    use crate::drain::select::Tier;
    use crate::drain::select::tests::pod;
    use crate::drain::window::Window;

    /// Its last moment has come.
    fn candidate() -> Candidate {
        let now = clock::now();
        Candidate {
            pod: Arc::new(pod("late")),
            tier: Tier::Normal,
            open: true,
            force_at: Some(now),
            latest_start: now,
            hesitation: None,
            shorten: false,
            window: Window {
                start: now,
                deadline: now + SignedDuration::from_secs(40),
                margin: SignedDuration::from_secs(8),
            },
            grace: SignedDuration::from_secs(30),
            ignore_budgets: false,
        }
    }

    /// An engine whose term has run out, who may give it another, and what it sends.
    fn frozen() -> (
        Evictor,
        watch::Sender<Option<Instant>>,
        mpsc::UnboundedReceiver<http::Method>,
    ) {
        let (sent, requests) = mpsc::unbounded_channel();
        let service = tower::service_fn(move |request: Request<Body>| {
            let _ = sent.send(request.method().clone());
            std::future::pending::<Result<Response<Body>, tower::BoxError>>()
        });
        let (lead, until) = watch::channel(Some(Instant::now()));
        let metrics = Metrics::register(&mut Registry::default());
        let client = Client::new(service, "default");
        let events = Events::start(
            client.clone(),
            "replica".to_owned(),
            CancellationToken::new(),
        );
        let term = Term::new(until);
        let evictor = Evictor::new(client, Gate::default(), metrics, events, term);
        (evictor, lead, requests)
    }

    #[tokio::test]
    async fn nothing_is_sent_once_the_term_is_over_though_nobody_has_said_so() {
        let (evictor, lead, mut requests) = frozen();
        let spec = NodeTerminationSpec {
            node_name: "node".to_owned(),
            node_uid: Some("uid".to_owned()),
            ..NodeTerminationSpec::default()
        };
        evictor.offer(&NodeTermination::new("incident", spec), vec![candidate()]);
        let (slots, mut calls) = (Slots::default(), JoinSet::new());

        evictor.fill(&mut calls, &slots);
        assert!(calls.is_empty(), "it was frozen, and its term ran out");
        lead.send_replace(None);
        evictor.fill(&mut calls, &slots);
        assert!(calls.is_empty(), "others lead");
        lead.send_replace(Some(Instant::now() + Duration::from_secs(10)));
        evictor.fill(&mut calls, &slots);
        assert_eq!(calls.len(), 1);
        assert_eq!(requests.recv().await.unwrap(), http::Method::POST);
    }

    #[tokio::test]
    async fn a_pod_whose_time_comes_when_the_term_is_over_does_not_keep_the_loop_turning() {
        let (evictor, lead, _requests) = frozen();
        let before = clock::now() - SignedDuration::from_secs(10);
        let late = Candidate {
            hesitation: Some(BlockReason::EmptyDir),
            latest_start: before + SignedDuration::from_secs(5),
            ..candidate()
        };
        evictor.queue().offer("uid", vec![late], before);
        assert_eq!(evictor.pause(false), HELD_LOOK);
        lead.send_replace(Some(Instant::now() + Duration::from_secs(10)));
        assert_eq!(evictor.pause(false), Duration::ZERO, "it is due");
    }
}
