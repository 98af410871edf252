//! The defaults of a policy, in one place: the schema and the code share them.

use super::{CordonTaint, Drain};
use crate::api::GROUP;

/// A week: long enough for a post-mortem.
pub(crate) fn ttl_seconds_after_finished() -> u32 {
    604_800
}

pub(crate) fn history_limit() -> u32 {
    1000
}

/// One long poll answers while the other's batch is being recorded.
pub(super) fn receivers() -> u32 {
    2
}

/// A batch is recorded in well under a second; after a crash its notices wait this long.
pub(super) fn visibility_timeout_seconds() -> u32 {
    15
}

pub(super) fn poll_interval_seconds() -> u32 {
    2
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

/// 48 hours: where Auto Scaling itself ends a lifecycle action.
pub(super) fn heartbeat_until_seconds() -> u32 {
    172_800
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
        }
    }
}
