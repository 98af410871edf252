//! Every sort of pod, and its fate.

use k8s_openapi::api::core::v1::Toleration;

use super::*;
use crate::drain::pod::{Deletion, Owner, Phase};

pub(crate) fn pod(name: &str) -> Pod {
    Pod {
        uid: format!("uid-{name}"),
        namespace: "web".into(),
        name: name.into(),
        resource_version: "1".into(),
        created: Some(Timestamp::from_second(0).unwrap()),
        labels: std::iter::once(("app".to_owned(), name.to_owned())).collect(),
        phase: Phase::Running,
        ready: true,
        deletion: None,
        grace: SignedDuration::from_secs(30),
        priority: 0,
        owner: Some(Owner {
            kind: "ReplicaSet".into(),
            api_version: "apps/v1".into(),
            name: name.into(),
        }),
        mirror: false,
        empty_dir: false,
        claims: vec![],
        own_claims: 0,
        tolerations: vec![],
        finalizers: vec![],
    }
}

fn owner(kind: &str, api_version: &str) -> Owner {
    Owner {
        kind: kind.into(),
        api_version: api_version.into(),
        name: "owner".into(),
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table of all sorts of pods")]
fn each_sort_of_pod_meets_its_fate() {
    let drain = Drain::default();
    let gentle = Drain {
        empty_dir_pods: Hesitation::Block,
        unmanaged_pods: Hesitation::Block,
        daemon_set_pods: DaemonSetPods::EvictLast,
        ..Drain::default()
    };
    let cordon = Cordon::default();
    let at = |s| Timestamp::from_second(s).unwrap();
    let deletion = Some(Deletion {
        ends: at(30),
        grace: SignedDuration::from_secs(30),
    });
    let everything = vec![Toleration {
        operator: Some("Exists".into()),
        ..Toleration::default()
    }];
    let plain = pod("p");
    let daemon = Pod {
        owner: Some(owner("DaemonSet", "apps/v1")),
        ..pod("p")
    };
    let late = Pod {
        created: Some(at(20)),
        ..pod("p")
    };
    for (settings, pod, fate, why) in [
        (
            &drain,
            plain.clone(),
            Fate::Leaves(Tier::Normal),
            "an ordinary pod",
        ),
        (
            &drain,
            Pod {
                mirror: true,
                ..pod("p")
            },
            Fate::Stays(StayReason::Static),
            "a mirror pod",
        ),
        (
            &drain,
            Pod {
                owner: Some(owner("Node", "v1")),
                ..pod("p")
            },
            Fate::Stays(StayReason::Static),
            "owned by its node",
        ),
        (
            &drain,
            daemon.clone(),
            Fate::Stays(StayReason::DaemonSet),
            "a daemon",
        ),
        (
            &gentle,
            daemon.clone(),
            Fate::Leaves(Tier::Daemon),
            "a daemon under EvictLast",
        ),
        (
            &gentle,
            Pod {
                created: Some(at(20)),
                ..daemon
            },
            Fate::Stays(StayReason::Returned),
            "the daemon that took its place",
        ),
        (
            &drain,
            Pod {
                phase: Phase::Succeeded,
                ..pod("p")
            },
            Fate::Stays(StayReason::Finished),
            "a finished pod",
        ),
        (
            &drain,
            Pod {
                deletion,
                ..pod("p")
            },
            Fate::Leaving,
            "a terminating pod",
        ),
        (
            &drain,
            Pod {
                deletion,
                phase: Phase::Failed,
                ..pod("p")
            },
            Fate::Stopped,
            "stopped, kept by a finalizer",
        ),
        (
            &drain,
            Pod {
                empty_dir: true,
                owner: None,
                ..pod("p")
            },
            Fate::Leaves(Tier::Normal),
            "evict by default",
        ),
        (
            &gentle,
            Pod {
                empty_dir: true,
                ..pod("p")
            },
            Fate::LeavesLast(Tier::Normal, BlockReason::EmptyDir),
            "emptyDir under Block",
        ),
        (
            &gentle,
            Pod {
                owner: None,
                ..pod("p")
            },
            Fate::LeavesLast(Tier::Normal, BlockReason::Unmanaged),
            "unmanaged under Block",
        ),
        (
            &drain,
            Pod {
                priority: 2_000_000_000,
                ..pod("p")
            },
            Fate::Leaves(Tier::Critical),
            "critical",
        ),
        (
            &drain,
            Pod {
                name: "own".into(),
                ..pod("p")
            },
            Fate::Leaves(Tier::Own),
            "the operator itself",
        ),
        (
            &drain,
            late.clone(),
            Fate::Leaves(Tier::Normal),
            "bound late by a scheduler that had not seen the cordon",
        ),
        (
            &drain,
            Pod {
                tolerations: everything.clone(),
                ..late
            },
            Fate::Stays(StayReason::Returned),
            "came back in spite of the taint",
        ),
        (
            &drain,
            Pod {
                tolerations: everything,
                ..plain
            },
            Fate::Leaves(Tier::Normal),
            "tolerates everything, there before",
        ),
    ] {
        let selection = Selection {
            drain: settings,
            cordon: &cordon,
            skip: None,
            cordoned_at: Some(at(10)),
            seen: &BTreeSet::new(),
            came: &Arrivals::default(),
            own_pod: Some("web/own"),
        };
        assert_eq!(selection.fate(&pod), fate, "{why}");
    }
}
