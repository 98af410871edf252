//! When a hook beats, and when it is over.

use super::*;
use crate::api::Time;
use crate::api::termination::{LifecycleHook, SignalKind};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn secs(s: i64) -> SignedDuration {
    SignedDuration::from_secs(s)
}

fn hook_signal() -> Signal {
    let id = "AutoScalingTermination-0123456789abcdef".to_owned();
    Signal {
        lifecycle_hook: Some(LifecycleHook::default()),
        ..Signal::new(id, SignalKind::AutoScalingTermination, Time(at(1000)))
    }
}

fn beating(interval_seconds: u32, until_seconds: u32) -> Lifecycle {
    Lifecycle {
        heartbeat: Some(Heartbeat {
            interval_seconds,
            until_seconds,
        }),
        ..Lifecycle::default()
    }
}

#[test]
fn a_hooks_deadline_follows_from_its_timeout_and_the_planned_heartbeats() {
    let known = |ht| {
        Some(HookTimeout::Known {
            heartbeat: secs(ht),
            global: secs((100 * ht).min(172_800)),
        })
    };
    for (lifecycle, timeout, deadline_after, why) in [
        (
            Lifecycle::default(),
            known(300),
            300,
            "no heartbeats: the hook's own time-out",
        ),
        (beating(60, 600), known(300), 900, "last beat at 600"),
        (
            beating(60, 630),
            known(300),
            900,
            "the last beat on the grid is at 600",
        ),
        (
            beating(30, 172_800),
            known(300),
            30_000,
            "never longer than 100 time-outs",
        ),
        (
            beating(60, 172_800),
            known(3600),
            172_800,
            "never longer than 48 hours",
        ),
        (
            beating(600, 600),
            known(60),
            660,
            "an interval above the time-out is cut to half of it: last beat at 600",
        ),
        (
            Lifecycle::default(),
            Some(HookTimeout::Unknown("denied".into())),
            120,
            "not known: the policy's time-out",
        ),
        (Lifecycle::default(), None, 120, "not known yet"),
    ] {
        let found = deadline(
            &hook_signal(),
            timeout.as_ref(),
            &Drain::default(),
            &lifecycle,
        );
        assert_eq!(found, at(1000 + deadline_after), "{why}");
    }
    let spot = Signal {
        deadline: Some(Time(at(1120))),
        lifecycle_hook: None,
        ..hook_signal()
    };
    assert_eq!(
        deadline(&spot, None, &Drain::default(), &beating(60, 600)),
        at(1120)
    );
}

#[test]
fn heartbeats_stay_on_the_grid_whatever_happens_between() {
    let grid = Grid::new(
        &Heartbeat {
            interval_seconds: 60,
            until_seconds: 200,
        },
        Some(secs(300)),
    );
    assert_eq!(grid.first(at(1000)), Some(at(1060)));
    for (now, next) in [
        (1000, Some(1060)),
        (1059, Some(1060)),
        (1060, Some(1120)),
        (1119, Some(1120)),
        (1179, Some(1180)),
        (1180, None),
        (5000, None),
    ] {
        assert_eq!(grid.after(at(1000), at(now)), next.map(at), "{now}");
    }
    assert!(!grid.is_over(at(1000), at(1200)) && grid.is_over(at(1000), at(1201)));
}

#[test]
fn the_last_heartbeat_is_sent_though_it_falls_on_the_end_and_a_timer_is_never_early() {
    let heartbeat = Heartbeat {
        interval_seconds: 60,
        until_seconds: 3600,
    };
    let grid = Grid::new(&heartbeat, Some(secs(120)));
    assert_eq!(grid.after(at(1000), at(4599)), Some(at(4600)));
    let a_little_late = at(4600) + SignedDuration::from_millis(5);
    assert!(!grid.is_over(at(1000), a_little_late));
    assert!(grid.is_over(at(1000), at(4621)), "long overdue");
}
