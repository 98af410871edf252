//! Housekeeping, off the hot path: finished records go in time, and what was remembered of gone ones is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tokio_util::sync::CancellationToken;

use super::termination::Context;
use crate::api::termination::{NodeTermination, Outcome, Phase};
use crate::clock;
use crate::cluster::status;
use crate::lifecycle::notices;

/// How often.
const EVERY: Duration = Duration::from_mins(1);
/// How long the record is kept of an incident that is not that of its node: time to look at it.
const MISMATCH_KEPT: SignedDuration = SignedDuration::from_mins(10);
/// Records that go in one round; the next round takes more.
const PRUNED_AT_ONCE: usize = 100;

/// Keeps house until `stop`.
pub(super) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(EVERY);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        context.forget_gone();
        let sweep = async {
            prune(&context).await;
            context.notifier.forget_gone(|| context.uids());
        };
        if stop.run_until_cancelled(sweep).await.is_none() {
            return;
        }
        context.metrics.views(context.views.open_count());
    }
}

fn is_open(object: &NodeTermination) -> bool {
    !object.phase().is_some_and(Phase::is_finished)
}

fn is_node_there(object: &NodeTermination, context: &Context) -> bool {
    let node = context.nodes.get(&object.spec.node_name);
    node.is_some_and(|n| Some(n.uid.as_str()) == object.node_uid())
}

async fn prune(context: &Context) {
    let records: Vec<Record> = context
        .terminations
        .all()
        .filter_map(|t| {
            let object = t.0.as_ref().ok()?;
            // What a person made, often from Git, is a person's to remove: it would only come again.
            let by_hand = object.spec.signals.is_empty();
            (!by_hand).then(|| Record::of(object, |object| is_node_there(object, context)))
        })
        .collect();
    for record in due(&records, clock::now()).into_iter().take(PRUNED_AT_ONCE) {
        match status::prune(&context.clients.control, &record.name, record.uid.clone()).await {
            Ok(()) => tracing::info!(nodetermination = record.name, "record pruned"),
            Err(error) => return tracing::warn!(%error, "records could not be pruned; next round"),
        }
    }
}

/// The records that go together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    /// Those of one instance.
    Instance(String),
    /// One alone: what it says of its instance is not true, and must keep no true record of it, nor be kept by one.
    Mismatch(String),
}

/// What pruning goes by.
#[derive(Clone, Debug, PartialEq)]
struct Record {
    name: String,
    uid: Option<String>,
    group: Group,
    policy: String,
    /// When it was finished; `None`: it is not.
    finished: Option<Timestamp>,
    ttl: SignedDuration,
    limit: u32,
    /// Its Node is still there, or somebody is still to be told of its end.
    kept: bool,
}

impl Record {
    fn of(object: &NodeTermination, is_node_there: impl Fn(&NodeTermination) -> bool) -> Self {
        let status = object.status.as_ref();
        let policy = status.and_then(|s| s.policy.clone()).unwrap_or_default();
        let finished = status
            .filter(|_| !is_open(object))
            .and_then(|s| s.completed_at.as_ref())
            .map(|t| t.0);
        if status.is_some_and(|s| s.outcome == Some(Outcome::IdentityMismatch)) {
            return Self::of_mismatch(object, finished);
        }
        let instance = object.instance_id().unwrap_or_default();
        Self {
            name: object.name_any(),
            uid: object.uid(),
            group: Group::Instance(instance.to_owned()),
            finished,
            ttl: SignedDuration::from_secs(policy.ttl_seconds_after_finished.into()),
            limit: policy.history_limit,
            kept: is_node_there(object)
                || status.is_some_and(|s| notices::pending(s).next().is_some()),
            policy: policy.name,
        }
    }

    /// It has no policy: it takes no other record's place in a history.
    fn of_mismatch(object: &NodeTermination, finished: Option<Timestamp>) -> Self {
        Self {
            name: object.name_any(),
            uid: object.uid(),
            group: Group::Mismatch(object.name_any()),
            policy: String::new(),
            finished,
            ttl: MISMATCH_KEPT,
            limit: u32::MAX,
            kept: false,
        }
    }

    fn is_mismatch(&self) -> bool {
        matches!(self.group, Group::Mismatch(_))
    }
}

/// The records that are to go: all of an instance together, when each is past its time or beyond its policy's limit.
fn due(records: &[Record], now: Timestamp) -> Vec<&Record> {
    let mut by_policy: BTreeMap<(bool, &str), Vec<&Record>> = BTreeMap::new();
    for record in records.iter().filter(|r| r.finished.is_some()) {
        let history = (record.is_mismatch(), record.policy.as_str());
        by_policy.entry(history).or_default().push(record);
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
    let kept: BTreeSet<&Group> = records
        .iter()
        .filter(|r| r.kept || !old.contains(r.name.as_str()))
        .map(|r| &r.group)
        .collect();
    records
        .iter()
        .filter(|r| !kept.contains(&r.group))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(name: &str, instance: &str, finished: Option<i64>) -> Record {
        Record {
            name: name.into(),
            uid: None,
            group: Group::Instance(instance.into()),
            policy: "p".into(),
            finished: finished.map(|s| Timestamp::from_second(s).unwrap()),
            ttl: SignedDuration::from_secs(100),
            limit: 2,
            kept: false,
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
            kept: true,
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

    /// As a stolen agent token makes one: with the identity of its own node, which exists.
    fn mismatch(name: &str, completed_at: &str) -> Record {
        let object = json!({
            "apiVersion": "nodetermination.dev/v1alpha1",
            "kind": "NodeTermination",
            "metadata": {"name": name},
            "spec": {"nodeName": "thief", "nodeUID": "uid", "instanceID": "a"},
            "status": {"phase": "Failed", "outcome": "IdentityMismatch", "completedAt": completed_at},
        });
        let there = |_: &NodeTermination| true;
        Record::of(&serde_json::from_value(object).unwrap(), there)
    }

    #[test]
    fn a_record_that_is_not_of_its_node_goes_after_ten_minutes_by_itself_and_takes_no_place() {
        let at = |second| Timestamp::from_second(second).unwrap().to_string();
        let victim = Record {
            kept: true,
            ..record("a-2", "a", Some(0))
        };
        let lies = [mismatch("a", &at(0)), mismatch("a-3", &at(1)), victim];
        assert_eq!(names(&lies, 599), Vec::<&str>::new());
        assert_eq!(names(&lies, 600), ["a"]);
        assert_eq!(names(&lies, 601), ["a", "a-3"]);

        let without_policy = Record {
            policy: String::new(),
            ..record("b", "b", Some(0))
        };
        let mut many: Vec<_> = (1..9)
            .map(|n| mismatch(&format!("a-{n}"), &at(n)))
            .collect();
        many.push(without_policy);
        assert_eq!(names(&many, 50), Vec::<&str>::new());
        // An open record of the instance keeps its finished ones; a lie about it does not.
        let lie = mismatch("a", &at(1000));
        assert_eq!(names(&[lie, record("a-2", "a", Some(0))], 1100), ["a-2"]);
    }
}
