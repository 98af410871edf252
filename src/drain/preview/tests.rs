use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::api::policy::{Cordon, DisruptionBudgets, Drain, Hesitation};
use crate::api::termination::BlockReason;
use crate::drain::arrivals::Arrivals;
use crate::drain::budget::BudgetObject;
use crate::drain::pod::{Deletion, Pod};
use crate::drain::select::Selection;
use crate::drain::select::tests::pod;
use crate::drain::{Budget, Queue, Window, plan};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn secs(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

/// A budget of all pods with `app=db`.
fn budget(name: &str, allowed: i32, desired: i32) -> Budget {
    let object: BudgetObject = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "web", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": "db"}}},
        "status": {"disruptionsAllowed": allowed, "currentHealthy": desired + allowed, "desiredHealthy": desired,
            "expectedPods": 5, "observedGeneration": 1},
    }))
    .unwrap();
    object.into()
}

fn db(name: &str) -> Pod {
    Pod {
        labels: std::iter::once(("app".to_owned(), "db".to_owned())).collect(),
        ..pod(name)
    }
}

/// The preview at second 0 of a spot notice.
fn of(pods: &[Pod], budgets: Vec<Budget>, drain: &Drain) -> Preview {
    let mut queue = Queue::default();
    for budget in budgets {
        queue.budget_changed(budget, at(0));
    }
    let cordon = Cordon::default();
    let selection = Selection {
        drain,
        cordon: &cordon,
        skip: None,
        cordoned_at: None,
        came: &Arrivals::default(),
        own_pod: None,
    };
    let window = Window {
        start: at(0),
        deadline: at(120),
        margin: secs(8),
    };
    let pods: Vec<_> = pods.iter().cloned().map(Arc::new).collect();
    let plan = plan::plan(&pods, &selection, window, at(0));
    let held = queue.would_hold(&plan.candidates, at(0));
    assert!(
        queue.pop(at(0)).is_none() && queue.waiting() == 0,
        "nothing is kept"
    );
    preview(&plan, held, at(0))
}

fn named(preview: &Preview) -> Vec<(&str, BlockReason)> {
    let blocked = preview.blocked.iter();
    blocked
        .map(|w| (w.pod.as_str(), w.block.as_ref().unwrap().reason))
        .collect()
}

#[test]
fn pods_are_counted_by_what_a_drain_would_do_with_them() {
    let daemon = Pod {
        mirror: true,
        ..pod("static")
    };
    let ends = |second| {
        Some(Deletion {
            ends: at(second),
            grace: secs(30),
        })
    };
    let leaving = Pod {
        deletion: ends(20),
        ..pod("leaving")
    };
    let stuck = Pod {
        deletion: ends(-90),
        ..pod("stuck")
    };
    let preview = of(
        &[pod("a"), pod("b"), daemon, leaving, stuck],
        vec![],
        &Drain::default(),
    );
    let expected = Preview {
        leave: 4,
        leaving: 2,
        stay: 1,
        stuck: 1,
        cut: 0,
        blocked: vec![],
    };
    assert_eq!(preview, expected);
}

#[test]
fn whatever_would_hold_a_pod_is_named_with_its_reason() {
    let two = || vec![budget("one", 1, 2), budget("two", 1, 2)];
    let scratch = Pod {
        empty_dir: true,
        ..pod("scratch")
    };
    let lone = Pod {
        owner: None,
        ..pod("lone")
    };
    let gentle = Drain {
        empty_dir_pods: Hesitation::Block,
        unmanaged_pods: Hesitation::Block,
        ..Drain::default()
    };
    let ignoring = Drain {
        disruption_budgets: DisruptionBudgets::Ignore,
        ..Drain::default()
    };
    let unready = Pod {
        ready: false,
        ..db("a")
    };
    let default = Drain::default();
    let a = ("web/a", BlockReason::Budget);
    for (pods, budgets, drain, held) in [
        (vec![pod("a")], vec![budget("db", 0, 2)], &default, vec![]),
        (vec![db("a")], vec![budget("db", 0, 2)], &default, vec![a]),
        (vec![db("a")], vec![budget("db", 0, 2)], &ignoring, vec![]),
        (vec![unready], vec![budget("db", 0, 2)], &default, vec![]),
        (
            vec![db("a")],
            vec![budget("db", 0, 5)],
            &default,
            vec![("web/a", BlockReason::BudgetUnsatisfiable)],
        ),
        (
            vec![db("a")],
            two(),
            &default,
            vec![("web/a", BlockReason::MultipleBudgets)],
        ),
        (
            vec![scratch.clone(), lone.clone()],
            vec![],
            &default,
            vec![],
        ),
        (
            vec![scratch, lone],
            vec![],
            &gentle,
            vec![
                ("web/lone", BlockReason::Unmanaged),
                ("web/scratch", BlockReason::EmptyDir),
            ],
        ),
    ] {
        assert_eq!(named(&of(&pods, budgets, drain)), held);
    }
}

#[test]
fn a_budget_with_room_for_some_holds_the_others() {
    let pods: Vec<Pod> = (0..5).map(|n| db(&format!("db-{n}"))).collect();
    for (allowed, held) in [(0, 5), (2, 3), (5, 0), (9, 0)] {
        let preview = of(&pods, vec![budget("db", allowed, 1)], &Drain::default());
        assert_eq!(
            (preview.leave, preview.blocked.len()),
            (5, held),
            "{allowed}"
        );
    }
    let preview = of(&pods, vec![budget("db", 2, 1)], &Drain::default());
    let block = preview.blocked[0].block.clone().unwrap();
    assert_eq!(
        block.message,
        "the budget has room for 2 of the pods that it guards here"
    );
    assert_eq!(block.by.as_deref(), Some("web/db"));
    assert_eq!(preview.blocked[0].force_at, Some(at(82)), "its last moment");
}

#[test]
fn a_grace_period_that_the_deadline_cuts_is_counted() {
    let slow = |name: &str, seconds| Pod {
        grace: secs(seconds),
        ..db(name)
    };
    let respect = Drain {
        disruption_budgets: DisruptionBudgets::Respect,
        ..Drain::default()
    };
    let default = Drain::default();
    for (seconds, budgets, drain, cut, why) in [
        (30, vec![], &default, 0, "there is time"),
        (0, vec![], &default, 0, "a second instead of none is no cut"),
        (112, vec![], &default, 0, "all that there is"),
        (113, vec![], &default, 1, "a second too many"),
        (
            30,
            vec![budget("db", 0, 2)],
            &default,
            0,
            "held, and forced with its grace",
        ),
        (
            100,
            vec![budget("db", 0, 2)],
            &default,
            1,
            "held through the first quarter",
        ),
        (
            600,
            vec![budget("db", 0, 2)],
            &respect,
            0,
            "never told to end",
        ),
    ] {
        assert_eq!(of(&[slow("a", seconds)], budgets, drain).cut, cut, "{why}");
    }
    let endless = Pod {
        deletion: Some(Deletion {
            ends: at(600),
            grace: secs(600),
        }),
        ..pod("endless")
    };
    assert_eq!(
        of(&[endless], vec![], &default).cut,
        1,
        "it terminates too slowly"
    );
}
