//! When a launch's hook is over, by its settings.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::aws::{Error, Hook};
use crate::event::Launch;

/// No lifecycle action lasts longer (EC2 Auto Scaling User Guide, "Lifecycle hook considerations": 48 hours or 100
/// heartbeat time-outs).
const ACTION_MAX: SignedDuration = SignedDuration::from_hours(48);

/// When a launch's hook is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    /// Unless somebody sends heartbeats; we send none. `None`: it is not known.
    pub heartbeat: Option<Timestamp>,
    /// Whatever anybody does.
    pub global: Timestamp,
}

/// When the launch's hook is over, by what its group tells. What can not be read is taken for the longest that there is.
pub(super) fn ends_of(launch: &Launch, told: &Result<Vec<Hook>, Error>) -> Ends {
    let hook = told
        .iter()
        .flatten()
        .find(|h| h.name == launch.hook.hook_name);
    ends(launch.notice_time, hook)
}

fn ends(notice: Timestamp, hook: Option<&Hook>) -> Ends {
    let after = |time: Duration| {
        let time = SignedDuration::try_from(time).unwrap_or(ACTION_MAX);
        notice
            .checked_add(time.min(ACTION_MAX))
            .unwrap_or(Timestamp::MAX)
    };
    Ends {
        heartbeat: hook.map(|hook| after(hook.heartbeat_timeout)),
        global: after(hook.map_or(Duration::MAX, |hook| hook.global_timeout)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_ends_by_its_own_settings_and_within_two_days_if_they_are_not_known() {
        let notice: Timestamp = "2026-03-18T08:20:00Z".parse().unwrap();
        let hook = Hook {
            name: "ready".to_owned(),
            transition: "autoscaling:EC2_INSTANCE_LAUNCHING".to_owned(),
            heartbeat_timeout: Duration::from_mins(5),
            global_timeout: Duration::from_mins(500),
            default_result: "ABANDON".to_owned(),
        };
        let known = ends(notice, Some(&hook));
        assert_eq!(
            known.heartbeat,
            Some("2026-03-18T08:25:00Z".parse().unwrap())
        );
        assert_eq!(known.global, "2026-03-18T16:40:00Z".parse().unwrap());
        let unknown = ends(notice, None);
        assert_eq!(unknown.heartbeat, None);
        assert_eq!(unknown.global, "2026-03-20T08:20:00Z".parse().unwrap());
    }
}
