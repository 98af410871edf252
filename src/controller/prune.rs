//! Housekeeping, off the hot path: finished records go in time, and a cordon whose record is gone is undone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tokio_util::sync::CancellationToken;

use super::termination::Context;
use crate::api::termination::{NodeTermination, Phase};
use crate::cluster::{nodes, status};
use crate::drain::{Node, cordon};

/// How often.
const EVERY: Duration = Duration::from_mins(1);
/// Records that go in one round; the next round takes more.
const PRUNED_AT_ONCE: usize = 100;

/// Keeps house until `stop`.
pub(super) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(EVERY);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let sweep = async {
            undo_orphans(&context).await;
            prune(&context).await;
        };
        if stop.run_until_cancelled(sweep).await.is_none() {
            return;
        }
        let open = context
            .terminations
            .all()
            .filter(|t| t.0.as_ref().is_ok_and(is_open))
            .count();
        context.metrics.open(open, context.views.open_count());
    }
}

fn is_open(object: &NodeTermination) -> bool {
    !object
        .status
        .as_ref()
        .and_then(|s| s.phase)
        .is_some_and(Phase::is_finished)
}

/// Takes off the nodes what was put on for incidents that no longer exist: their records were deleted before the
/// finalizer was on, or after they were finished.
async fn undo_orphans(context: &Context) {
    for node in context.nodes.all() {
        let Some(record) = &node.cordon else { continue };
        for incident in record
            .incidents
            .iter()
            .filter(|name| context.is_orphan(name))
        {
            undo_orphan(&node, incident, context).await;
        }
    }
}

impl Context {
    /// The incident's object is gone, or was canceled while its cordon had not been seen yet.
    fn is_orphan(&self, incident: &str) -> bool {
        let object = self.terminations.get(incident);
        let status = object
            .as_ref()
            .and_then(|o| o.0.as_ref().ok()?.status.as_ref());
        object.is_none() || status.is_some_and(|s| s.phase == Some(Phase::Canceled))
    }
}

async fn undo_orphan(node: &Node, incident: &str, context: &Context) {
    let client = &context.clients.control;
    // The store may lag behind; the API server does not.
    let gone = context.terminations.get(incident).is_none();
    if gone && !matches!(status::exists(client, incident).await, Ok(false)) {
        return;
    }
    let open: Vec<String> = context.open_on(&node.uid).collect();
    let Some(patch) = cordon::open(node, incident, &open) else {
        return;
    };
    match nodes::patch(client, &node.name, &patch).await {
        Ok(()) => tracing::info!(
            node = node.name,
            nodetermination = incident,
            "its record is gone: its cordon was undone"
        ),
        Err(error) => {
            tracing::warn!(node = node.name, nodetermination = incident, %error, "a cordon without a record could not be undone yet");
        }
    }
}

async fn prune(context: &Context) {
    let records: Vec<Record> = context
        .terminations
        .all()
        .filter_map(|t| {
            let object = t.0.as_ref().ok()?;
            // What a person made, often from Git, is a person's to remove: it would only come again.
            let by_hand = object.spec.signals.is_empty();
            (!by_hand).then(|| Record::of(object, context))
        })
        .collect();
    for record in due(&records, Timestamp::now())
        .into_iter()
        .take(PRUNED_AT_ONCE)
    {
        match status::prune(&context.clients.control, &record.name, record.uid.clone()).await {
            Ok(()) => tracing::info!(nodetermination = record.name, "record pruned"),
            Err(error) => return tracing::warn!(%error, "records could not be pruned; next round"),
        }
    }
}

/// What pruning goes by.
#[derive(Clone, Debug, PartialEq)]
struct Record {
    name: String,
    uid: Option<String>,
    instance: String,
    policy: String,
    /// When it was finished; `None`: it is not.
    finished: Option<Timestamp>,
    ttl: SignedDuration,
    limit: u32,
    /// Its Node is still there.
    node_there: bool,
}

impl Record {
    fn of(object: &NodeTermination, context: &Context) -> Self {
        let status = object.status.as_ref();
        let policy = status.and_then(|s| s.policy.clone()).unwrap_or_default();
        let node = context.nodes.get(&object.spec.node_name);
        Self {
            name: object.name_any(),
            uid: object.uid(),
            instance: object.instance_id().unwrap_or_default().to_owned(),
            finished: status
                .filter(|_| !is_open(object))
                .and_then(|s| s.completed_at.as_ref())
                .map(|t| t.0),
            ttl: SignedDuration::from_secs(policy.ttl_seconds_after_finished.into()),
            limit: policy.history_limit,
            node_there: node.is_some_and(|n| Some(n.uid.as_str()) == object.node_uid()),
            policy: policy.name,
        }
    }
}

/// The records that are to go: all of an instance together, when each is past its time or beyond its policy's limit.
fn due(records: &[Record], now: Timestamp) -> Vec<&Record> {
    let mut by_policy: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in records.iter().filter(|r| r.finished.is_some()) {
        by_policy.entry(&record.policy).or_default().push(record);
    }
    let mut old: BTreeSet<&str> = BTreeSet::new();
    for kept in by_policy.values_mut() {
        kept.sort_by_key(|r| std::cmp::Reverse(r.finished));
        for (place, record) in kept.iter().enumerate() {
            let age = record
                .finished
                .map_or(SignedDuration::ZERO, |at| now.duration_since(at));
            if age >= record.ttl || place >= record.limit as usize {
                old.insert(&record.name);
            }
        }
    }
    let kept: BTreeSet<&str> = records
        .iter()
        .filter(|r| r.node_there || !old.contains(r.name.as_str()))
        .map(|r| r.instance.as_str())
        .collect();
    records
        .iter()
        .filter(|r| !kept.contains(r.instance.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, instance: &str, finished: Option<i64>) -> Record {
        Record {
            name: name.into(),
            uid: None,
            instance: instance.into(),
            policy: "p".into(),
            finished: finished.map(|s| Timestamp::from_second(s).unwrap()),
            ttl: SignedDuration::from_secs(100),
            limit: 2,
            node_there: false,
        }
    }

    fn names(records: &[Record], now: i64) -> Vec<&str> {
        due(records, Timestamp::from_second(now).unwrap())
            .into_iter()
            .map(|r| r.name.as_str())
            .collect()
    }

    #[test]
    fn records_go_after_their_time_or_beyond_the_limit_but_never_while_their_node_exists() {
        let records = [
            record("a", "a", Some(0)),
            record("b", "b", Some(50)),
            record("c", "c", None),
        ];
        assert_eq!(names(&records, 99), Vec::<&str>::new());
        assert_eq!(names(&records, 100), ["a"]);
        let there = [Record {
            node_there: true,
            ..record("a", "a", Some(0))
        }];
        assert_eq!(names(&there, 1000), Vec::<&str>::new());
        let many = [
            record("a", "a", Some(1)),
            record("b", "b", Some(2)),
            record("c", "c", Some(3)),
        ];
        assert_eq!(names(&many, 10), ["a"]);
    }

    #[test]
    fn all_numbers_of_an_instance_go_together() {
        let open = [record("a", "a", Some(0)), record("a-2", "a", None)];
        assert_eq!(names(&open, 1000), Vec::<&str>::new());
        let both = [record("a", "a", Some(0)), record("a-2", "a", Some(500))];
        assert_eq!(names(&both, 550), Vec::<&str>::new());
        assert_eq!(names(&both, 600), ["a", "a-2"]);
    }
}
