//! The documents that are polled: when each is due, how it fails, and what it says.
//!
//! Each backs off by itself: one that always fails must not slow the others down.

use futures::future::join_all;
use tokio::time::Instant;

use super::{BACK_OFF_LAST, back_off};
use crate::api::termination::Signal;
use crate::aws::{Document, Error, Metadata, Reason};
use crate::clock;
use crate::event::{Malformed, metadata as parse};

/// All documents.
pub(super) struct Feeds([Feed; 4]);

/// One document.
struct Feed {
    document: Document,
    due: Instant,
    /// Whether it was ever read.
    known: bool,
    /// Failures in a row.
    failures: u32,
    /// The last failure, in a word and in a sentence.
    failure: Option<(&'static str, String)>,
}

impl Default for Feeds {
    fn default() -> Self {
        let documents = [
            Document::SpotInstanceAction,
            Document::RebalanceRecommendation,
            Document::ScheduledMaintenance,
            Document::TargetLifecycleState,
        ];
        Self(documents.map(|document| Feed {
            document,
            due: Instant::now(),
            known: false,
            failures: 0,
            failure: None,
        }))
    }
}

impl Feeds {
    /// Reads what is due, side by side; each is due again at `next`, or later if it failed. Returns every signal that
    /// stands there.
    pub async fn read(
        &mut self,
        metadata: &Metadata,
        instance: &str,
        next: Instant,
    ) -> Vec<Signal> {
        let feeds = self.0.iter_mut();
        let reads = feeds.map(|feed| feed.read(metadata, instance, next));
        join_all(reads).await.concat()
    }

    /// When the next document is due.
    pub fn due(&self) -> Option<Instant> {
        self.0.iter().map(|feed| feed.due).min()
    }

    /// Why the documents can not all be read. One failed read among good ones is no news.
    pub fn failing(&self) -> Option<(&'static str, String)> {
        let news = |feed: &&Feed| feed.failures > 1 || !feed.known;
        self.0
            .iter()
            .filter(news)
            .find_map(|feed| feed.failure.clone())
    }
}

impl Feed {
    async fn read(&mut self, metadata: &Metadata, instance: &str, next: Instant) -> Vec<Signal> {
        if self.due > Instant::now() {
            return Vec::new();
        }
        let read = metadata.read(self.document).await;
        let (signals, failure) = match read {
            Ok(None) => (Vec::new(), None),
            Ok(Some(body)) => self.parse(instance, &body),
            Err(error) => (Vec::new(), Some((error.reason(), explained(&error)))),
        };
        self.note(failure, next);
        signals
    }

    /// The document's signals. What can not be read in it costs the rest of it nothing.
    fn parse(&self, instance: &str, body: &str) -> (Vec<Signal>, Option<(&'static str, String)>) {
        let now = clock::now();
        let parsed = match self.document {
            Document::InstanceId => Ok(Vec::new()),
            Document::SpotInstanceAction => parse::spot_interruption(instance, body),
            Document::RebalanceRecommendation => parse::rebalance_recommendation(instance, body),
            Document::TargetLifecycleState => parse::target_lifecycle_state(instance, body, now),
            Document::ScheduledMaintenance => {
                match parse::scheduled_maintenance(instance, body, now) {
                    Ok(mut entries) => {
                        let first = entries.malformed.drain(..).next();
                        return (entries.signals, first.map(|m| self.malformed(&m)));
                    }
                    Err(malformed) => Err(malformed),
                }
            }
        };
        match parsed {
            Ok(signals) => (signals, None),
            Err(malformed) => (Vec::new(), Some(self.malformed(&malformed))),
        }
    }

    fn malformed(&self, malformed: &Malformed) -> (&'static str, String) {
        let message = format!("{}: {malformed}", self.document.path());
        ("Malformed", message)
    }

    fn note(&mut self, failure: Option<(&'static str, String)>, next: Instant) {
        match &failure {
            None => {
                self.failures = 0;
                self.known = true;
                self.due = next;
            }
            Some((reason, message)) => {
                if self.failures == 0 {
                    tracing::warn!(
                        reason,
                        message,
                        "a document of the metadata can not be read"
                    );
                }
                let again = Instant::now() + back_off(self.failures, BACK_OFF_LAST);
                self.failures += 1;
                self.due = again.max(next);
            }
        }
        self.failure = failure;
    }
}

/// The error, and what is to be done about the two that a person can do something about.
pub(super) fn explained(error: &Error) -> String {
    let advice = match error.reason {
        Reason::TimedOut => {
            "; without hostNetwork the instance's metadata response hop limit must be at least 2"
        }
        Reason::AccessDenied => "; enable it on the instance, or use a queue",
        _ => "",
    };
    format!("{error}{advice}")
}
