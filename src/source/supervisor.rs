//! From policies to running monitors: one for each queue, however many policies name it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::record::Recorder;
use super::settings::Settings;
use super::sqs::Monitor;
use crate::api::policy::{SourceState, SqsSource, TerminationPolicy};
use crate::aws::{Account, Aws};
use crate::clock;
use crate::telemetry::Health;

/// A queue, and as whom it is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueueKey {
    /// The queue's URL.
    pub url: String,
    /// The region, and the role if one is assumed.
    pub account: Account,
}

impl QueueKey {
    /// The queue of a source; `None` if neither the source nor the URL names a region.
    #[must_use]
    pub fn of(source: &SqsSource) -> Option<Self> {
        let account = Account {
            region: source.region()?.to_owned(),
            role_arn: source.role_arn.clone(),
            external_id: source.external_id.clone(),
        };
        Some(Self {
            url: source.queue_url.clone(),
            account,
        })
    }
}

/// The queues that these policies ask for.
pub fn wanted<'a>(
    policies: impl IntoIterator<Item = &'a TerminationPolicy>,
) -> HashMap<QueueKey, Settings> {
    let mut wanted: HashMap<QueueKey, Settings> = HashMap::new();
    let sources = policies.into_iter().flat_map(|p| {
        let queues = p.spec.sources.iter().filter_map(|s| s.sqs.as_ref());
        queues.map(|queue| (p.spec.mode, queue))
    });
    for (mode, source) in sources {
        let Some(key) = QueueKey::of(source) else {
            continue;
        };
        let mut settings = Settings::of(source, mode);
        if let Some(others) = wanted.remove(&key) {
            settings = others.join(settings);
        }
        wanted.insert(key, settings);
    }
    wanted
}

/// How a monitor is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitorState {
    /// Starting, Polling or `BackingOff`.
    pub state: SourceState,
    /// In one CamelCase word.
    pub reason: String,
    /// In a sentence.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

struct Running {
    settings: Settings,
    state: watch::Receiver<MonitorState>,
    stop: CancellationToken,
}

/// Starts, replaces and stops monitors.
pub struct Supervisor {
    aws: Aws,
    recorder: Recorder,
    health: Health,
    changes: broadcast::Sender<()>,
    running: Mutex<HashMap<QueueKey, Running>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Supervisor {
    /// Nothing runs yet.
    #[must_use]
    pub fn new(aws: Aws, recorder: Recorder, health: Health) -> Self {
        Self {
            aws,
            recorder,
            health,
            changes: broadcast::Sender::new(16),
            running: Mutex::default(),
            tasks: Mutex::default(),
        }
    }

    /// Told when a monitor's state changes.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<()> {
        self.changes.subscribe()
    }

    /// Makes the running monitors the wanted ones.
    pub fn run_exactly(&self, wanted: &HashMap<QueueKey, Settings>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|key, monitor| {
            let keep = wanted.get(key) == Some(&monitor.settings);
            if !keep {
                tracing::info!(
                    queue = key.url,
                    region = key.account.region,
                    "monitor stops"
                );
                monitor.stop.cancel();
            }
            keep
        });
        for (key, settings) in wanted {
            if !running.contains_key(key) {
                running.insert(key.clone(), self.start(key.clone(), settings.clone()));
            }
        }
    }

    /// How the queue's monitor is doing, if it runs.
    #[must_use]
    pub fn state(&self, key: &QueueKey) -> Option<MonitorState> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running
            .get(key)
            .map(|monitor| monitor.state.borrow().clone())
    }

    /// Stops all monitors and waits until they have settled what they hold.
    pub async fn stop(&self) {
        self.run_exactly(&HashMap::new());
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.join_all().await;
    }

    fn start(&self, key: QueueKey, settings: Settings) -> Running {
        tracing::info!(
            queue = key.url,
            region = key.account.region,
            receivers = settings.receivers,
            "monitor starts"
        );
        let message = "the first call has not been answered".to_owned();
        let (sender, state) = watch::channel(MonitorState {
            state: SourceState::Starting,
            reason: "Starting".to_owned(),
            message,
            since: clock::now(),
        });
        let stop = CancellationToken::new();
        let monitor = Monitor {
            key,
            settings: settings.clone(),
            aws: self.aws.clone(),
            recorder: self.recorder.clone(),
            state: sender,
            health: self.health.clone(),
            troubles: Mutex::default(),
        };
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(monitor.run(stop.clone()));
        tasks.spawn(forward(state.clone(), self.changes.clone()));
        Running {
            settings,
            state,
            stop,
        }
    }
}

/// Tells of each change of state until the monitor is gone.
async fn forward(mut state: watch::Receiver<MonitorState>, changes: broadcast::Sender<()>) {
    while state.changed().await.is_ok() {
        // Nobody listens while the last leader task ends.
        let _ = changes.send(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::policy::{LaunchHooks, Source, TerminationPolicySpec, UnknownInstances};

    fn policy(sources: Vec<SqsSource>) -> TerminationPolicy {
        let sources = sources
            .into_iter()
            .map(|sqs| Source {
                name: "q".into(),
                sqs: Some(sqs),
                imds: None,
            })
            .collect();
        TerminationPolicy::new(
            "p",
            TerminationPolicySpec {
                sources,
                ..TerminationPolicySpec::default()
            },
        )
    }

    fn source(
        receivers: u32,
        visibility_timeout_seconds: u32,
        unknown_instances: UnknownInstances,
    ) -> SqsSource {
        SqsSource {
            queue_url: "https://sqs.eu-west-1.amazonaws.com/123456789012/q".into(),
            region: None,
            role_arn: None,
            external_id: None,
            receivers,
            visibility_timeout_seconds,
            unknown_instances,
            managed_tag: None,
            launch_hooks: LaunchHooks::default(),
        }
    }

    #[test]
    fn policies_that_share_a_queue_share_one_monitor() {
        let one = policy(vec![source(1, 30, UnknownInstances::Delete)]);
        let other = policy(vec![source(4, 15, UnknownInstances::Leave)]);
        let wanted: Vec<Settings> = wanted([&one, &other]).into_values().collect();
        assert_eq!(wanted.len(), 1);
        assert_eq!(wanted[0].receivers, 4);
    }

    #[test]
    fn another_role_is_another_monitor() {
        let assumed = SqsSource {
            role_arn: Some("arn:aws:iam::123456789012:role/r".into()),
            ..source(1, 15, UnknownInstances::Leave)
        };
        let policy = policy(vec![source(1, 15, UnknownInstances::Leave), assumed]);
        assert_eq!(wanted([&policy]).len(), 2);
    }
}
