//! The one eviction engine: slots and calls around the pure queue of `drain`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use super::term::Term;
use crate::api::termination::BlockReason;
use crate::clock;
use crate::cluster::watch::BudgetEvent;
use crate::cluster::{Gate, pods};
use crate::drain::plan::Candidate;
use crate::drain::queue::Work;
use crate::drain::slots::Slots;
use crate::drain::{Answer, Order, Plan, Preview, Queue, preview};
use crate::telemetry::Pulse;

/// While records and cordons are outstanding, so many evictions go on all the same.
const SLOTS_UNDER_PRESSURE: usize = 4;
/// How often the gate is looked at again while it holds slots back.
const GATE_LOOK: Duration = Duration::from_millis(30);
/// With nothing to wait for by time, the loop still turns, for its metrics.
const IDLE_TURN: Duration = Duration::from_secs(10);
/// A subscriber that falls further behind than this looks at everything again.
const CHANGES: usize = 8192;

/// The engine. Budgets are told to it always, so that a new leader need not list them; it sends only while it runs.
pub struct Evictor {
    queue: Mutex<Queue>,
    names: Mutex<HashMap<String, Arc<str>>>,
    news: Notify,
    budgets_known: watch::Sender<bool>,
    changes: broadcast::Sender<Arc<str>>,
    client: Client,
    gate: Gate,
    metrics: Metrics,
    term: Term,
}

impl Evictor {
    /// An engine with an empty queue. It sends nothing once the term is over.
    #[must_use]
    pub fn new(client: Client, gate: Gate, metrics: Metrics, term: Term) -> Self {
        Self {
            queue: Mutex::default(),
            names: Mutex::default(),
            news: Notify::new(),
            budgets_known: watch::Sender::new(false),
            changes: broadcast::Sender::new(CHANGES),
            client,
            gate,
            metrics,
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

    /// Hands a node's pods over, in place of those handed over before.
    pub fn offer(&self, node: &str, uid: &str, candidates: Vec<Candidate>) {
        self.name(node, uid);
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
        self.names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid);
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
        let nodes: Vec<String> = self
            .names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .cloned()
            .collect();
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

    /// Until when there is nothing to do by time alone. With every slot taken that is so until an answer comes: a
    /// time that has come already would only turn the loop.
    fn pause(&self, full: bool) -> Duration {
        if !self.gate.is_calm() {
            return GATE_LOOK;
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

    fn name(&self, node: &str, uid: &str) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.get(uid).is_none_or(|known| **known != *node) {
            names.insert(uid.to_owned(), node.into());
        }
    }

    fn tell(&self, uid: &str) {
        let name = self
            .names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(uid)
            .cloned();
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

    #[tokio::test]
    async fn nothing_is_sent_once_the_term_is_over_though_nobody_has_said_so() {
        let (sent, mut requests) = mpsc::unbounded_channel();
        let service = tower::service_fn(move |request: Request<Body>| {
            let _ = sent.send(request.method().clone());
            std::future::pending::<Result<Response<Body>, tower::BoxError>>()
        });
        let (lead, until) = watch::channel(Some(Instant::now()));
        let metrics = Metrics::register(&mut Registry::default());
        let client = Client::new(service, "default");
        let evictor = Evictor::new(client, Gate::default(), metrics, Term::new(until));
        evictor.offer("node", "uid", vec![candidate()]);
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
}
