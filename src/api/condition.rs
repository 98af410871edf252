//! Conditions as the Kubernetes API conventions have them, and the three that kstatus reads.

use jiff::Timestamp;
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The object's work is done, or in a state that it may rest in (kstatus: Current).
pub const READY: &str = "Ready";
/// Work is under way (kstatus: `InProgress`).
pub const RECONCILING: &str = "Reconciling";
/// Work can not go on without somebody's help (kstatus: Failed).
pub const STALLED: &str = "Stalled";

/// A policy that only observes takes messages from its queue: nobody else gets them.
pub const OBSERVE_CONSUMES_MESSAGES: &str = "ObserveConsumesMessages";

/// Everybody can be told whom the policy's notifications name: their templates, URLs and Secrets are good.
pub const NOTIFICATIONS_VALID: &str = "NotificationsValid";

/// The operator's roles do not let it do something that it needs to do.
pub const FORBIDDEN: &str = "Forbidden";
/// A Node without a provider ID may be any instance: messages about unknown instances can not be told from ours.
pub const NODES_NOT_KNOWN: &str = "NodesNotKnown";

/// Karpenter drains nodes of the policy too.
pub const OVERLAPS_KARPENTER: &str = "OverlapsKarpenter";
/// EKS drains nodes of the policy too: they are in a managed node group, or Auto Mode's.
pub const OVERLAPS_MANAGED_NODES: &str = "OverlapsManagedNodes";
/// Spot nodes have no policy, and nobody else drains them.
pub const SPOT_NODES_UNCOVERED: &str = "SpotNodesUncovered";
/// The policy's heartbeat interval is not below a lifecycle hook's time-out.
pub const HEARTBEAT_SHORTENED: &str = "HeartbeatShortened";

/// The longest message that the API server takes (`metav1.Condition`), in bytes.
const MESSAGE_MAX: usize = 32_768;

/// What one condition should say; [`set`] keeps its transition time honest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The condition's type, in CamelCase.
    pub kind: &'static str,
    /// `True` or `False`.
    pub holds: bool,
    /// A CamelCase word from a closed set.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

impl Statement {
    /// A statement of the given type, truth, reason and message.
    pub fn new(
        kind: &'static str,
        holds: bool,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            holds,
            reason: reason.into(),
            message: message.into(),
        }
    }
}

/// Puts `statement` into `conditions`, in order of type. The transition time moves only when the truth does.
pub fn set(
    conditions: &mut Vec<Condition>,
    statement: Statement,
    generation: Option<i64>,
    now: Timestamp,
) {
    let status = if statement.holds { "True" } else { "False" };
    let previous = conditions.iter().find(|c| c.type_ == statement.kind);
    let since = previous
        .filter(|c| c.status == status)
        .map(|c| c.last_transition_time.clone());
    let message = super::bounded(statement.message, MESSAGE_MAX);
    let condition = Condition {
        type_: statement.kind.to_owned(),
        status: status.to_owned(),
        reason: statement.reason,
        message,
        observed_generation: generation,
        last_transition_time: since.unwrap_or(Time(now)),
    };
    remove(conditions, statement.kind);
    let at = conditions.partition_point(|c| c.type_.as_str() < statement.kind);
    conditions.insert(at, condition);
}

/// Takes the condition of that type out: it has nothing to say any more.
pub fn remove(conditions: &mut Vec<Condition>, kind: &str) {
    conditions.retain(|c| c.type_ != kind);
}

/// The condition of that type, if it was ever stated.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == kind)
}

/// Whether the condition of that type is stated and `True`.
#[must_use]
pub fn holds(conditions: &[Condition], kind: &str) -> bool {
    find(conditions, kind).is_some_and(|c| c.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_only_with_the_truth() {
        let (t1, t2, t3) = (
            Timestamp::from_second(1).unwrap(),
            Timestamp::from_second(2).unwrap(),
            Timestamp::from_second(3).unwrap(),
        );
        let mut conditions = Vec::new();
        set(
            &mut conditions,
            Statement::new(READY, false, "A", "a"),
            Some(1),
            t1,
        );
        set(
            &mut conditions,
            Statement::new(READY, false, "B", "b"),
            Some(1),
            t2,
        );
        assert_eq!(find(&conditions, READY).unwrap().last_transition_time.0, t1);
        assert_eq!(find(&conditions, READY).unwrap().reason, "B");
        set(
            &mut conditions,
            Statement::new(READY, true, "C", "c"),
            Some(1),
            t3,
        );
        assert_eq!(find(&conditions, READY).unwrap().last_transition_time.0, t3);
        assert!(holds(&conditions, READY));
        assert_eq!(conditions.len(), 1);
    }
}
