//! Who goes when, by plan: tiers and their reserves, slow and stuck pods, times to look again.

use std::collections::BTreeSet;

use super::*;
use crate::api::policy::{Cordon, DaemonSetPods, Drain, Hesitation};
use crate::api::termination::LeftReason;
use crate::drain::pod::{Deletion, Owner};
use crate::drain::select::tests::pod;
use jiff::Timestamp;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn secs(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

/// A spot notice: 120 s, 8 of them margin.
fn spot() -> Window {
    Window {
        start: at(0),
        deadline: at(120),
        margin: secs(8),
    }
}

fn evict_last() -> Drain {
    Drain {
        daemon_set_pods: DaemonSetPods::EvictLast,
        ..Drain::default()
    }
}

fn planned(pods: &[Pod], drain: &Drain, window: Window, now: i64) -> Plan {
    let selection = Selection {
        drain,
        cordon: &Cordon::default(),
        skip: None,
        cordoned_at: Some(at(0)),
        seen: &BTreeSet::new(),
        came: &Arrivals::default(),
        own_pod: Some("web/own"),
    };
    let pods: Vec<_> = pods.iter().cloned().map(Arc::new).collect();
    plan(&pods, &selection, window, at(now))
}

fn daemon(name: &str) -> Pod {
    Pod {
        owner: Some(Owner {
            kind: "DaemonSet".into(),
            api_version: "apps/v1".into(),
            name: "daemon".into(),
        }),
        grace: secs(20),
        ..pod(name)
    }
}

fn critical(name: &str) -> Pod {
    Pod {
        priority: 2_000_000_000,
        grace: secs(10),
        ..pod(name)
    }
}

fn terminating(pod: Pod, ends: i64, grace: i64) -> Pod {
    Pod {
        deletion: Some(Deletion {
            ends: at(ends),
            grace: secs(grace),
        }),
        ..pod
    }
}

fn open(plan: &Plan) -> Vec<&str> {
    let open = plan.candidates.iter().filter(|c| c.open);
    open.map(|c| c.pod.name.as_str()).collect()
}

#[test]
fn a_tier_opens_when_the_earlier_ones_have_gone_or_at_the_time_its_graces_need() {
    let own = || Pod {
        grace: secs(5),
        ..pod("own")
    };
    let all = || vec![pod("web"), daemon("logs"), critical("dns"), own()];
    let leaving = || terminating(pod("web"), 40, 30);
    for (pods, now, opened, wake, why) in [
        (
            all(),
            0,
            vec!["web"],
            Some(77),
            "daemons 20 s, critical 10, own 5, before 112",
        ),
        (
            all(),
            77,
            vec!["web", "logs"],
            Some(97),
            "the daemons' time has come",
        ),
        (
            all(),
            97,
            vec!["web", "logs", "dns"],
            Some(107),
            "and the critical pods'",
        ),
        (
            all(),
            107,
            vec!["web", "logs", "dns", "own"],
            None,
            "and our own",
        ),
        (
            all()[1..].to_vec(),
            5,
            vec!["logs"],
            Some(97),
            "nothing ordinary is left",
        ),
        (
            vec![leaving(), daemon("logs")],
            5,
            vec![],
            Some(92),
            "it still runs",
        ),
        (
            vec![
                terminating(critical("dns"), 40, 10),
                critical("dns-2"),
                own(),
            ],
            5,
            vec!["dns-2"],
            Some(100),
            "its own tier does not wait for itself",
        ),
    ] {
        let plan = planned(&pods, &evict_last(), spot(), now);
        assert_eq!((open(&plan), plan.wake), (opened, wake.map(at)), "{why}");
    }
}

#[test]
fn reserves_take_at_most_half_of_the_window() {
    let slow = Pod {
        grace: secs(600),
        ..daemon("slow")
    };
    let plan = planned(&[pod("web"), slow], &evict_last(), spot(), 0);
    assert_eq!((open(&plan), plan.wake), (vec!["web"], Some(at(56))));
}

#[test]
fn a_terminating_pod_is_waited_for_and_is_stuck_a_minute_after_its_grace() {
    let pods = [terminating(pod("p"), 30, 30)];
    let before = planned(&pods, &Drain::default(), spot(), 89);
    assert_eq!(
        (before.leaving, before.remaining.len(), before.stuck.len()),
        (1, 1, 0)
    );
    assert_eq!(before.wake, Some(at(90)));
    let after = planned(&pods, &Drain::default(), spot(), 90);
    assert_eq!((after.stuck[0].since, after.wake), (at(30), None));
    assert!(!after.is_empty(), "it is not gone");
}

#[test]
fn a_pod_that_tolerates_the_cordon_is_evicted_once_and_the_one_that_follows_is_left_and_named() {
    use k8s_openapi::api::core::v1::Toleration;
    let tolerant = |name: &str, created: i64| Pod {
        tolerations: vec![Toleration {
            operator: Some("Exists".into()),
            ..Toleration::default()
        }],
        created: Some(at(created)),
        ..pod(name)
    };
    let plan = planned(
        &[tolerant("first", -5), tolerant("next", 1)],
        &Drain::default(),
        spot(),
        10,
    );
    assert_eq!(open(&plan), ["first"]);
    assert_eq!((plan.skipped, plan.left.len()), (1, 1));
    assert_eq!(plan.left[0].pod, "web/next");
    assert_eq!(plan.left[0].reason, LeftReason::Returned);
    assert!(plan.left[0].message.contains("tolerates"));

    // In the same second as the cordon, or by a clock that is behind: it was not there at the first look.
    let seen = BTreeSet::from(["uid-first".to_owned()]);
    let selection = Selection {
        drain: &Drain::default(),
        cordon: &Cordon::default(),
        skip: None,
        cordoned_at: Some(at(0)),
        seen: &seen,
        came: &Arrivals::default(),
        own_pod: None,
    };
    let pods = [
        tolerant("first", -5),
        tolerant("same", 0),
        tolerant("behind", -2),
        // It was spared until somebody took the label off that spared it.
        tolerant("spared", -30),
    ]
    .map(Arc::new);
    let plan = super::plan(&pods, &selection, spot(), at(10));
    assert_eq!((open(&plan), plan.left.len()), (vec!["first", "spared"], 2));
}

#[test]
fn late_pods_are_bounded_by_owner_over_all_plans_but_not_those_of_the_first_seconds() {
    let late = |name: &str, created: i64| Pod {
        created: Some(at(created)),
        ..pod(name)
    };
    let of_one = |name: &str, created| {
        let mut pod = late(name, created);
        pod.owner.as_mut().unwrap().name = "one".into();
        pod
    };
    let cordon = Cordon::default();
    let drain = Drain::default();
    let mut came = Arrivals::default();
    let mut evicted = |pods: &[Pod]| {
        let selection = Selection {
            drain: &drain,
            cordon: &cordon,
            skip: None,
            cordoned_at: Some(at(0)),
            seen: &BTreeSet::new(),
            came: &came,
            own_pod: None,
        };
        let pods: Vec<_> = pods.iter().cloned().map(Arc::new).collect();
        let plan = plan(&pods, &selection, spot(), at(30));
        let evicted: Vec<String> = plan.candidates.iter().map(|c| c.pod.name.clone()).collect();
        came = plan.came;
        evicted
    };
    let early: Vec<Pod> = (0..9).map(|n| of_one(&format!("e{n}"), 4)).collect();
    assert_eq!(evicted(&early).len(), 9, "the scheduler did not know");
    let a_and_b = [of_one("a", 9), of_one("b", 10)];
    assert_eq!(evicted(&a_and_b), ["a", "b"]);
    assert_eq!(
        evicted(&a_and_b),
        ["a", "b"],
        "the same are not counted twice"
    );
    assert_eq!(
        evicted(&[of_one("c", 11), of_one("d", 12), late("other", 12)]),
        ["c", "other"]
    );
    assert_eq!(evicted(&[of_one("d", 12)]), Vec::<String>::new());
}

#[test]
fn a_terminating_pod_whose_grace_was_cut_to_the_window_is_told_with_both() {
    let mut slow = terminating(pod("slow"), 112, 90);
    slow.grace = secs(600);
    let mut by_somebody = terminating(pod("by-somebody"), 40, 10);
    by_somebody.grace = secs(600);
    let plan = planned(&[by_somebody, slow], &Drain::default(), spot(), 30);
    let cut = plan.cut.iter().map(|c| {
        let own = c.own == secs(600);
        (c.pod.as_str(), own, c.given, c.to_window)
    });
    assert_eq!(
        cut.collect::<Vec<_>>(),
        [
            ("web/by-somebody", true, secs(10), false),
            ("web/slow", true, secs(90), true)
        ]
    );
}

#[test]
fn the_own_pod_is_held_back_only_when_it_is_alone_and_loses_no_grace() {
    for (now, others, held) in [(40, 0, true), (80, 0, false), (40, 1, false)] {
        let mut pods = vec![pod("own")];
        pods.extend((0..others).map(|n| pod(&format!("p{n}"))));
        let mut plan = planned(&pods, &Drain::default(), spot(), now);
        assert_eq!(plan.hold_own(secs(10), at(now)), held, "at {now}, {others}");
        let own = plan.candidates.iter().find(|c| c.tier == Tier::Own);
        assert_eq!(own.unwrap().open, !held && others == 0);
    }
}

#[test]
fn a_pod_whose_containers_have_stopped_counts_as_gone() {
    let stopped = Pod {
        phase: crate::drain::pod::Phase::Succeeded,
        finalizers: vec!["example.com/hold".into()],
        ..terminating(pod("p"), 30, 30)
    };
    assert!(planned(&[stopped], &Drain::default(), spot(), 0).is_empty());
}

#[test]
fn only_a_pod_that_would_outlive_the_window_is_cut_short() {
    for (ends, grace, now, cut, why) in [
        (112, 100, 12, None, "it ends with the window"),
        (113, 100, 13, None, "a second is spared"),
        (
            114,
            100,
            14,
            Some(98),
            "told to end by somebody who did not know the deadline",
        ),
        (600, 590, 10, Some(102), "far too slow"),
        (600, 590, 111, Some(1), "never below a second"),
    ] {
        let plan = planned(
            &[terminating(pod("p"), ends, grace)],
            &Drain::default(),
            spot(),
            now,
        );
        let given = plan.candidates.first().map(|c| {
            assert!(c.shorten && c.open && c.force_at.is_none());
            c.window
                .grace(c.grace, at(now))
                .min(c.pod.deletion.unwrap().grace)
        });
        assert_eq!(given, cut.map(secs), "{why}");
        assert_eq!(
            (plan.leaving, plan.remaining.len()),
            (1, 1),
            "waited for all the same"
        );
    }
}

#[test]
fn the_policy_says_what_the_last_moment_does() {
    let polite = at(82);
    for (budgets, force_at, ignored) in [
        (DisruptionBudgets::RespectUntilDeadline, Some(polite), false),
        (DisruptionBudgets::Respect, None, false),
        (DisruptionBudgets::Ignore, Some(polite), true),
    ] {
        let drain = Drain {
            disruption_budgets: budgets,
            empty_dir_pods: Hesitation::Block,
            ..Drain::default()
        };
        let scratch = Pod {
            empty_dir: true,
            ..pod("scratch")
        };
        let plan = planned(&[pod("web"), scratch], &drain, spot(), 0);
        let [web, scratch] = &plan.candidates[..] else {
            panic!("{plan:?}")
        };
        assert_eq!(
            (web.force_at, web.latest_start, web.ignore_budgets),
            (force_at, polite, ignored)
        );
        assert_eq!(web.hesitation, None);
        assert_eq!(scratch.hesitation, Some(BlockReason::EmptyDir));
    }
}

#[test]
fn the_policys_grace_takes_the_place_of_the_pods_own() {
    let drain = Drain {
        grace_period_seconds: Some(12),
        ..Drain::default()
    };
    let plan = planned(&[pod("web")], &drain, spot(), 0);
    assert_eq!(
        (plan.candidates[0].grace, plan.candidates[0].latest_start),
        (secs(12), at(100))
    );
}

#[test]
fn pods_that_stay_are_counted_and_not_waited_for() {
    let plan = planned(&[daemon("logs")], &Drain::default(), spot(), 0);
    assert_eq!((plan.skipped, plan.is_empty(), plan.wake), (1, true, None));
}
