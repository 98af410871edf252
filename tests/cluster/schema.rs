//! What the API server refuses and what it says then, what it accepts, and what kubectl shows.

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use node_termination_operator::api::policy::TerminationPolicy;
use node_termination_operator::api::policy::region_of_queue;
use node_termination_operator::api::termination::NodeTermination;
use serde_json::{Value, json};
use testbed::ControlPlane;

use crate::bare::{bare, spots};

const URL: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/node-events";
const ROLE: &str = "arn:aws:iam::123456789012:role/nodes";

#[tokio::test]
async fn a_source_that_can_not_work_is_refused_with_the_reason() {
    let names: Vec<String> = (0..17).map(|n| format!("events-{n}")).collect();
    let seventeen: Vec<Value> = names.iter().map(|n| queue(n, &json!({}))).collect();
    let one_of = "source: exactly one of sqs, imds must be set";
    let url = "queueURL: must look like https://sqs.REGION.amazonaws.com/ACCOUNT/QUEUE";
    let refused = [
        (
            "both sorts of source",
            sources(&[json!({"name": "events", "sqs": {"queueURL": URL}, "imds": {}})]),
            one_of,
        ),
        (
            "no sort of source",
            sources(&[json!({"name": "events"})]),
            one_of,
        ),
        ("a queue's name for its URL", at("node-events-of-all"), url),
        (
            "an ARN for a URL",
            at("arn:aws:sqs:eu-west-1:123456789012:node-events"),
            url,
        ),
        (
            "no account",
            at("https://sqs.eu-west-1.amazonaws.com/node-events"),
            url,
        ),
        ("a query", at(&format!("{URL}?Action=SendMessage")), url),
        (
            "a path of its own",
            at("https://sqs.eu-west-1.amazonaws.com/queues/123456789012/q"),
            url,
        ),
        (
            "an ID without a role",
            sources(&[queue("events", &json!({"externalID": "secret"}))]),
            "externalID: it is sent when a role is assumed, so sqs.roleARN must be set",
        ),
        (
            "no role at all",
            sources(&[queue(
                "events",
                &json!({"roleARN": "arn:aws:iam::123456789012:user/me"}),
            )]),
            "spec.sources[0].sqs.roleARN in body should match",
        ),
        (
            "no source",
            sources(&[]),
            "spec.sources in body should have at least 1 items",
        ),
        (
            "too many sources",
            sources(&seventeen),
            "spec.sources: Too many: 17: must have at most 16 items",
        ),
        (
            "two sources of one name",
            sources(&[queue("events", &json!({})), queue("events", &json!({}))]),
            r#"spec.sources[1]: Duplicate value: {"name":"events"}"#,
        ),
        (
            "no receiver",
            sources(&[queue("events", &json!({"receivers": 0}))]),
            "spec.sources[0].sqs.receivers in body should be greater than or equal to 1",
        ),
    ];
    for (what, object, message) in refused {
        assert_refused(what, &object, message).await;
    }
}

#[tokio::test]
async fn a_setting_that_can_not_work_is_refused_with_the_reason() {
    let interval = "heartbeat: intervalSeconds must be from 30 to 3600";
    let until = "heartbeat: untilSeconds must be from 60 to 172800";
    let limits =
        "limits: maxConcurrent must be a number from 1 to 100000, or a share from 1% to 100%";
    let limit = |most: &Value| policy(&json!({"limits": {"maxConcurrent": most}}));
    let empty = "skipPodSelector: an empty selector would leave every pod on the node";
    let refused = [
        ("beats too often", heartbeat(29, 60), interval),
        ("beats too seldom", heartbeat(3601, 7200), interval),
        ("ends at once", heartbeat(30, 59), until),
        ("never ends", heartbeat(30, 172_801), until),
        (
            "ends before the first beat",
            heartbeat(61, 60),
            "heartbeat: intervalSeconds must not be greater than untilSeconds",
        ),
        ("no room", limit(&json!(0)), limits),
        (
            "more than anybody has",
            limit(&json!(3_000_000_000_i64)),
            limits,
        ),
        ("no share", limit(&json!("0%")), limits),
        ("more than all", limit(&json!("101%")), limits),
        ("no number", limit(&json!("all")), limits),
        (
            "nothing to keep alive",
            policy(
                &json!({"sources": [{"name": "metadata", "imds": {}}], "lifecycle": {"heartbeat": {"intervalSeconds": 60}}}),
            ),
            "heartbeat: lifecycle.heartbeat needs an sqs source",
        ),
        (
            "NoExecute",
            taint("NoExecute"),
            "taint: NoExecute is refused: it deletes pods at once, past disruption budgets, order and grace",
        ),
        (
            "no such effect",
            taint("Never"),
            "taint: effect must be NoSchedule or PreferNoSchedule",
        ),
        (
            "every pod skipped",
            drain(&json!({"skipPodSelector": {}})),
            empty,
        ),
        (
            "every pod skipped, in other words",
            drain(&json!({"skipPodSelector": {"matchLabels": {}, "matchExpressions": []}})),
            empty,
        ),
        (
            "an operator that nobody can read",
            drain(
                &json!({"skipPodSelector": {"matchExpressions": [{"key": "a", "operator": "in", "values": ["b"]}]}}),
            ),
            r#"operator: Unsupported value: "in": supported values: "In", "NotIn", "Exists", "DoesNotExist""#,
        ),
        (
            "values that are missing",
            policy(
                &json!({"nodeSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
            ),
            "selector: In and NotIn need values, Exists and DoesNotExist take none",
        ),
        (
            "a mode that is none",
            policy(&json!({"mode": "Dream"})),
            r#"spec.mode: Unsupported value: "Dream": supported values: "Enforce", "Observe""#,
        ),
    ];
    for (what, object, message) in refused {
        assert_refused(what, &object, message).await;
    }
}

#[tokio::test]
async fn a_policy_at_the_edge_of_each_rule_is_accepted() {
    let names: Vec<String> = (0..16).map(|n| format!("events-{n}")).collect();
    let sixteen: Vec<Value> = names.iter().map(|n| queue(n, &json!({}))).collect();
    let metadata = json!({"name": "metadata", "imds": {}});
    let accepted = [
        ("the shortest heartbeat", heartbeat(30, 60)),
        ("the longest heartbeat", heartbeat(3600, 172_800)),
        ("one beat", heartbeat(60, 60)),
        ("metadata alone", sources(std::slice::from_ref(&metadata))),
        (
            "metadata beside a queue",
            policy(
                &json!({"sources": [queue("events", &json!({})), metadata], "lifecycle": {"heartbeat": {"intervalSeconds": 60}}}),
            ),
        ),
        ("NoSchedule", taint("NoSchedule")),
        ("PreferNoSchedule", taint("PreferNoSchedule")),
        (
            "a FIFO queue",
            at("https://sqs.eu-west-1.amazonaws.com/123456789012/node-events.fifo"),
        ),
        (
            "a role",
            sources(&[queue("events", &json!({"roleARN": ROLE}))]),
        ),
        (
            "a role with an ID",
            sources(&[queue(
                "events",
                &json!({"roleARN": ROLE, "externalID": "secret"}),
            )]),
        ),
        (
            "labels to skip",
            drain(&json!({"skipPodSelector": {"matchLabels": {"a": "b"}}})),
        ),
        (
            "an expression to skip",
            drain(
                &json!({"skipPodSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}),
            ),
        ),
        ("sixteen sources", sources(&sixteen)),
    ];
    for (what, object) in accepted {
        create::<TerminationPolicy>(&object)
            .await
            .unwrap_or_else(|said| panic!("{what}: {said}"));
    }
}

/// The rule and the operator read the same URLs: else a policy would be accepted that can not work.
#[tokio::test]
async fn a_region_is_asked_for_just_when_the_operator_can_not_read_one_from_the_url() {
    let hosts = [
        "sqs.eu-west-1.amazonaws.com",
        "sqs.eu-west-1.amazonaws.com:443",
        "sqs.cn-north-1.amazonaws.com.cn",
        "sqs.us-gov-east-1.amazonaws.com",
        "sqs.eusc-de-east-1.amazonaws.eu",
        "eu-west-1.queue.amazonaws.com",
        "cn-north-1.queue.amazonaws.com.cn",
        "sqs-fips.us-east-1.amazonaws.com",
        "vpce-0a1b-2c3d-eu-west-1a.sqs.eu-west-1.vpce.amazonaws.com",
        "sqs.eu-west-1.api.aws",
        "sqs.cn-north-1.api.amazonwebservices.com.cn",
        "sqs.eu-west-1.amazonaws.com.example.com",
        "sqs.eu-west-1.example.com",
        "example.com.sqs.eu-west-1.amazonaws.com",
        "sqs.amazonaws.com",
        "queue.amazonaws.com",
        "sns.eu-west-1.amazonaws.com",
        "vpce-0a1b.ec2.eu-west-1.vpce.amazonaws.com",
        "localhost:4566",
    ];
    for (scheme, host) in ["https", "http"].iter().flat_map(|s| hosts.map(|h| (s, h))) {
        let url = format!("{scheme}://{host}/123456789012/node-events");
        let said = create::<TerminationPolicy>(&at(&url)).await.err();
        let asked = said.as_ref().is_some_and(|s| {
            s.contains("region: the queue URL names no region, so sqs.region must be set")
        });
        assert_eq!(asked, said.is_some(), "{url}: {said:?}");
        assert_eq!(asked, region_of_queue(&url).is_none(), "{url}");
        let named = queue_at("events", &url, &json!({"region": "eu-west-1"}));
        create::<TerminationPolicy>(&sources(&[named]))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn what_a_policy_leaves_out_becomes_the_documented_default() {
    let stored = create::<TerminationPolicy>(&policy(&json!({})))
        .await
        .unwrap();
    let defaults = json!({
        "priority": 0,
        "mode": "Enforce",
        "sources": [{"name": "events", "sqs": {
            "queueURL": URL,
            "receivers": 2,
            "visibilityTimeoutSeconds": 15,
            "unknownInstances": "Leave",
            "launchHooks": {"complete": false, "autoScalingGroupNames": []},
        }}],
        "actions": {
            "spotInterruption": "CordonAndDrain",
            "autoScalingTermination": "CordonAndDrain",
            "scheduledMaintenance": "CordonAndDrain",
            "instanceStateChange": "CordonAndDrain",
            "capacityReservation": "CordonAndDrain",
            "rebalanceRecommendation": "Observe",
        },
        "cordon": {
            "taint": {"key": "nodetermination.dev/terminating", "effect": "NoSchedule"},
            "excludeFromLoadBalancers": false,
        },
        "drain": {
            "timeoutSeconds": 120,
            "deadlineMarginSeconds": 8,
            "disruptionBudgets": "RespectUntilDeadline",
            "daemonSetPods": "Leave",
            "emptyDirPods": "Evict",
            "unmanagedPods": "Evict",
            "waitForVolumeDetach": true,
            "outOfServiceTaint": false,
        },
        "lifecycle": {"onDrainFailure": "Continue", "completionDelaySeconds": 0},
        "maintenance": {"leadSeconds": 3600},
        "limits": {"maxConcurrent": "100%"},
        "ttlSecondsAfterFinished": 604_800,
        "historyLimit": 1000,
    });
    assert_eq!(stored["spec"], defaults);
    let metadata = json!({"name": "metadata", "imds": {}});
    let object = policy(
        &json!({"sources": [queue("events", &json!({})), metadata], "lifecycle": {"heartbeat": {"intervalSeconds": 60}}}),
    );
    let stored = create::<TerminationPolicy>(&object).await.unwrap();
    assert_eq!(
        stored["spec"]["sources"][1]["imds"],
        json!({"pollIntervalSeconds": 2})
    );
    let heartbeat = json!({"intervalSeconds": 60, "untilSeconds": 172_800});
    assert_eq!(stored["spec"]["lifecycle"]["heartbeat"], heartbeat);
}

#[tokio::test]
async fn a_policy_that_sets_every_field_is_stored_as_it_was_written() {
    let spec = json!({
        "nodeSelector": {"matchLabels": {"team": "web"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]},
        "priority": -5,
        "mode": "Observe",
        "sources": [
            {"name": "events", "sqs": {
                "queueURL": URL,
                "region": "eu-west-1",
                "roleARN": ROLE,
                "externalID": "secret",
                "receivers": 16,
                "visibilityTimeoutSeconds": 5,
                "unknownInstances": "Delete",
                "managedTag": "team/managed",
                "launchHooks": {"complete": true, "autoScalingGroupNames": ["workers"]},
            }},
            {"name": "metadata", "imds": {"pollIntervalSeconds": 5}},
        ],
        "actions": {
            "spotInterruption": "Cordon",
            "autoScalingTermination": "Ignore",
            "scheduledMaintenance": "Observe",
            "instanceStateChange": "Cordon",
            "capacityReservation": "Ignore",
            "rebalanceRecommendation": "CordonAndDrain",
        },
        "cordon": {
            "taint": {"key": "example.com/leaving", "effect": "PreferNoSchedule"},
            "excludeFromLoadBalancers": true,
            "expireSeconds": 600,
        },
        "drain": {
            "gracePeriodSeconds": 30,
            "timeoutSeconds": 600,
            "deadlineMarginSeconds": 0,
            "disruptionBudgets": "Ignore",
            "daemonSetPods": "EvictLast",
            "emptyDirPods": "Block",
            "unmanagedPods": "Block",
            "skipPodSelector": {"matchLabels": {"stays": "true"}},
            "waitForVolumeDetach": false,
            "outOfServiceTaint": true,
        },
        "lifecycle": {
            "heartbeat": {"intervalSeconds": 30, "untilSeconds": 7200},
            "onDrainFailure": "Wait",
            "completionDelaySeconds": 10,
        },
        "maintenance": {"leadSeconds": 0},
        "limits": {"maxConcurrent": 3},
        "notifications": [
            {
                "name": "chat",
                "urlFrom": {"secretKeyRef": {"name": "chat", "key": "url"}},
                "headers": [
                    {"name": "X-Team", "value": "web"},
                    {"name": "Authorization", "valueFrom": {"secretKeyRef": {"name": "chat", "key": "token"}}},
                ],
                "stages": ["Received", "Failed"],
                "template": "{{ summary }}",
                "variables": [
                    {"name": "channel", "value": "nodes"},
                    {"name": "key", "valueFrom": {"secretKeyRef": {"name": "chat", "key": "key"}}},
                ],
                "timeoutSeconds": 30,
            },
            {"name": "other", "url": "https://example.com/hook", "stages": ["Completed"], "timeoutSeconds": 1},
        ],
        "ttlSecondsAfterFinished": 60,
        "historyLimit": 0,
    });
    let stored = create::<TerminationPolicy>(&policy(&spec)).await.unwrap();
    assert_eq!(stored["spec"], spec);
}

#[tokio::test]
async fn a_notification_that_can_not_work_is_refused_with_the_reason() {
    let told = |more: Value| {
        let mut notification = json!({"name": "chat", "url": "https://example.com/hook"});
        extend(&mut notification, &more);
        policy(&json!({"notifications": [notification]}))
    };
    let from = json!({"secretKeyRef": {"name": "chat", "key": "url"}});
    let header = |header: Value| told(json!({"headers": [header]}));
    let nine: Vec<Value> = (0..9)
        .map(|n| json!({"name": format!("n{n}"), "url": "https://example.com/hook"}))
        .collect();
    let own = "headers: a name is of letters, digits and hyphens, and not one that the request itself needs";
    let refused = [
        (
            "no receiver",
            policy(&json!({"notifications": [{"name": "chat"}]})),
            "notifications: exactly one of url, urlFrom must be set",
        ),
        (
            "two receivers",
            told(json!({"urlFrom": from})),
            "notifications: exactly one of url, urlFrom must be set",
        ),
        (
            "no URL",
            told(json!({"url": "example.com/hook"})),
            "spec.notifications[0].url in body should match",
        ),
        (
            "too many",
            policy(&json!({"notifications": nine})),
            "spec.notifications: Too many: 9: must have at most 8 items",
        ),
        (
            "nothing to tell",
            told(json!({"stages": []})),
            "spec.notifications[0].stages in body should have at least 1 items",
        ),
        (
            "told twice",
            told(json!({"stages": ["Drained", "Drained"]})),
            r#"spec.notifications[0].stages[1]: Duplicate value: "Drained""#,
        ),
        (
            "no such stage",
            told(json!({"stages": ["Dreamt"]})),
            r#"Unsupported value: "Dreamt""#,
        ),
        (
            "no value",
            header(json!({"name": "X-Team"})),
            "headers: exactly one of value, valueFrom must be set",
        ),
        (
            "a header of the request's own",
            header(json!({"name": "CONTENT-Length", "value": "1"})),
            own,
        ),
        (
            "no header's name",
            header(json!({"name": "X Team", "value": "web"})),
            own,
        ),
        (
            "two lines in a header",
            header(json!({"name": "X-Team", "value": "web\nX-Other: 1"})),
            "headers[0].value in body should match",
        ),
        (
            "a variable that no template can name",
            told(json!({"variables": [{"name": "a-b", "value": "c"}]})),
            "variables[0].name in body should match",
        ),
        (
            "too much patience",
            told(json!({"timeoutSeconds": 31})),
            "timeoutSeconds in body should be less than or equal to 30",
        ),
    ];
    for (what, object, message) in refused {
        assert_refused(what, &object, message).await;
    }
    let stored = create::<TerminationPolicy>(&told(json!({}))).await.unwrap();
    let stages = [
        "Received",
        "Blocked",
        "Drained",
        "Completed",
        "Canceled",
        "Failed",
    ];
    let defaults = json!([{"name": "chat", "url": "https://example.com/hook", "stages": stages, "timeoutSeconds": 10}]);
    assert_eq!(stored["spec"]["notifications"], defaults);
}

#[tokio::test]
async fn an_incident_that_says_too_much_or_too_little_is_refused_with_the_reason() {
    let instance = "i-0123456789abcdef0";
    let many = incident(instance, &json!({"signals": spots(instance, 33)}));
    let mut none = incident(instance, &json!({}));
    none["spec"].as_object_mut().unwrap().remove("nodeUID");
    let twice = [spots(instance, 1), spots(instance, 1)].concat();
    let id = json!({"signals": [{"id": "spot", "kind": "SpotInterruption", "noticeTime": "2026-03-18T08:20:00Z"}]});
    let refused = [
        (
            "33 signals",
            many,
            "spec.signals: Too many: 33: must have at most 32 items",
        ),
        (
            "signals without a machine",
            none,
            "identity: a NodeTermination with signals names nodeUID and instanceID",
        ),
        (
            "one signal twice",
            incident(instance, &json!({"signals": twice})),
            "spec.signals[1]: Duplicate value",
        ),
        (
            "an ID of another form",
            incident(instance, &id),
            "spec.signals[0].id in body should match",
        ),
        (
            "no instance",
            incident("mi-0123456789", &json!({})),
            "spec.instanceID in body should match",
        ),
        (
            "no node",
            incident(instance, &json!({"nodeName": ""})),
            "spec.nodeName in body should be at least 1 chars long",
        ),
    ];
    for (what, object, message) in refused {
        let said = create::<NodeTermination>(&object).await.expect_err(what);
        assert!(said.contains(message), "{what}: {said}");
    }
    let most = incident(instance, &json!({"signals": spots(instance, 32)}));
    create::<NodeTermination>(&most).await.unwrap();
    let mut by_hand = incident("by-hand", &json!({}));
    by_hand["spec"] = json!({"nodeName": "node"});
    let stored = create::<NodeTermination>(&by_hand).await.unwrap();
    let spec = json!({"nodeName": "node", "hold": false, "cancel": false, "signals": []});
    assert_eq!(stored["spec"], spec);
}

#[tokio::test]
async fn an_incident_keeps_its_identity_and_its_signals_whatever_is_edited() {
    let instance = "i-0123456789abcdef1";
    let api = store(instance, 2).await;
    let identity = "identity: nodeName, nodeUID and instanceID can not be changed";
    let signals = "signals: a signal is never changed or removed";
    let two = json!(spots(instance, 2));
    let edited = |index: usize, key: &str, value: Value| {
        let mut two = two.clone();
        two[index][key] = value;
        json!({ "signals": two })
    };
    let refused = [
        ("nodeName", json!({"nodeName": "other"}), identity),
        ("nodeUID", json!({"nodeUID": "other"}), identity),
        (
            "instanceID",
            json!({"instanceID": "i-0123456789abcdeff"}),
            identity,
        ),
        (
            "a signal's time",
            edited(0, "noticeTime", json!("2026-03-18T08:20:00Z")),
            signals,
        ),
        (
            "a signal's deadline",
            edited(1, "deadline", Value::Null),
            signals,
        ),
        (
            "a signal's action",
            edited(0, "instanceAction", json!("stop")),
            signals,
        ),
        (
            "a signal's kind",
            edited(0, "kind", json!("AutoScalingTermination")),
            signals,
        ),
        (
            "a signal's ID",
            edited(1, "id", json!("SpotInterruption-0000000000000000")),
            signals,
        ),
        ("a signal removed", json!({"signals": [two[1]]}), signals),
        ("all signals removed", json!({"signals": null}), signals),
        (
            "33 signals",
            json!({"signals": spots(instance, 33)}),
            "spec.signals: Too many: 33: must have at most 32 items",
        ),
    ];
    for (what, spec, message) in refused {
        let said = edit(&api, instance, &spec).await.expect_err(what);
        assert!(said.contains(message), "{what}: {said}");
    }
    let accepted = [
        ("hold", json!({"hold": true})),
        ("another order", json!({"signals": [two[1], two[0]]})),
        ("a third signal", json!({"signals": spots(instance, 3)})),
        ("cancel", json!({"cancel": true})),
    ];
    for (what, spec) in accepted {
        edit(&api, instance, &spec)
            .await
            .unwrap_or_else(|said| panic!("{what}: {said}"));
    }
    let back = json!({"cancel": false});
    let said = edit(&api, instance, &back).await.expect_err("taken back");
    assert!(said.contains("cancel: it can not be taken back"), "{said}");
}

#[tokio::test]
async fn nothing_is_added_to_an_incident_that_is_over_and_it_can_still_be_edited() {
    let instance = "i-0123456789abcdef2";
    let api = store(instance, 1).await;
    let three = json!({"signals": spots(instance, 3)});
    let other = json!({"signals": [spots(instance, 2)[1]]});
    let open = ["Pending", "Waiting", "Draining", "Releasing", "Released"];
    for (added, phase) in (2..).zip(open) {
        set_status(&api, instance, &json!({"phase": phase})).await;
        edit(&api, instance, &json!({"signals": spots(instance, added)}))
            .await
            .unwrap_or_else(|said| panic!("{phase}: {said}"));
    }
    let seven = json!({"signals": spots(instance, 7)});
    for phase in ["Completed", "Canceled", "Failed"] {
        set_status(&api, instance, &json!({"phase": phase})).await;
        let said = edit(&api, instance, &seven).await.expect_err(phase);
        let message = "finished: no signal can be added to a NodeTermination that is Completed, Canceled or Failed";
        assert!(said.contains(message), "{phase}: {said}");
        for spec in [&three, &other] {
            let said = edit(&api, instance, spec).await.expect_err(phase);
            let message = "signals: a signal is never changed or removed";
            assert!(said.contains(message), "{phase}: {said}");
        }
        for spec in [
            json!({"hold": true}),
            json!({"hold": false, "cancel": true}),
        ] {
            edit(&api, instance, &spec).await.unwrap();
        }
        let note = json!({"metadata": {"annotations": {"post-mortem": phase}}});
        patch(&api, instance, &note).await.unwrap();
    }
}

#[tokio::test]
async fn kubectl_applies_the_definitions_and_the_example_without_a_warning() {
    let control_plane = bare().await;
    for kind in ["terminationpolicies", "nodeterminations"] {
        // A copy under another group: what exists is not warned of again.
        let text = std::fs::read_to_string(repository(&format!("crds/{kind}.yaml"))).unwrap();
        let copy = text.replace("nodetermination.dev", "copy.example.com");
        let file = control_plane.folder().join(format!("{kind}.yaml"));
        std::fs::write(&file, &copy).unwrap();
        try_apply(control_plane, file.to_str().unwrap())
            .await
            .unwrap();
        std::fs::write(&file, copy.replace("format: int32", "format: uint32")).unwrap();
        let warned = try_apply(control_plane, file.to_str().unwrap()).await;
        assert!(
            warned.unwrap_err().to_string().contains("uint32"),
            "a warning would have been seen"
        );
    }
    try_apply(control_plane, &repository("manifests/examples/policy.yaml"))
        .await
        .unwrap();
}

#[tokio::test]
async fn kubectl_explains_what_the_fields_mean() {
    let control_plane = bare().await;
    for (field, sentence) in [
        ("tp", "TerminationPolicy declares which nodes are protected"),
        ("tp.spec.drain", "How a node's pods are moved away."),
        (
            "tp.spec.drain.timeoutSeconds",
            "How long a drain may take when the event carries no deadline of its own",
        ),
        (
            "tp.spec.sources.sqs.queueURL",
            "The queue's URL, as `aws sqs get-queue-url` prints it.",
        ),
        ("nt", "NodeTermination is one incident of one EC2 instance"),
        ("nt.spec.hold", "Freeze at the next safe point"),
        (
            "nt.status.blocked",
            "The pods that can not leave yet, and why",
        ),
    ] {
        let text = control_plane.kubectl(&["explain", field]).await.unwrap();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(sentence), "{field}: {text}");
    }
}

#[tokio::test]
async fn kubectl_get_shows_how_each_object_is_doing() {
    let control_plane = bare().await;
    let instance = "i-0123456789abcdef3";
    let api = store(instance, 1).await;
    let status = json!({
        "phase": "Draining",
        "outcome": "Drained",
        "reason": "SpotInterruption",
        "deadline": "2199-01-01T00:00:00Z",
        "pods": {"summary": "12/19", "total": 19, "evicted": 3, "forced": 0, "gone": 12, "blocked": 4, "stuck": 0, "skipped": 2},
        "policy": effective("workers").await,
    });
    set_status(&api, instance, &status).await;
    let shown = table(control_plane, &["get", "nt", instance, "-o", "wide"]).await;
    let columns = "NAME NODE REASON PHASE PODS BLOCKED DEADLINE AGE POLICY INSTANCE OUTCOME";
    assert_eq!(shown[0].join(" "), columns);
    let row = [
        instance,
        "node",
        "SpotInterruption",
        "Draining",
        "12/19",
        "4",
        "2199-01-01T00:00:00Z",
    ];
    assert_eq!(shown[1][..7], row);
    assert_eq!(shown[1][8..], ["workers", instance, "Drained"]);
    let shown = table(control_plane, &["get", "nt", instance]).await;
    assert_eq!(
        shown[0].join(" "),
        &columns[..columns.find(" POLICY").unwrap()]
    );

    let policies = api_of::<TerminationPolicy>(control_plane).await;
    let mut object = policy(&json!({}));
    object["metadata"]["name"] = json!("shown");
    let object = serde_json::from_value(object).unwrap();
    let post = PostParams::default();
    policies.create(&post, &object).await.unwrap();
    let condition = json!({"type": "Ready", "status": "True", "reason": "Polling", "message": "", "lastTransitionTime": "2026-03-18T08:20:00Z"});
    let status = json!({"conditions": [condition], "readySources": "1/1", "matchedNodes": 7, "openTerminations": 3});
    set_status(&policies, "shown", &status).await;
    let shown = table(control_plane, &["get", "tp", "shown"]).await;
    assert_eq!(shown[0].join(" "), "NAME READY SOURCES NODES OPEN AGE");
    assert_eq!(shown[1][..5], ["shown", "True", "1/1", "7", "3"]);
}

#[tokio::test]
async fn incidents_are_found_by_node_instance_and_phase() {
    let control_plane = bare().await;
    let instance = "i-0123456789abcdef4";
    let api = store(instance, 1).await;
    set_status(&api, instance, &json!({"phase": "Waiting"})).await;
    for (selector, found) in [
        (
            format!("spec.nodeName=node,spec.instanceID={instance}"),
            true,
        ),
        (
            format!("spec.instanceID={instance},status.phase=Waiting"),
            true,
        ),
        (
            format!("spec.instanceID={instance},status.phase=Draining"),
            false,
        ),
        (
            format!("spec.instanceID={instance},spec.nodeName=other"),
            false,
        ),
    ] {
        let arguments = ["get", "nt", "-o", "name", "--field-selector", &selector];
        let shown = control_plane.kubectl(&arguments).await.unwrap();
        assert_eq!(shown.contains(instance), found, "{selector}: {shown}");
    }
}

/// A policy with one queue, and with these settings.
fn policy(settings: &Value) -> Value {
    let mut spec = json!({"sources": [queue("events", &json!({}))]});
    extend(&mut spec, settings);
    json!({
        "apiVersion": "nodetermination.dev/v1alpha1",
        "kind": "TerminationPolicy",
        "metadata": {"name": "policy"},
        "spec": spec,
    })
}

/// An incident of one signal, and with these settings.
fn incident(instance_id: &str, settings: &Value) -> Value {
    let mut spec = json!({
        "nodeName": "node",
        "nodeUID": "uid",
        "instanceID": instance_id,
        "signals": spots(instance_id, 1),
    });
    extend(&mut spec, settings);
    json!({
        "apiVersion": "nodetermination.dev/v1alpha1",
        "kind": "NodeTermination",
        "metadata": {"name": instance_id},
        "spec": spec,
    })
}

fn extend(object: &mut Value, settings: &Value) {
    let settings = settings.as_object().unwrap().clone();
    object.as_object_mut().unwrap().extend(settings);
}

fn queue(name: &str, settings: &Value) -> Value {
    queue_at(name, URL, settings)
}

fn queue_at(name: &str, url: &str, settings: &Value) -> Value {
    let mut sqs = json!({ "queueURL": url });
    extend(&mut sqs, settings);
    json!({ "name": name, "sqs": sqs })
}

fn sources(sources: &[Value]) -> Value {
    policy(&json!({ "sources": sources }))
}

fn at(url: &str) -> Value {
    sources(&[queue_at("events", url, &json!({}))])
}

fn heartbeat(interval: u32, until: u32) -> Value {
    let heartbeat = json!({"intervalSeconds": interval, "untilSeconds": until});
    policy(&json!({"lifecycle": {"heartbeat": heartbeat}}))
}

fn taint(effect: &str) -> Value {
    policy(&json!({"cordon": {"taint": {"effect": effect}}}))
}

fn drain(drain: &Value) -> Value {
    policy(&json!({ "drain": drain }))
}

async fn api_of<K: Resource<DynamicType = ()>>(control_plane: &ControlPlane) -> Api<DynamicObject> {
    let client = control_plane.client().await.unwrap();
    Api::all_with(client, &ApiResource::erase::<K>(&()))
}

/// What would be stored, or what the user would read.
async fn create<K: Resource<DynamicType = ()>>(object: &Value) -> Result<Value, String> {
    let api = api_of::<K>(bare().await).await;
    let object = serde_json::from_value(object.clone()).unwrap();
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    match api.create(&dry_run, &object).await {
        Ok(stored) => Ok(serde_json::to_value(stored).unwrap()),
        Err(error) => Err(words(error)),
    }
}

async fn assert_refused(what: &str, policy: &Value, message: &str) {
    let said = create::<TerminationPolicy>(policy).await.expect_err(what);
    assert!(said.contains(message), "{what}: {said}");
}

/// Stores an incident with so many signals.
async fn store(instance_id: &str, signals: i64) -> Api<DynamicObject> {
    let api = api_of::<NodeTermination>(bare().await).await;
    let object = incident(
        instance_id,
        &json!({"signals": spots(instance_id, signals)}),
    );
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
    api
}

async fn edit(api: &Api<DynamicObject>, name: &str, spec: &Value) -> Result<(), String> {
    patch(api, name, &json!({ "spec": spec })).await
}

async fn patch(api: &Api<DynamicObject>, name: &str, body: &Value) -> Result<(), String> {
    let patched = api
        .patch(name, &PatchParams::default(), &Patch::Merge(body))
        .await;
    patched.map(drop).map_err(words)
}

async fn set_status(api: &Api<DynamicObject>, name: &str, status: &Value) {
    let body = json!({ "status": status });
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(&body))
        .await
        .unwrap();
}

fn words(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message,
        other => panic!("no answer of the API server: {other}"),
    }
}

/// The settings that a policy of that name leaves on an incident.
async fn effective(name: &str) -> Value {
    let mut stored = create::<TerminationPolicy>(&policy(&json!({})))
        .await
        .unwrap();
    stored["metadata"] = json!({"name": name, "generation": 1});
    let policy: TerminationPolicy = serde_json::from_value(stored).unwrap();
    serde_json::to_value(policy.effective()).unwrap()
}

fn repository(file: &str) -> String {
    format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))
}

async fn try_apply(control_plane: &ControlPlane, file: &str) -> anyhow::Result<String> {
    let apply = [
        "apply",
        "--warnings-as-errors",
        "--dry-run=server",
        "-f",
        file,
    ];
    control_plane.kubectl(&apply).await
}

/// The words of each line.
async fn table(control_plane: &ControlPlane, arguments: &[&str]) -> Vec<Vec<String>> {
    let text = control_plane.kubectl(arguments).await.unwrap();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    text.lines().map(words).collect()
}
