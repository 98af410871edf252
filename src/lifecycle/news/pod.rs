//! What is worth an Event on a pod: that it was deleted instead of evicted, or got less than its grace period.
//!
//! The record goes by nodes, and a pod's own conditions go with it. Whoever asks what became of the pod asks for its
//! Events, which stay.

use jiff::SignedDuration;

use super::News;
use crate::api::termination::{NodeTermination, SignalKind};
use crate::drain::{Order, Verb};

/// It was deleted, not evicted.
const FORCED: &str = "Forced";
/// It has less than its grace period.
const GRACE_CUT: &str = "GraceCut";

/// Why the pods of the incident's node are told to end, in half a sentence.
#[must_use]
pub fn why_pods_leave(incident: &NodeTermination) -> String {
    let node = &incident.spec.node_name;
    let name = incident.metadata.name.as_deref().unwrap_or_default();
    let status = incident.status.as_ref();
    let reason = status.and_then(|s| s.reason).unwrap_or_default();
    let deadline = status.and_then(|s| s.deadline.as_ref());
    let by = deadline.map_or_else(String::new, |d| format!(" by {:.0}", d.0));
    match reason {
        SignalKind::Manual => {
            format!("node {node} is taken out of service by nodetermination {name}")
        }
        kind => format!(
            "node {node} goes{by} ({}, nodetermination {name})",
            kind.as_str()
        ),
    }
}

/// What is worth an Event, once the order was accepted. An ordinary eviction is not: the API server itself puts the
/// condition `DisruptionTarget` on the pod, and a controller makes another.
#[must_use]
pub fn news_of_pod(order: &Order, why: &str) -> Option<News> {
    // A grace period of less than a second is lengthened, not cut.
    let own = order.own_grace.max(SignedDuration::from_secs(1));
    let cut = (order.grace < own).then(|| {
        let (given, own) = (order.grace.as_secs(), own.as_secs());
        format!("{given} s of its grace period of {own} s")
    });
    let (reason, what) = match (order.verb, cut) {
        (Verb::Evict, None) => return None,
        (Verb::Evict, Some(cut)) => (GRACE_CUT, format!("evicted with {cut}")),
        (Verb::Delete, cut) => {
            let with = cut.map_or_else(String::new, |cut| format!(", with {cut}"));
            (FORCED, format!("deleted, not evicted{}{with}", past(order)))
        }
    };
    Some(News {
        reason,
        warning: true,
        note: format!("{what}: {why}"),
    })
}

/// What the deletion went past.
fn past(order: &Order) -> String {
    let Some(block) = &order.past else {
        return String::new();
    };
    let by = block.by.as_deref().unwrap_or(block.reason.as_str());
    format!(", past {by}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::api::Time;
    use crate::api::termination::{BlockReason, NodeTerminationSpec, NodeTerminationStatus};
    use crate::drain::queue::Block;
    use crate::drain::select::tests::pod;

    fn order(verb: Verb, own: i64, given: i64, past: Option<Block>) -> Order {
        Order {
            node: "uid".into(),
            pod: Arc::new(pod("web-1")),
            verb,
            grace: SignedDuration::from_secs(given),
            own_grace: SignedDuration::from_secs(own),
            past,
            pin_version: false,
            mark_disruption: false,
            permit: None,
        }
    }

    fn told(order: &Order) -> Option<(&'static str, String)> {
        news_of_pod(order, "why").map(|news| (news.reason, news.note))
    }

    #[test]
    fn an_eviction_with_the_whole_grace_period_is_no_news() {
        assert_eq!(told(&order(Verb::Evict, 30, 30, None)), None);
        assert_eq!(told(&order(Verb::Evict, 0, 1, None)), None, "lengthened");
    }

    #[test]
    fn a_pod_that_was_cut_short_or_deleted_is_told_of_with_what_it_went_past() {
        let cut = "evicted with 12 s of its grace period of 30 s: why";
        let said = told(&order(Verb::Evict, 30, 12, None));
        assert_eq!(said, Some(("GraceCut", cut.to_owned())));
        let block = Block {
            reason: BlockReason::Budget,
            by: Some("shop/web".to_owned()),
            since: Timestamp::UNIX_EPOCH,
            message: "no room".to_owned(),
        };
        let forced =
            "deleted, not evicted, past shop/web, with 12 s of its grace period of 30 s: why";
        let said = told(&order(Verb::Delete, 30, 12, Some(block)));
        assert_eq!(said, Some(("Forced", forced.to_owned())));
        let ignored = told(&order(Verb::Delete, 30, 30, None));
        assert_eq!(
            ignored,
            Some(("Forced", "deleted, not evicted: why".to_owned()))
        );
    }

    #[test]
    fn the_reason_names_the_node_the_kind_the_deadline_and_the_incident() {
        let spec = NodeTerminationSpec {
            node_name: "n".to_owned(),
            ..NodeTerminationSpec::default()
        };
        let mut incident = NodeTermination::new("i-1", spec);
        let by_hand = "node n is taken out of service by nodetermination i-1";
        incident.status = Some(NodeTerminationStatus {
            reason: Some(SignalKind::Manual),
            ..NodeTerminationStatus::default()
        });
        assert_eq!(why_pods_leave(&incident), by_hand);
        incident.status = Some(NodeTerminationStatus {
            reason: Some(SignalKind::SpotInterruption),
            deadline: Some(Time(Timestamp::from_second(120).unwrap())),
            ..NodeTerminationStatus::default()
        });
        assert_eq!(
            why_pods_leave(&incident),
            "node n goes by 1970-01-01T00:02:00Z (SpotInterruption, nodetermination i-1)"
        );
    }
}
