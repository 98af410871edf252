//! Who waits to write on a record: a turn comes by the write gate, as the lowest class.
//!
//! It is not waited for in a pass, but by who was called and let others go first. kube polls every pass under way whenever
//! one of them is woken, so that thousands which wait cost more than all that they do; and whatever else happens to an
//! incident must not wait for its report.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, broadcast};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::cluster::Gate;

/// A subscriber that falls further behind than this looks at everything again.
const CHANGES: usize = 1024;

/// The line of all incidents that have something to write.
pub(super) struct Writes {
    line: Mutex<Line>,
    more: Notify,
    /// Incidents whose turn has come.
    changes: broadcast::Sender<Arc<str>>,
}

#[derive(Default)]
struct Line {
    /// In order, with the time of asking.
    order: VecDeque<(Arc<str>, Instant)>,
    /// The same, for looking up.
    waiting: HashSet<Arc<str>>,
    /// Whose turn it is, and when it was asked for: until a pass takes it, or has no use for it.
    called: HashMap<Arc<str>, (OwnedSemaphorePermit, Instant)>,
    /// Those with a pass under way. They are not called before it is over: it may take long.
    running: HashSet<Arc<str>>,
    /// Those among them who let others go before them, and since when they waited.
    put_off: HashMap<Arc<str>, Instant>,
}

impl Default for Writes {
    fn default() -> Self {
        Self {
            line: Mutex::default(),
            more: Notify::new(),
            changes: broadcast::Sender::new(CHANGES),
        }
    }
}

impl Writes {
    /// A pass of the incident begins.
    pub(super) fn enter(&self, incident: &str) {
        self.lock().running.insert(incident.into());
    }

    /// It is over; a turn that it had no use for is the next one's.
    pub(super) fn leave(&self, incident: &str) {
        let line = &mut *self.lock();
        line.running.remove(incident);
        line.called.remove(incident);
        line.put_off.remove(incident);
        self.more.notify_one();
    }

    /// The incident's turn, if it is: it has been called, or nobody is before it. Else it gets in line, and is told.
    /// Whoever was called and let others go waits here: in line it would be called again for the same pass.
    pub(super) async fn turn(&self, incident: &str, gate: &Gate) -> Option<OwnedSemaphorePermit> {
        let put_off = self.lock().put_off.remove(incident);
        match put_off {
            Some(asked) => gate.status(asked).await,
            None => self.turn_at_once(incident, gate),
        }
    }

    fn turn_at_once(&self, incident: &str, gate: &Gate) -> Option<OwnedSemaphorePermit> {
        let line = &mut *self.lock();
        if let Some((turn, _)) = line.called.remove(incident) {
            return Some(turn);
        }
        if line.waiting.is_empty()
            && let Some(turn) = gate.status_at_once()
        {
            return Some(turn);
        }
        let incident: Arc<str> = incident.into();
        if line.waiting.insert(incident.clone()) {
            line.order.push_back((incident, Instant::now()));
            self.more.notify_one();
        }
        None
    }

    /// The pass has more to write in this turn.
    pub(super) fn keep(&self, incident: &str, turn: OwnedSemaphorePermit) {
        let kept = (turn, Instant::now());
        self.lock().called.insert(incident.into(), kept);
    }

    /// Something that may take long goes first: an incident that has been called lets others go meanwhile.
    pub(super) fn put_off(&self, incident: &str) {
        let line = &mut *self.lock();
        if let Some((incident, (_, asked))) = line.called.remove_entry(incident) {
            line.put_off.insert(incident, asked);
        }
    }

    /// Names of incidents whose turn has come, from now on.
    pub(super) fn changes(&self) -> broadcast::Receiver<Arc<str>> {
        self.changes.subscribe()
    }

    /// Whether the incident is in line.
    pub(super) fn is_waiting(&self, incident: &str) -> bool {
        self.lock().waiting.contains(incident)
    }

    /// The incident's object is gone.
    pub(super) fn forget(&self, incident: &str) {
        let line = &mut *self.lock();
        if line.waiting.remove(incident) {
            line.order.retain(|(other, _)| **other != *incident);
        }
        line.called.remove(incident);
    }

    /// Waits until somebody is in line who may be called; since when the first of them is.
    async fn first(&self) -> Instant {
        loop {
            let asked = self.lock().first().map(|(_, asked)| asked);
            if let Some(asked) = asked {
                return asked;
            }
            self.more.notified().await;
        }
    }

    /// Gives the turn to the first in line.
    fn call(&self, turn: OwnedSemaphorePermit) {
        let line = &mut *self.lock();
        let first = line.first().and_then(|(place, _)| line.order.remove(place));
        if let Some((incident, asked)) = first {
            line.waiting.remove(&incident);
            line.called.insert(incident.clone(), (turn, asked));
            // Nobody listens while the last leader task ends.
            let _ = self.changes.send(incident);
        }
    }

    /// Nobody is called any more. A pass under way may still want the turn of one that will have none.
    fn close(&self) {
        let Line {
            called, running, ..
        } = &mut *self.lock();
        called.retain(|incident, _| running.contains(incident));
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// The place of the first in line who may be called, and since when it waits.
    fn first(&self) -> Option<(usize, Instant)> {
        let mut line = self.order.iter().enumerate();
        let first = line.find(|(_, (incident, _))| !self.running.contains(incident))?;
        let (place, (_, asked)) = first;
        Some((place, *asked))
    }
}

/// Calls one after the other until `stop`.
pub(super) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let calling = async {
        loop {
            let asked = context.writes.first().await;
            let Some(turn) = context.gate.status(asked).await else {
                return;
            };
            context.writes.call(turn);
        }
    };
    stop.run_until_cancelled(calling).await;
    context.writes.close();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many write at once.
    const STATUSES: usize = 4;

    async fn call_next(writes: &Writes, gate: &Gate) -> Arc<str> {
        let mut told = writes.changes();
        let turn = gate.status(writes.first().await).await;
        writes.call(turn.unwrap());
        told.try_recv().unwrap()
    }

    fn take_all(gate: &Gate) -> Vec<OwnedSemaphorePermit> {
        std::iter::from_fn(|| gate.status_at_once()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_given_in_order_and_only_as_many_as_there_are_places() {
        let (gate, writes) = (Gate::default(), Writes::default());
        let mut places = take_all(&gate);
        for name in ["first", "a", "b", "gone", "a"] {
            assert!(writes.turn(name, &gate).await.is_none());
        }
        places.pop();
        assert!(
            writes.turn("late", &gate).await.is_none(),
            "others are before it"
        );
        assert_eq!(&*call_next(&writes, &gate).await, "first");
        assert!(gate.status_at_once().is_none());
        writes.leave("first");
        assert_eq!(&*call_next(&writes, &gate).await, "a");
        assert!(writes.turn("a", &gate).await.is_some());
        writes.forget("b");
        writes.forget("gone");
        assert_eq!(&*call_next(&writes, &gate).await, "late");
        assert!(writes.lock().first().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_incident_is_called_when_its_pass_is_over_and_does_not_keep_a_place_while_it_does_something_else()
     {
        let (gate, writes) = (Gate::default(), Writes::default());
        let mut places = take_all(&gate);
        writes.enter("slow");
        for name in ["slow", "quick"] {
            assert!(writes.turn(name, &gate).await.is_none());
        }
        places.truncate(1);
        assert_eq!(&*call_next(&writes, &gate).await, "quick");
        writes.leave("quick");
        writes.leave("slow");
        assert_eq!(&*call_next(&writes, &gate).await, "slow");
        writes.enter("slow");
        writes.put_off("slow");
        let free = take_all(&gate);
        assert_eq!(free.len() + places.len(), STATUSES, "it has none");
        drop((free, places));
        // Called again it would do the same again, and again let others go.
        assert!(writes.turn("slow", &gate).await.is_some());
        writes.leave("slow");
        assert!(writes.lock().first().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_forgotten_or_has_nothing_to_write_keeps_no_place() {
        let (gate, writes) = (Gate::default(), Writes::default());
        let all = take_all(&gate);
        for name in ["gone", "idle"] {
            assert!(writes.turn(name, &gate).await.is_none());
        }
        assert_eq!(all.len(), STATUSES);
        drop(all);
        for name in ["gone", "idle"] {
            assert_eq!(&*call_next(&writes, &gate).await, name);
        }
        writes.forget("gone");
        writes.enter("idle");
        writes.leave("idle");
        assert_eq!(take_all(&gate).len(), STATUSES);
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_a_turn_that_no_pass_will_take_is_left_to_those_under_way() {
        let (gate, writes) = (Gate::default(), Writes::default());
        let all = take_all(&gate);
        for name in ["late", "under way"] {
            assert!(writes.turn(name, &gate).await.is_none());
        }
        drop(all);
        for name in ["late", "under way"] {
            assert_eq!(&*call_next(&writes, &gate).await, name);
        }
        writes.enter("under way");
        writes.close();
        assert_eq!(take_all(&gate).len(), STATUSES - 1);
        assert!(writes.turn("under way", &gate).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_writes_twice_in_one_turn() {
        let (gate, writes) = (Gate::default(), Writes::default());
        let turn = writes.turn("a", &gate).await.unwrap();
        let _all = take_all(&gate);
        assert!(writes.turn("b", &gate).await.is_none());
        writes.keep("a", turn);
        assert!(writes.turn("a", &gate).await.is_some());
    }
}
