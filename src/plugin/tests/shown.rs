//! Tables and sentences, to the letter.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::{Value, json};

use super::{condition, node, now, record, spot};
use crate::api::policy::TerminationPolicy;
use crate::api::termination::EffectivePolicy;
use crate::drain::budget::{Budget, BudgetObject};
use crate::drain::pod::{Pod, PodObject};
use crate::plugin::output::{Format, list, one};
use crate::plugin::{drain, history, idle, progress, switch, why};

/// Asserts that `docs/kubectl-plugin.md` shows these lines, however their columns are spaced.
fn assert_documented(text: &str) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/kubectl-plugin.md");
    let document = std::fs::read_to_string(path).unwrap();
    let bare = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown: Vec<String> = document.lines().map(bare).collect();
    for line in text.lines() {
        let line = bare(line);
        assert!(shown.contains(&line), "the document does not show: {line}");
    }
}

fn draining() -> Value {
    let blocked = |pod: &str, reason: &str, by: &str, force: Option<&str>| {
        let mut pod = json!({
            "pod": pod, "uid": "u", "reason": reason, "by": by,
            "since": "2026-11-21T10:42:48Z", "message": "no room at the moment",
        });
        if let Some(at) = force {
            pod["forceTime"] = json!(at);
        }
        pod
    };
    json!({
        "phase": "Draining",
        "reason": "SpotInterruption",
        "deadline": "2026-11-21T10:44:23Z",
        "startedAt": "2026-11-21T10:42:26Z",
        "cordonedAt": "2026-11-21T10:42:26Z",
        "policy": serde_json::to_value(EffectivePolicy { name: "default".into(), ..Default::default() }).unwrap(),
        "pods": {"summary": "1/4", "total": 4, "evicted": 1, "forced": 0, "gone": 1, "blocked": 2, "stuck": 0, "skipped": 3},
        "blocked": [
            blocked("shop/web-0", "Budget", "shop/web", Some("2026-11-21T10:43:53Z")),
            blocked("shop/web-1", "Webhook", "keep.example.com", None),
        ],
        "lifecycleActions": [{"signalID": "s", "hookName": "drain", "state": "Pending", "heartbeats": 0, "nextHeartbeatTime": "2026-11-21T10:43:26Z"}],
        "conditions": [
            condition("Cordoned", "True", "Cordoned", "node node-1 is closed to new pods"),
            condition("DeadlineAtRisk", "True", "Refused", "shop/web-1 may be left"),
            condition("Drained", "False", "Blocked", "1/4 pods have gone, 2 blocked"),
            condition("LifecycleCompleted", "False", "Pending", "1 of 1 lifecycle actions wait for the drain"),
            condition("Ready", "False", "Draining", "the node's pods are leaving"),
        ],
    })
}

#[test]
fn why_names_what_blocks_who_since_when_and_what_comes_next_at_what_time() {
    let text = why::text(&record("i-0a1b2c3d4e5f60718", &spot(), &draining()), now());
    let wanted = "\
Node:       node-1
Record:     nt/i-0a1b2c3d4e5f60718, 34s old
Cause:      SpotInterruption
Phase:      Draining
State:      1/4 pods have gone, 2 blocked
Policy:     default
Deadline:   2026-11-21T10:44:23Z (in 83s)
Pods:       1/4 gone, 1 terminating, 2 blocked, 3 left alone
At risk:    Refused: shop/web-1 may be left

BLOCKED      REASON    BY                 SINCE   FORCED   MESSAGE
shop/web-0   Budget    shop/web           12s     in 53s   no room at the moment
shop/web-1   Webhook   keep.example.com   12s     never    no room at the moment

CONDITION                  REASON    MESSAGE
LifecycleCompleted=False   Pending   1 of 1 lifecycle actions wait for the drain

NEXT     AT                     WHAT
in 26s   2026-11-21T10:43:26Z   heartbeat of lifecycle hook drain
in 53s   2026-11-21T10:43:53Z   told to end whatever holds it: shop/web-0
in 83s   2026-11-21T10:44:23Z   deadline: the machine goes
";
    assert_eq!(text, wanted);
    let heads = text.lines().filter(|line| line.starts_with("NEXT "));
    heads.for_each(assert_documented);
}

#[test]
fn why_of_a_drain_by_hand_tells_who_asked_what_for_and_how_it_is_undone() {
    let status = json!({
        "phase": "Released", "outcome": "Drained", "reason": "Manual",
        "pods": {"summary": "2/2", "total": 2, "evicted": 0, "forced": 0, "gone": 2, "blocked": 0, "stuck": 0, "skipped": 0},
        "conditions": [
            condition("Drained", "True", "Drained", "2/2 pods have gone"),
            condition("Ready", "True", "Released", "our work is done (Drained)"),
        ],
    });
    let mut object = record("node-1", &json!({}), &status);
    object.metadata.annotations = drain::object("a", "b", Some("replace the disk"))
        .metadata
        .annotations;
    let wanted = "\
Node:     node-1
Record:   nt/node-1, 34s old
Cause:    Manual: replace the disk
Phase:    Released (Drained)
State:    2/2 pods have gone; our work is done (Drained)
Pods:     2/2 gone

`kubectl nodetermination cancel node-1` opens the node again
";
    assert_eq!(why::text(&object, now()), wanted);
}

#[test]
fn why_of_a_wait_tells_what_it_waits_for_and_until_when() {
    let status = json!({
        "phase": "Waiting", "reason": "ScheduledMaintenance",
        "waiting": {"reason": "MaintenanceWindow", "until": "2026-11-21T12:43:00Z"},
        "deadline": "2026-11-21T13:43:00Z",
        "conditions": [condition("Ready", "True", "MaintenanceWindow", "the maintenance window is far: the node stays open")],
    });
    let text = why::text(&record("i-1", &json!({}), &status), now());
    for line in [
        "State:      the maintenance window is far: the node stays open\n",
        "in 120m   2026-11-21T12:43:00Z   the drain begins, for the maintenance window opens soon\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let held = record("i-1", &json!({"hold": true}), &status);
    let text = why::text(&held, now());
    assert!(
        text.contains("`kubectl nodetermination release node-1` lets it go on"),
        "{text}"
    );
    for (kind, told) in [("Manual", false), ("SpotInterruption", true)] {
        let status = json!({
            "phase": "Waiting", "reason": kind, "waiting": {"reason": "Held"},
            "deadline": "2026-11-21T13:43:00Z",
        });
        let text = why::text(&record("i-1", &json!({"hold": true}), &status), now());
        assert_eq!(text.contains("deadline: "), told, "{text}");
    }
    let unseen = why::text(&record("x", &json!({}), &Value::Null), now());
    assert!(unseen.contains("does the operator run?"), "{unseen}");
}

fn pod(name: &str, owner: &str) -> Pod {
    let object = json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "labels": {"app": "web"},
            "ownerReferences": [{"kind": owner, "apiVersion": "apps/v1", "name": "o", "uid": "o", "controller": true}],
        },
        "spec": {"terminationGracePeriodSeconds": 30},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    Pod::from(serde_json::from_value::<PodObject>(object).unwrap())
}

fn budget() -> Budget {
    let object = json!({
        "metadata": {"name": "web", "namespace": "shop", "generation": 1},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}},
        "status": {"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 3, "desiredHealthy": 2, "expectedPods": 3},
    });
    Budget::from(serde_json::from_value::<BudgetObject>(object).unwrap())
}

fn policy(mode: &str) -> EffectivePolicy {
    let object = json!({
        "apiVersion": "nodetermination.dev/v1alpha1", "kind": "TerminationPolicy", "metadata": {"name": "default"},
        "spec": {"mode": mode, "sources": []},
    });
    serde_json::from_value::<TerminationPolicy>(object)
        .unwrap()
        .effective()
}

#[test]
fn why_of_an_idle_node_tells_which_policy_speaks_and_what_a_drain_would_do() {
    let policy = policy("Enforce");
    let pods = vec![
        pod("web-0", "ReplicaSet"),
        pod("web-1", "ReplicaSet"),
        pod("log-0", "DaemonSet"),
    ];
    let would = idle::foresee(&policy, pods, vec![budget()], now());
    let last = record("node-1", &json!({}), &json!({"phase": "Canceled"}));
    let text = idle::text(
        &node(&json!({})),
        Some(&policy),
        Ok(would),
        Some(&last),
        now(),
    );
    let wanted = "\
Node:      node-1, open to new pods
Record:    none is open; the last one, nt/node-1, is Canceled (34s old)
Policy:    default
A drain:   by hand, begun now, would move 2 pods, of which 1 are blocked at first and 0 have their grace period cut, and leave 1 alone

WOULD BE BLOCKED   REASON   BY         FORCED      MESSAGE
shop/web-1         Budget   shop/web   after 82s   the budget has room for 1 of the pods that it guards here

NOTICE                    ACTION
SpotInterruption          CordonAndDrain
CapacityReservation       CordonAndDrain
InstanceStateChange       CordonAndDrain
AutoScalingTermination    CordonAndDrain
ScheduledMaintenance      CordonAndDrain
RebalanceRecommendation   Observe
";
    assert_eq!(text, wanted);
    // How old the last record is differs.
    assert_documented(&text.replace("34s", "2h"));
}

#[test]
fn why_of_an_idle_node_says_when_it_can_not_tell_and_when_nothing_would_be_done() {
    let closed = node(&json!({"unschedulable": true}));
    let text = idle::text(
        &closed,
        None,
        Err("list the node's Pods: no".into()),
        None,
        now(),
    );
    let wanted = "\
Node:      node-1, closed to new pods, and not by the operator
Record:    none
Policy:    none: notices about it are dropped, and `kubectl nodetermination drain` goes by the defaults of one
A drain:   not known: list the node's Pods: no
";
    assert_eq!(text, wanted);
    let observes = policy("Observe");
    let would = idle::foresee(&observes, vec![], vec![], now());
    let text = idle::text(&closed, Some(&observes), Ok(would), None, now());
    assert!(
        text.contains("Policy:    default, which only observes: nothing is ever changed\n"),
        "{text}"
    );
    assert!(
        text.contains("SpotInterruption          Observe\n"),
        "{text}"
    );
    let said = drain::warning(&closed, Some(&observes)).unwrap();
    assert!(said.contains("only observes"), "{said}");
    assert_eq!(drain::warning(&closed, Some(&policy("Enforce"))), None);
}

#[test]
fn history_is_a_line_for_each_record() {
    let over = json!({
        "phase": "Completed", "outcome": "Drained", "reason": "SpotInterruption",
        "startedAt": "2026-11-21T10:42:26Z", "drainedAt": "2026-11-21T10:42:36Z", "completedAt": "2026-11-21T10:43:00Z",
        "pods": {"summary": "4/4", "total": 4, "evicted": 0, "forced": 1, "gone": 4, "blocked": 0, "stuck": 0, "skipped": 3},
    });
    let records = [
        record("i-0a1b2c3d4e5f60718", &spot(), &over),
        record("node-1", &json!({}), &Value::Null),
    ];
    let wanted = "\
NAME                  NODE     REASON             PHASE       OUTCOME   PODS     FORCED   TOOK     AGE
i-0a1b2c3d4e5f60718   node-1   SpotInterruption   Completed   Drained   4/4      1        10s      34s
node-1                node-1   Manual             Pending     <none>    <none>   0        <none>   34s
";
    assert_eq!(history::text(&records, now()), wanted);
    assert_documented(wanted.lines().next().unwrap());
}

#[test]
fn a_wait_is_a_line_for_each_change() {
    let lines = [
        (
            Value::Null,
            "34s    Pending     nobody has looked at it yet",
        ),
        (
            draining(),
            "34s    Draining    1/4 pods have gone, 2 blocked",
        ),
    ];
    for (status, wanted) in lines {
        assert_eq!(
            progress::line(&record("x", &json!({}), &status), now()),
            wanted
        );
    }
}

#[test]
fn what_was_done_is_told_with_how_it_is_undone() {
    let object = record("node-1", &json!({"hold": true}), &Value::Null);
    let name = "nodetermination.nodetermination.dev/node-1";
    for (said, wanted) in [
        (
            drain::created(&object),
            format!(
                "{name} created: node-1 is drained, and out of service until `kubectl nodetermination cancel node-1`"
            ),
        ),
        (
            drain::joined(&object),
            format!(
                "{name} drains node-1 already (Manual, Pending): nothing was made; it is held, and `kubectl nodetermination release node-1` lets it go on"
            ),
        ),
        (
            switch::Switch::Hold.done(&object),
            format!(
                "{name} held: no pod of node-1 is told to end any more; `kubectl nodetermination release node-1` lets it go on"
            ),
        ),
        (
            switch::Switch::Cancel.done(&object),
            format!(
                "{name} canceled: what was put on node-1 for it is taken off, and its lifecycle actions are left alone"
            ),
        ),
    ] {
        assert_eq!(said, wanted);
    }
    for said in [
        drain::created(&object),
        switch::Switch::Hold.done(&object),
        switch::Switch::Release.done(&object),
        switch::Switch::Cancel.done(&object),
    ] {
        assert_documented(&said);
    }
}

#[test]
fn objects_are_printed_as_kubectl_prints_them_and_several_are_a_list() {
    let mut object = record("node-1", &json!({}), &Value::Null);
    object.metadata.managed_fields = Some(vec![ManagedFieldsEntry::default()]);
    let text = one(Format::Json, &object).unwrap();
    let read: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(read["kind"], "NodeTermination");
    assert_eq!(read["metadata"].get("managedFields"), None);
    let text = one(Format::Yaml, &object).unwrap();
    assert!(
        text.starts_with("apiVersion: nodetermination.dev/v1alpha1\n"),
        "{text}"
    );
    let read: Value = serde_json::from_str(&list(Format::Json, &[&object]).unwrap()).unwrap();
    assert_eq!(
        (&read["kind"], read["items"].as_array().unwrap().len()),
        (&json!("List"), 1)
    );
    assert_eq!(
        list(Format::Yaml, &[]).unwrap().lines().nth(1),
        Some("items: []")
    );
    let names = list(Format::Name, &[&object, &object]).unwrap();
    assert_eq!(
        names,
        "nodetermination.nodetermination.dev/node-1\n".repeat(2)
    );
}
