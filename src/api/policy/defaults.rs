//! The defaults of a policy, in one place: the schema and the code share them.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Action, Actions, CordonTaint, Drain, Limits, Maintenance, Stage};
use crate::api::GROUP;

/// A week: long enough for a post-mortem.
pub(crate) fn ttl_seconds_after_finished() -> u32 {
    604_800
}

pub(crate) fn history_limit() -> u32 {
    1000
}

/// One long poll answers while the other's batch is being recorded.
pub(crate) fn receivers() -> u32 {
    2
}

/// A batch is recorded in well under a second; after a crash its notices wait this long.
pub(crate) fn visibility_timeout_seconds() -> u32 {
    15
}

pub(crate) fn poll_interval_seconds() -> u32 {
    2
}

/// That it began, what goes wrong, that the pods have left, and however it ends.
pub(super) fn stages() -> Vec<Stage> {
    vec![
        Stage::Received,
        Stage::Blocked,
        Stage::Drained,
        Stage::Completed,
        Stage::Canceled,
        Stage::Failed,
    ]
}

/// Receivers answer in well under a second, those that are busy in a few.
pub(crate) fn notification_timeout_seconds() -> u32 {
    10
}

pub(super) fn taint_key() -> String {
    format!("{GROUP}/terminating")
}

pub(super) fn taint_effect() -> String {
    "NoSchedule".to_owned()
}

/// The two minutes of a spot notice.
pub(super) fn timeout_seconds() -> u32 {
    120
}

/// Kill, unmount and status report of the last pod.
pub(super) fn deadline_margin_seconds() -> u32 {
    8
}

/// The next pod can use a volume at once that was detached in time.
pub(super) fn wait_for_volume_detach() -> bool {
    true
}

/// 48 hours: where Auto Scaling itself ends a lifecycle action.
pub(crate) fn heartbeat_until_seconds() -> u32 {
    172_800
}

/// Nothing has happened yet, and it may hit every node of a pool at once.
pub(super) fn rebalance_recommendation() -> Action {
    Action::Observe
}

/// An hour: long enough for slow pods, short enough not to lose the node for days.
pub(super) fn lead_seconds() -> u32 {
    3600
}

pub(super) fn max_concurrent() -> IntOrString {
    IntOrString::String("100%".to_owned())
}

impl Default for Actions {
    fn default() -> Self {
        Self {
            spot_interruption: Action::default(),
            auto_scaling_termination: Action::default(),
            scheduled_maintenance: Action::default(),
            instance_state_change: Action::default(),
            capacity_reservation: Action::default(),
            rebalance_recommendation: rebalance_recommendation(),
        }
    }
}

impl Default for Maintenance {
    fn default() -> Self {
        Self {
            lead_seconds: lead_seconds(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_concurrent: max_concurrent(),
        }
    }
}

impl Default for CordonTaint {
    fn default() -> Self {
        Self {
            key: taint_key(),
            effect: taint_effect(),
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            grace_period_seconds: None,
            timeout_seconds: timeout_seconds(),
            deadline_margin_seconds: deadline_margin_seconds(),
            disruption_budgets: super::DisruptionBudgets::default(),
            daemon_set_pods: super::DaemonSetPods::default(),
            empty_dir_pods: super::Hesitation::default(),
            unmanaged_pods: super::Hesitation::default(),
            skip_pod_selector: None,
            wait_for_volume_detach: wait_for_volume_detach(),
            out_of_service_taint: false,
        }
    }
}
