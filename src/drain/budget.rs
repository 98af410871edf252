//! Disruption budgets: which one guards a pod, and how many permits it has at the moment.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::policy::v1::{PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::{ObjectMeta, Selector, SelectorExt};
use kube::{Resource, ResourceExt};
use serde::Deserialize;

use super::answer::Answer;
use super::pod::{Phase, Pod};
use super::window::later;
use crate::api::termination::BlockReason;

/// Evictions of one budget collide on its status: the server sleeps half a second per collision, and from
/// eight in flight on it is slower than with four.
const IN_FLIGHT_MAX: i32 = 4;
/// After evictions collided in a budget's status, one at a time goes for so long.
const CONTENDED_FOR: SignedDuration = SignedDuration::from_secs(60);

/// The part of a `PodDisruptionBudget` that is read from the wire.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = "k8s_openapi::api::policy::v1::PodDisruptionBudget")]
pub struct BudgetObject {
    /// Namespace, name, generation.
    #[serde(deserialize_with = "super::meta::slim")]
    pub metadata: ObjectMeta,
    /// Selector and unhealthy-pod policy.
    pub spec: Option<PodDisruptionBudgetSpec>,
    /// Counts and conditions.
    pub status: Option<PodDisruptionBudgetStatus>,
}

/// A budget's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BudgetId {
    /// The budget's namespace.
    pub namespace: String,
    /// The budget's name.
    pub name: String,
}

impl fmt::Display for BudgetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A budget as the operator keeps it.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Which budget it is.
    pub id: BudgetId,
    selector: Option<Selector>,
    always_allow_unhealthy: bool,
    allowed: i32,
    healthy: i32,
    desired: i32,
    expected: i32,
    observed: bool,
    counted: Counted,
}

/// How the disruption controller has got on with the budget's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    /// It has counted them, or has not been there yet.
    Pods,
    /// It has, and not one of them has a controller by whose scale it could.
    None,
    /// It can not.
    Failed,
}

impl From<BudgetObject> for Budget {
    fn from(object: BudgetObject) -> Self {
        let generation = object.metadata.generation;
        let id = BudgetId {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        };
        let spec = object.spec.unwrap_or_default();
        let status = object.status.unwrap_or_default();
        let says = |reason: &str| {
            let mut conditions = status.conditions.iter().flatten();
            conditions.any(|c| c.type_ == "DisruptionAllowed" && c.reason == reason)
        };
        let observed = status.observed_generation == generation;
        // Only then the controller goes by the scale of the pods' controllers (getExpectedScale of disruption.go).
        let by_scale = spec.max_unavailable.is_some()
            || matches!(spec.min_available, Some(IntOrString::String(_)));
        let nothing = (status.expected_pods, status.disruptions_allowed) == (0, 0);
        let counted = if says("SyncFailed") {
            Counted::Failed
        } else if nothing && by_scale && observed && says("InsufficientPods") {
            Counted::None
        } else {
            Counted::Pods
        };
        Self {
            id,
            selector: spec.selector.and_then(|s| s.try_into().ok()),
            always_allow_unhealthy: spec.unhealthy_pod_eviction_policy.as_deref()
                == Some("AlwaysAllow"),
            allowed: status.disruptions_allowed,
            healthy: status.current_healthy,
            desired: status.desired_healthy,
            expected: status.expected_pods,
            observed,
            counted,
        }
    }
}

impl Budget {
    /// Whether it guards the pod: same namespace, selector matches; an empty selector matches all, an absent one none.
    #[must_use]
    pub fn guards(&self, pod: &Pod) -> bool {
        self.id.namespace == pod.namespace
            && self
                .selector
                .as_ref()
                .is_some_and(|s| s.matches(&pod.labels))
    }

    /// Whether both guard the same pods.
    #[must_use]
    pub fn selects_like(&self, other: &Self) -> bool {
        self.selector == other.selector
    }

    /// Whether the server lets this pod go without taking from the budget (eviction.go of kube-apiserver).
    #[must_use]
    pub fn lets_pass(&self, pod: &Pod) -> bool {
        let healthy_enough = self.desired > 0 && self.healthy >= self.desired;
        !pod.ready && (self.always_allow_unhealthy || healthy_enough)
    }

    /// Why it can not have room, and what to tell people.
    #[must_use]
    pub fn refusal(&self) -> (BlockReason, String) {
        let counts = format!(
            "{} healthy of {} wanted, {} pods, {} disruptions allowed",
            self.healthy, self.desired, self.expected, self.allowed
        );
        if self.counted == Counted::Failed || self.allowed < 0 {
            (
                BlockReason::BudgetSyncFailed,
                format!("the disruption controller can not compute the budget ({counts})"),
            )
        } else if self.expected > 0 && self.desired >= self.expected {
            (
                BlockReason::BudgetUnsatisfiable,
                format!("the budget never allows a disruption as it stands ({counts})"),
            )
        } else if self.counted == Counted::None {
            (
                BlockReason::BudgetUnsatisfiable,
                format!(
                    "the budget never allows a disruption as it stands: under maxUnavailable or a percentage only pods of a controller are counted, and it selects none ({counts})"
                ),
            )
        } else if self.allowed > 0 {
            let message =
                format!("evictions that its status does not show yet take its room ({counts})");
            (BlockReason::Budget, message)
        } else {
            (
                BlockReason::Budget,
                format!("no room in the budget ({counts})"),
            )
        }
    }
}

/// Whether the server asks no budget at all for such a pod.
#[must_use]
pub fn is_exempt(pod: &Pod) -> bool {
    pod.deletion.is_some() || pod.phase == Phase::Pending || pod.phase.is_terminal()
}

/// The right to send one eviction under a budget, until it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    /// Whose it is.
    pub budget: BudgetId,
    /// How many events of the budget had been seen when it was given.
    pub(super) events: u64,
}

/// The permits of one budget: what its last status allows, less our own evictions that it can not show yet.
#[derive(Clone, Debug)]
pub struct Gate {
    /// The budget's last known state.
    pub budget: Budget,
    in_flight: i32,
    unseen: i32,
    refused: bool,
    contended_until: Option<Timestamp>,
    events: u64,
}

impl Gate {
    /// A gate for a budget that was just seen.
    #[must_use]
    pub fn new(budget: Budget) -> Self {
        Self {
            budget,
            in_flight: 0,
            unseen: 0,
            refused: false,
            contended_until: None,
            events: 0,
        }
    }

    /// How many evictions the last status allows, less our own that it can not show yet.
    #[must_use]
    pub fn room(&self) -> i32 {
        self.budget.allowed - self.in_flight - self.unseen
    }

    /// How many evictions may be sent now.
    #[must_use]
    pub fn permits(&self, now: Timestamp) -> i32 {
        if !self.budget.observed || self.refused {
            return 0;
        }
        let left = self.room();
        let most = if self.is_contended(now) {
            1
        } else {
            IN_FLIGHT_MAX
        };
        left.min(most - self.in_flight).max(0)
    }

    /// By its status the budget would let one more pass: what holds it back is our own bound on evictions in flight.
    #[must_use]
    pub fn would_pass(&self, now: Timestamp) -> bool {
        self.budget.observed && !self.refused && !self.is_contended(now) && self.room() > 0
    }

    fn is_contended(&self, now: Timestamp) -> bool {
        self.contended_until.is_some_and(|until| now < until)
    }

    /// The budget changed: its status is the truth again.
    pub fn observe(&mut self, budget: Budget) {
        *self = Self {
            budget,
            in_flight: self.in_flight,
            unseen: 0,
            refused: false,
            contended_until: self.contended_until,
            events: self.events + 1,
        };
    }

    /// An eviction goes out.
    pub fn send(&mut self) -> Permit {
        self.in_flight += 1;
        Permit {
            budget: self.budget.id.clone(),
            events: self.events,
        }
    }

    /// An eviction was answered. An accepted one is not in the status that we know, and a refused one speaks of it,
    /// unless an event has passed by meanwhile: no other may come, so the status is taken as it is. At worst the
    /// server refuses once.
    pub fn answered(&mut self, permit: &Permit, answer: &Answer, now: Timestamp) {
        self.in_flight = (self.in_flight - 1).max(0);
        let same_status = permit.events == self.events;
        match answer {
            Answer::Accepted => self.unseen += i32::from(same_status),
            // In spite of a permit: somebody else evicts too. Nothing until the budget's next event.
            Answer::BudgetRefused { .. } => self.refused |= same_status,
            Answer::BudgetContended => self.contended_until = Some(later(now, CONTENDED_FOR)),
            _ => {}
        }
    }
}
