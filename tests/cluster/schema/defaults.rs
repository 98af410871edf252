//! What is stored of a policy: the defaults of what it leaves out, and each field that it sets.

use node_termination_operator::api::policy::TerminationPolicy;
use serde_json::json;

use super::{ROLE, URL, create, policy, queue};

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
