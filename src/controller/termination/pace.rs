//! Passes for a node whose pods are leaving: its first event at once, what follows together, a moment later.
//!
//! A pod that ends has about four events, and each pass looks at all pods of the node. What the pods' events change is
//! counts; whom the queue tells to end next, and when, does not wait for a pass.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use tokio::time::Instant;

/// Events of one node that come within this of a pass for it wait until it is over, and are one pass then.
const WINDOW: Duration = Duration::from_millis(500);

/// The nodes that were told of lately.
#[derive(Default)]
struct Pace {
    /// Whether there was another event since.
    lately: HashMap<Arc<str>, bool>,
    /// When each node's window is over, in order.
    ends: VecDeque<(Instant, Arc<str>)>,
}

impl Pace {
    /// Takes one event of the node; whether it is told at once.
    fn take(&mut self, node: &Arc<str>, now: Instant) -> bool {
        if let Some(again) = self.lately.get_mut(node) {
            *again = true;
            return false;
        }
        self.open(node.clone(), now);
        true
    }

    fn open(&mut self, node: Arc<str>, now: Instant) {
        self.ends.push_back((now + WINDOW, node.clone()));
        self.lately.insert(node, false);
    }

    /// When the next window is over.
    fn next_end(&self) -> Option<Instant> {
        self.ends.front().map(|(end, _)| *end)
    }

    /// The next node with an event in a window that is over.
    fn due(&mut self, now: Instant) -> Option<Arc<str>> {
        while self.next_end().is_some_and(|end| end <= now) {
            let (_, node) = self.ends.pop_front()?;
            if self.lately.remove(&node) == Some(true) {
                self.open(node.clone(), now);
                return Some(node);
            }
        }
        None
    }
}

/// The events of nodes, at most one of each node in a window. None is lost: the last one is told when the window ends.
/// `None` passes: the subscriber fell behind, and everything is looked at.
pub(super) fn paced(
    events: impl Stream<Item = Option<Arc<str>>> + Send + Unpin,
) -> impl Stream<Item = Option<Arc<str>>> + Send {
    stream::unfold((events, Pace::default()), |(mut events, mut pace)| async {
        loop {
            if let Some(node) = pace.due(Instant::now()) {
                return Some((Some(node), (events, pace)));
            }
            let end = pace.next_end();
            tokio::select! {
                event = events.next() => match event? {
                    Some(node) if !pace.take(&node, Instant::now()) => {}
                    told => return Some((told, (events, pace))),
                },
                () = tokio::time::sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => {}
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    fn received(
        events: mpsc::UnboundedReceiver<Option<Arc<str>>>,
    ) -> impl Stream<Item = Option<Arc<str>>> + Send + Unpin {
        Box::pin(stream::unfold(events, |mut events| async {
            Some((events.recv().await?, events))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_events_of_one_node_is_two_passes_the_first_at_once_the_last_one_told() {
        let (tell, events) = mpsc::unbounded_channel();
        let mut passes = Box::pin(paced(received(events)));
        let start = Instant::now();
        for _ in 0..100 {
            tell.send(Some("a".into())).unwrap();
        }
        tell.send(Some("b".into())).unwrap();
        let mut told = Vec::new();
        for _ in 0..3 {
            let node = passes.next().await.flatten().unwrap();
            told.push((node.to_string(), start.elapsed()));
        }
        let at = |name: &str, when| (name.to_owned(), when);
        let (now, later) = (Duration::ZERO, WINDOW);
        assert_eq!(told, [at("a", now), at("b", now), at("a", later)]);
        let quiet = tokio::time::timeout(WINDOW * 10, passes.next()).await;
        assert!(quiet.is_err(), "nothing is told twice");
        tell.send(Some("a".into())).unwrap();
        let before = Instant::now();
        assert_eq!(passes.next().await.flatten().as_deref(), Some("a"));
        assert_eq!(before.elapsed(), Duration::ZERO, "after a quiet time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_never_rests_has_a_pass_in_each_window_and_whoever_fell_behind_is_told_at_once()
     {
        let (tell, events) = mpsc::unbounded_channel();
        let mut passes = Box::pin(paced(received(events)));
        let busy = tell.clone();
        tokio::spawn(async move {
            for _ in 0..100 {
                busy.send(Some("a".into())).unwrap();
                tokio::time::sleep(WINDOW / 10).await;
            }
            busy.send(None).unwrap();
        });
        let start = Instant::now();
        let mut count = 0;
        while passes.next().await.flatten().is_some() {
            assert_eq!(start.elapsed(), WINDOW * count);
            count += 1;
        }
        assert!((10..=11).contains(&count), "{count}");
    }
}
