//! `drain --wait`: follows a drain by a watch, a line for each change.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use node_termination_operator::api::termination::NodeTermination;
use node_termination_operator::clock;
use node_termination_operator::plugin::args::Drain;
use node_termination_operator::plugin::{End, progress, record};

use super::connection::Cluster;
use super::failure::Error;
use super::{note, tell};

/// A record that nobody has looked at for so long is told of.
const UNHEARD: Duration = Duration::from_secs(15);

/// Follows one record to the end of its drain.
pub(super) struct Follower<'a> {
    options: &'a Drain,
    node: String,
    record: NodeTermination,
    told: String,
    /// It was seen since the watch began anew.
    seen: bool,
    failing: bool,
}

/// What a watch has brought.
enum News {
    /// The record as it is now.
    Record(Box<NodeTermination>),
    /// It is gone.
    Gone,
    /// Nothing to tell.
    Nothing,
}

impl<'a> Follower<'a> {
    /// Follows the drain of this record.
    pub(super) fn new(options: &'a Drain, record: NodeTermination) -> Self {
        Self {
            options,
            node: record.spec.node_name.clone(),
            record,
            told: String::new(),
            seen: false,
            failing: false,
        }
    }

    /// Follows it until it has ended, its time is over or somebody presses Ctrl-C. Also the record as it is then.
    pub(super) async fn follow(
        mut self,
        cluster: &Cluster,
    ) -> Result<(End, NodeTermination), Error> {
        let only = format!("metadata.name={}", self.record.name_any());
        let config = watcher::Config::default().fields(&only);
        let mut events = pin!(watcher(cluster.records(), config).default_backoff());
        let timeout = self.options.timeout.filter(|t| !t.is_zero());
        let timeout = timeout.and_then(|t| Duration::try_from(t).ok());
        let mut over = pin!(tokio::time::sleep(timeout.unwrap_or(Duration::MAX)));
        let mut unheard = pin!(tokio::time::sleep(UNHEARD));
        // Made once: between two of them a Ctrl-C would be lost.
        let mut interrupted = pin!(tokio::signal::ctrl_c());
        let mut waits = true;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                heard = &mut interrupted => {
                    heard.map_err(|e| Error::Said(format!("Ctrl-C can not be heard: {e}")))?;
                    note(&progress::goes_on(&self.node, "interrupted"));
                    return Ok((End::Interrupted, self.record));
                }
                () = &mut over => {
                    note(&progress::goes_on(&self.node, "the time is over"));
                    return Ok((End::TimedOut, self.record));
                }
                () = &mut unheard, if waits => {
                    waits = false;
                    if self.record.status.is_none() {
                        note(&progress::unheard(&self.node));
                    }
                    continue;
                }
            };
            let event = event.ok_or_else(|| Error::Said("the watch has ended".to_owned()))?;
            match self.news(cluster, event)? {
                News::Record(record) => {
                    self.record = *record;
                    self.tell()?;
                    if let Some(end) = progress::end(&self.record) {
                        return Ok((end, self.record));
                    }
                }
                News::Gone => {
                    note(&progress::deleted(&self.node));
                    return Ok((End::NotDrained, self.record));
                }
                News::Nothing => {}
            }
        }
    }

    fn news(
        &mut self,
        cluster: &Cluster,
        event: watcher::Result<Event<DeserializeGuard<NodeTermination>>>,
    ) -> Result<News, Error> {
        let event = match event {
            Ok(event) => event,
            Err(error) => return self.fails(cluster, error).map(|()| News::Nothing),
        };
        self.failing = false;
        let object = match event {
            Event::Init => {
                self.seen = false;
                return Ok(News::Nothing);
            }
            Event::InitDone if self.seen => return Ok(News::Nothing),
            Event::InitDone | Event::Delete(_) => return Ok(News::Gone),
            Event::InitApply(object) | Event::Apply(object) => object,
        };
        self.seen = true;
        let object = object.0.map_err(|error| {
            Error::Said(format!("the NodeTermination can not be read: {error}"))
        })?;
        if object.metadata.uid != self.record.metadata.uid {
            return Ok(News::Gone);
        }
        Ok(News::Record(Box::new(object)))
    }

    /// A watch that may not be is an error; any other is tried again.
    fn fails(&mut self, cluster: &Cluster, error: watcher::Error) -> Result<(), Error> {
        use watcher::Error as Failed;
        let act = "watch the NodeTermination";
        let error = match error {
            Failed::InitialListFailed(error)
            | Failed::WatchStartFailed(error)
            | Failed::WatchFailed(error) => cluster.failed(act, error),
            Failed::WatchError(status) => cluster.failed(act, kube::Error::Api(status)),
            Failed::NoResourceVersion => Error::Said(error.to_string()),
        };
        if error.is_lasting() {
            return Err(error);
        }
        if !std::mem::replace(&mut self.failing, true) {
            note(&format!("{error}; trying again"));
        }
        Ok(())
    }

    /// Tells what the record says, if it says something else than before.
    fn tell(&mut self) -> Result<(), Error> {
        let phase = record::phase(&self.record);
        let said = format!("{} {}", phase.as_str(), progress::sentence(&self.record));
        if said == self.told {
            return Ok(());
        }
        self.told = said;
        tell(
            self.options.output,
            &progress::line(&self.record, clock::now()),
        )
    }
}
