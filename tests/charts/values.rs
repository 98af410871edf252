//! Wrong values are refused before anything is sent to a cluster, with words that name the value.

use serde_json::{Value, json};

use crate::helm::{CRDS, OPERATOR, render};

fn refused(values: &Value, words: &[&str]) {
    let Err(message) = render(OPERATOR, values) else {
        panic!("rendered: {values}")
    };
    for word in words {
        assert!(
            message.contains(word),
            "{values}: no «{word}» in:\n{message}"
        );
    }
}

#[test]
fn wrong_values_are_refused_with_a_message_that_names_them() {
    refused(
        &json!({"replicas": 3}),
        &["additional properties 'replicas' not allowed"],
    );
    refused(
        &json!({"controller": {"replica": 3}}),
        &["at '/controller'", "'replica' not allowed"],
    );
    refused(
        &json!({"controller": {"replicas": 0}}),
        &["at '/controller/replicas'", "minimum: got 0, want 1"],
    );
    refused(
        &json!({"controller": {"replicas": "2"}}),
        &["at '/controller/replicas'", "got string, want integer"],
    );
    refused(
        &json!({"controller": {"spread": {"nodes": "Never"}}}),
        &[
            "at '/controller/spread/nodes'",
            "'DoNotSchedule', 'ScheduleAnyway', 'Ignore'",
        ],
    );
    refused(
        &json!({"controller": {"leaseDurationSeconds": 3}}),
        &["leaseDurationSeconds'", "minimum: got 3, want 5"],
    );
    refused(
        &json!({"controller": {"resources": {"limits": {"memory": "64 MB"}}}}),
        &[
            "at '/controller/resources/limits/memory'",
            "does not match pattern",
        ],
    );
    refused(
        &json!({"controller": {"tolerations": [{"operator": "Any"}]}}),
        &["at '/controller/tolerations/0/operator'", "'Exists'"],
    );
    refused(
        &json!({"controller": {"env": [{"value": "x"}]}}),
        &["at '/controller/env/0'", "missing property 'name'"],
    );
    refused(
        &json!({"image": {"digest": "abc"}}),
        &["at '/image/digest'", "sha256:"],
    );
    refused(
        &json!({"image": {"tag": 1.2}}),
        &["at '/image/tag'", "got number, want string"],
    );
    refused(
        &json!({"image": {"pullPolicy": "Sometimes"}}),
        &["at '/image/pullPolicy'", "'IfNotPresent'"],
    );
    refused(
        &json!({"logFormat": "xml"}),
        &["at '/logFormat'", "'json', 'text'"],
    );
    refused(
        &json!({"agent": {"enabled": "yes"}}),
        &["at '/agent/enabled'", "got string, want boolean"],
    );
    refused(
        &json!({"agent": {"port": 80}}),
        &["at '/agent/port'", "minimum: got 80, want 1,024"],
    );
    refused(
        &json!({"labels": {"stage": 1}}),
        &["at '/labels/stage'", "got number, want string"],
    );
    refused(
        &json!({"policies": {"default": {}}}),
        &["at '/policies'", "got object, want array"],
    );
    refused(
        &json!({"policies": [{"name": "default"}]}),
        &["at '/policies/0'", "missing property 'spec'"],
    );
    refused(
        &json!({"policies": [{"name": "default", "spec": {"mode": "Observe"}}]}),
        &["at '/policies/0/spec'", "missing property 'sources'"],
    );
    refused(
        &json!({"policies": [{"name": "A b", "spec": {"sources": [{"name": "q"}]}}]}),
        &["at '/policies/0/name'"],
    );
    refused(
        &json!({"flowSchema": {"matchingPrecedence": 9500}}),
        &["matchingPrecedence'", "maximum: got 9,500, want 8,999"],
    );
}

#[test]
fn values_that_would_fail_or_do_harm_in_the_cluster_only_are_refused_too() {
    refused(
        &json!({"image": {"repository": "registry.example/operator:v1"}}),
        &["at '/image/repository'", "'registry.example/operator:v1'"],
    );
    refused(
        &json!({"controller": {"podDisruptionBudget": {"maxUnavailable": 0}}}),
        &[
            "podDisruptionBudget/maxUnavailable'",
            "minimum: got 0, want 1",
        ],
    );
    refused(
        &json!({"agent": {"maxUnavailable": "0%"}}),
        &["at '/agent/maxUnavailable'", "'0%' does not match"],
    );
    refused(
        &json!({"controller": {"clusterName": 7}}),
        &["at '/controller/clusterName'", "got number, want string"],
    );
    refused(
        &json!({"controller": {"allowHTTPNotifications": "true"}}),
        &["allowHTTPNotifications'", "got string, want boolean"],
    );
    refused(
        &json!({"monitoring": {"prometheusRule": {"runbookURL": "docs/runbook.md"}}}),
        &["at '/monitoring/prometheusRule/runbookURL'", "https?://"],
    );
}

#[test]
fn an_agent_or_a_controller_for_windows_is_refused() {
    for role in ["agent", "controller"] {
        let at = format!("at '/{role}/nodeSelector/kubernetes.io~1os'");
        let values = json!({role: {"nodeSelector": {"kubernetes.io/os": "windows"}}});
        refused(&values, &[&at, "linux"]);
    }
}

/// As in a file whose lines below a name are all commented out: Helm takes the default away then.
#[test]
fn a_name_with_nothing_behind_it_is_refused_where_something_must_be() {
    refused(
        &json!({"controller": null}),
        &["at '': missing property 'controller'"],
    );
    refused(
        &json!({"agent": {"enabled": true, "port": null}}),
        &["at '/agent': missing property 'port'"],
    );
    let nothing = json!({
        "labels": null, "policies": null,
        "image": {"tag": null, "digest": null, "pullSecrets": null},
        "controller": {
            "priorityClassName": null, "resources": null, "nodeSelector": null, "tolerations": null, "affinity": null,
            "clusterName": null, "env": null, "envFrom": null, "podLabels": null, "volumes": null,
        },
        "agent": {"enabled": true, "nodeSelector": null, "tolerations": null, "affinity": null, "env": null},
        "monitoring": {"prometheusRule": {"enabled": true, "namespace": null, "labels": null, "runbookURL": null}},
        "networkPolicy": {"enabled": true, "ingressFrom": null, "egress": null},
    });
    render(OPERATOR, &nothing).unwrap();
}

#[test]
fn two_policies_of_one_name_are_refused() {
    let policy = json!({"name": "default", "spec": {"sources": [{"name": "m", "imds": {}}]}});
    refused(
        &json!({"policies": [policy, policy]}),
        &["policies: there are two of the name default"],
    );
}

#[test]
fn a_variable_that_the_chart_sets_is_not_set_a_second_time() {
    let values = json!({"controller": {"env": [{"name": "NTO_LOG_LEVEL", "value": "debug"}]}});
    refused(
        &values,
        &[
            "controller.env: the chart sets NTO_LOG_LEVEL itself",
            "logLevel",
        ],
    );
    let env = json!([{"name": "NTO_CLUSTER_NAME", "value": "a"}]);
    refused(
        &json!({"controller": {"clusterName": "b", "env": env}}),
        &["the chart sets NTO_CLUSTER_NAME itself", "clusterName"],
    );
    let twice = json!([{"name": "NO_PROXY", "value": "a"}, {"name": "NO_PROXY", "value": "b"}]);
    refused(
        &json!({"agent": {"enabled": true, "env": twice}}),
        &["agent.env", "NO_PROXY", "twice"],
    );
}

#[test]
fn either_chart_may_be_part_of_another() {
    for chart in [CRDS, OPERATOR] {
        render(chart, &json!({"global": {"clusterName": "a"}})).unwrap();
    }
}
