//! What the values change, and that they change nothing else.

use serde_json::{Value, json};

use crate::helm::{OPERATOR, find, render};

const NAME: &str = "node-termination-operator";
const AGENT: &str = "node-termination-operator-agent";

fn rendered(values: &Value) -> Vec<Value> {
    render(OPERATOR, values).unwrap()
}

fn get<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    find(objects, kind, name).unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// The pod of the controller, or of the agent.
fn pod<'a>(objects: &'a [Value], role: &str) -> &'a Value {
    let workload = match role {
        "agent" => get(objects, "DaemonSet", AGENT),
        _ => get(objects, "Deployment", NAME),
    };
    &workload["spec"]["template"]
}

fn container<'a>(objects: &'a [Value], role: &str) -> &'a Value {
    &pod(objects, role)["spec"]["containers"][0]
}

fn count(objects: &[Value], kind: &str) -> usize {
    objects.iter().filter(|o| o["kind"] == kind).count()
}

/// The kinds that the values add to those of the defaults.
fn added(values: &Value) -> Vec<String> {
    let kinds = |values: &Value| -> Vec<String> {
        let objects = rendered(values);
        let kinds = objects
            .iter()
            .map(|o| o["kind"].as_str().unwrap().to_owned());
        kinds.collect()
    };
    let mut more = kinds(values);
    for kind in kinds(&json!({})) {
        let place = more.iter().position(|k| *k == kind);
        more.remove(place.unwrap_or_else(|| panic!("{kind} is gone")));
    }
    more.sort();
    more
}

#[test]
fn each_switch_adds_its_own_objects_and_no_others() {
    let cases = [
        (
            json!({"agent": {"enabled": true}}),
            vec![
                "ClusterRole",
                "ClusterRoleBinding",
                "DaemonSet",
                "ServiceAccount",
                "ValidatingAdmissionPolicy",
                "ValidatingAdmissionPolicyBinding",
            ],
        ),
        (
            json!({"monitoring": {"serviceMonitor": {"enabled": true}}}),
            vec!["Service", "ServiceMonitor"],
        ),
        (
            json!({"monitoring": {"podMonitor": {"enabled": true}}}),
            vec!["PodMonitor"],
        ),
        (
            json!({"monitoring": {"prometheusRule": {"enabled": true}}}),
            vec!["PrometheusRule"],
        ),
        (
            json!({"monitoring": {"dashboard": {"enabled": true}}}),
            vec!["ConfigMap"],
        ),
        (json!({"flowSchema": {"enabled": true}}), vec!["FlowSchema"]),
        (
            json!({"networkPolicy": {"enabled": true}}),
            vec!["NetworkPolicy"],
        ),
        (
            json!({"policies": [{"name": "a", "spec": {"sources": [{"name": "metadata", "imds": {}}]}}]}),
            vec!["TerminationPolicy"],
        ),
    ];
    for (values, kinds) in cases {
        assert_eq!(added(&values), kinds, "{values}");
    }
}

#[test]
fn what_is_switched_off_is_not_there() {
    let objects = rendered(&json!({
        "rbac": {"create": false},
        "agent": {"enabled": true},
        "controller": {
            "podDisruptionBudget": {"enabled": false},
            "serviceAccount": {"create": false, "name": "made-by-eksctl"},
            "spread": {"nodes": "Ignore", "zones": "Ignore"},
            "affinity": null,
            "priorityClassName": "",
        },
    }));
    for kind in [
        "ClusterRole",
        "Role",
        "RoleBinding",
        "ClusterRoleBinding",
        "PodDisruptionBudget",
    ] {
        assert_eq!(count(&objects, kind), 0, "{kind}");
    }
    assert_eq!(count(&objects, "ServiceAccount"), 1, "the agent's");
    // Whoever makes the roles: the agent stays held to its own node.
    assert_eq!(count(&objects, "ValidatingAdmissionPolicyBinding"), 1);
    let spec = &pod(&objects, "controller")["spec"];
    assert_eq!(spec["serviceAccountName"], "made-by-eksctl");
    for field in ["topologySpreadConstraints", "affinity", "priorityClassName"] {
        assert!(spec[field].is_null(), "{field}: {}", spec[field]);
    }
}

#[test]
fn the_image_is_by_tag_or_by_digest() {
    let image = |values: &Value| {
        let objects = rendered(&json!({"image": values, "agent": {"enabled": true}}));
        let both = ["controller", "agent"].map(|role| container(&objects, role)["image"].clone());
        assert_eq!(both[0], both[1]);
        both[0].as_str().unwrap().to_owned()
    };
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        image(&json!({})),
        format!("node-termination-operator:{version}")
    );
    assert_eq!(
        image(&json!({"repository": "registry.example:5000/a/b", "tag": "v2"})),
        "registry.example:5000/a/b:v2"
    );
    let digest = format!("sha256:{}", "0a".repeat(32));
    assert_eq!(
        image(&json!({"tag": "v2", "digest": digest})),
        format!("node-termination-operator:v2@{digest}")
    );
}

#[test]
fn labels_and_annotations_reach_every_object_and_never_a_selector() {
    let all = json!({"enabled": true});
    let objects = rendered(&json!({
        "labels": {"team": "platform", "app.kubernetes.io/name": "mine"},
        "annotations": {"owner": "platform"},
        "agent": {"enabled": true, "podLabels": {"scrape": "yes"}, "podAnnotations": {"a": "agent"}},
        "controller": {"podAnnotations": {"a": "controller"}, "serviceAccount": {"annotations": {"role": "arn"}}},
        "monitoring": {"serviceMonitor": all, "podMonitor": all, "prometheusRule": all, "dashboard": all},
        "flowSchema": all, "networkPolicy": all,
        "policies": [{"name": "a", "labels": {"of": "it"}, "spec": {"sources": [{"name": "m", "imds": {}}]}}],
    }));
    for object in &objects {
        let metadata = &object["metadata"];
        assert_eq!(metadata["labels"]["team"], "platform", "{metadata}");
        assert_eq!(
            metadata["labels"]["app.kubernetes.io/name"], NAME,
            "the agents are found by it: {metadata}"
        );
        assert_eq!(metadata["annotations"]["owner"], "platform", "{metadata}");
        let selector = &object["spec"]["selector"];
        assert!(
            !selector.to_string().contains("platform"),
            "a selector never changes: {selector}"
        );
    }
    assert_eq!(
        get(&objects, "TerminationPolicy", "a")["metadata"]["labels"]["of"],
        "it"
    );
    assert_eq!(
        get(&objects, "ServiceAccount", NAME)["metadata"]["annotations"]["role"],
        "arn"
    );
    for role in ["controller", "agent"] {
        let metadata = &pod(&objects, role)["metadata"];
        assert_eq!(metadata["labels"]["team"], "platform");
        assert_eq!(metadata["labels"]["app.kubernetes.io/component"], role);
        assert_eq!(metadata["annotations"]["a"], role);
    }
    assert_eq!(
        pod(&objects, "agent")["metadata"]["labels"]["scrape"],
        "yes"
    );
}

#[test]
fn pods_run_on_linux_whatever_else_is_asked_for() {
    let role = json!({"enabled": true, "nodeSelector": {"pool": "system"}});
    let controller = json!({"nodeSelector": {"pool": "system"}});
    let objects = rendered(&json!({"controller": controller, "agent": role}));
    for role in ["controller", "agent"] {
        assert_eq!(
            pod(&objects, role)["spec"]["nodeSelector"],
            json!({"kubernetes.io/os": "linux", "pool": "system"})
        );
    }
}

#[test]
fn the_agent_may_use_the_network_of_its_node_and_another_port() {
    let objects = rendered(
        &json!({"agent": {"enabled": true, "hostNetwork": true, "port": 9099}, "bindAddress": "0.0.0.0"}),
    );
    let spec = &pod(&objects, "agent")["spec"];
    assert_eq!(spec["hostNetwork"], true);
    assert_eq!(spec["dnsPolicy"], "ClusterFirstWithHostNet");
    let container = container(&objects, "agent");
    assert_eq!(
        container["ports"],
        json!([{"name": "http", "containerPort": 9099}])
    );
    assert_eq!(
        container["env"][0],
        json!({"name": "NTO_HTTP_ADDRESS", "value": "0.0.0.0:9099"})
    );
}

#[test]
fn more_environment_and_files_reach_the_controller() {
    let objects = rendered(&json!({"controller": {
        "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "envFrom": [{"configMapRef": {"name": "aws"}}],
        "volumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "volumeMounts": [{"name": "ca", "mountPath": "/etc/ssl/certs"}],
        "tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"}],
    }, "image": {"pullSecrets": [{"name": "pull"}]}}));
    let container = container(&objects, "controller");
    let environment = container["env"].as_array().unwrap();
    assert!(environment.contains(&json!({"name": "HTTPS_PROXY", "value": "http://proxy:3128"})));
    assert_eq!(container["envFrom"][0]["configMapRef"]["name"], "aws");
    assert_eq!(container["volumeMounts"][0]["mountPath"], "/etc/ssl/certs");
    let spec = &pod(&objects, "controller")["spec"];
    assert_eq!(spec["volumes"][0]["configMap"]["name"], "ca");
    assert_eq!(spec["imagePullSecrets"], json!([{"name": "pull"}]));
    assert_eq!(spec["tolerations"][0]["key"], "CriticalAddonsOnly");
}

#[test]
fn the_cluster_has_its_name_and_http_notifications_are_allowed_if_the_values_say_so() {
    let variables = |values: &Value| {
        let objects = rendered(&json!({"agent": {"enabled": true}, "controller": values}));
        let of = |role| container(&objects, role)["env"].as_array().unwrap().clone();
        let own = ["NTO_CLUSTER_NAME", "NTO_ALLOW_HTTP_NOTIFICATIONS"];
        let is_own = |v: &Value| own.contains(&v["name"].as_str().unwrap());
        assert!(!of("agent").iter().any(is_own), "the agent tells nobody");
        let mut variables = of("controller");
        variables.retain(is_own);
        json!(variables)
    };
    assert_eq!(variables(&json!({})), json!([]));
    assert_eq!(
        variables(&json!({"clusterName": "north 1", "allowHTTPNotifications": true})),
        json!([
            {"name": "NTO_CLUSTER_NAME", "value": "north 1"},
            {"name": "NTO_ALLOW_HTTP_NOTIFICATIONS", "value": "true"},
        ])
    );
    // Both have to be options that the controller has.
    let options = crate::helm::read("src/args.rs");
    for name in ["NTO_CLUSTER_NAME", "NTO_ALLOW_HTTP_NOTIFICATIONS"] {
        assert!(options.contains(&format!("env = \"{name}\"")), "{name}");
    }
    let by_hand = json!([{"name": "NTO_CLUSTER_NAME", "value": "by hand"}]);
    assert_eq!(variables(&json!({"env": by_hand})), by_hand);
}

#[test]
fn a_replica_that_is_not_ready_never_keeps_its_node() {
    for replicas in [1, 2] {
        let objects = rendered(&json!({"controller": {"replicas": replicas}}));
        let spec = &get(&objects, "PodDisruptionBudget", NAME)["spec"];
        assert_eq!(spec["maxUnavailable"], 1, "one may always go");
        assert_eq!(spec["unhealthyPodEvictionPolicy"], "AlwaysAllow");
    }
}

#[test]
fn no_target_is_scraped_twice() {
    let monitors = |service: bool| {
        let objects = rendered(&json!({"monitoring": {
            "serviceMonitor": {"enabled": service}, "podMonitor": {"enabled": true, "namespace": "monitoring"},
        }}));
        get(&objects, "PodMonitor", NAME).clone()
    };
    let alone = monitors(false);
    assert_eq!(
        alone["spec"]["selector"]["matchLabels"],
        json!({"app.kubernetes.io/name": NAME})
    );
    assert_eq!(alone["metadata"]["namespace"], "monitoring");
    assert_eq!(
        alone["spec"]["namespaceSelector"]["matchNames"],
        json!([NAME])
    );
    let beside = monitors(true);
    assert_eq!(
        beside["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"],
        "agent"
    );
}

#[test]
fn the_alerts_and_the_dashboard_arrive_as_they_stand_in_the_files() {
    let all = json!({"enabled": true});
    let objects = rendered(&json!({"monitoring": {"prometheusRule": all, "dashboard": all}}));
    let alerts: Value =
        serde_yaml::from_str(&crate::helm::read(&format!("{OPERATOR}/files/alerts.yaml"))).unwrap();
    assert_eq!(get(&objects, "PrometheusRule", NAME)["spec"], alerts);
    let map = get(&objects, "ConfigMap", "node-termination-operator-dashboard");
    let text = map["data"]["node-termination-operator.json"]
        .as_str()
        .unwrap();
    let dashboard: Value = serde_json::from_str(&crate::helm::read(&format!(
        "{OPERATOR}/files/dashboard.json"
    )))
    .unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), dashboard);
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
}

#[test]
fn the_links_of_the_alerts_lead_to_where_the_values_say() {
    let rules = |values: Value| {
        let objects = rendered(&json!({"monitoring": {"prometheusRule": values}}));
        get(&objects, "PrometheusRule", NAME)["spec"].to_string()
    };
    let there = "https://wiki.example.com/node-termination?view=plain";
    let as_they_stand = rules(json!({"enabled": true}));
    let linked = rules(json!({"enabled": true, "runbookURL": there}));
    let links = as_they_stand.matches("\"docs/runbook.md#").count();
    assert!(links > 15, "{links}");
    let wanted = as_they_stand.replace("\"docs/runbook.md#", &format!("\"{there}#"));
    assert_eq!(linked, wanted);
}

/// What Helm tells whoever installs the chart with these values.
fn notes(values: &Value) -> String {
    let file = crate::helm::values_file(values);
    let install = [
        "install",
        NAME,
        OPERATOR,
        "--dry-run=client",
        "--values",
        &file,
    ];
    let said = crate::helm::helm(&install).unwrap();
    std::fs::remove_file(file).unwrap();
    said.split("NOTES:").nth(1).unwrap().replace('\n', " ")
}

#[test]
fn whoever_installs_is_told_what_is_missing_and_what_windows_nodes_get() {
    let policy =
        |source: &str| json!([{"name": "a", "spec": {"sources": [{"name": "m", source: {}}]}}]);
    let cases = [
        (json!({}), "There is no policy among the values"),
        (
            json!({"policies": policy("imds")}),
            "WARNING: a policy has an imds source, but agent.enabled is false",
        ),
        (
            json!({"policies": policy("sqs"), "agent": {"enabled": true}}),
            "No policy among the values has an imds source",
        ),
        (
            json!({"agent": {"enabled": true}}),
            "Windows nodes are drained like others when a queue brings their notices",
        ),
        (
            json!({"agent": {"enabled": true}}),
            "HttpPutResponseHopLimit: 2",
        ),
        (
            json!({"agent": {"enabled": true, "hostNetwork": true, "port": 9099}}),
            "enforces \"privileged\", and start only where port 9099 of the node is free",
        ),
        (
            json!({}),
            "WARNING: image.repository is node-termination-operator, without a registry",
        ),
    ];
    for (values, words) in cases {
        let notes = notes(&values);
        assert!(notes.contains(words), "{values}: {notes}");
    }
    let sound = notes(
        &json!({"image": {"repository": "registry.example/operator"}, "policies": policy("imds"), "agent": {"enabled": true, "hostNetwork": true}}),
    );
    for word in [
        "WARNING",
        "HttpPutResponseHopLimit",
        "no policy",
        "No policy",
    ] {
        assert!(!sound.contains(word), "{sound}");
    }
}

#[test]
fn the_chart_stays_far_below_the_size_of_a_secret() {
    // Helm keeps chart, values and rendered objects in one Secret, compressed; 1 MiB is the most. Here not even compressed.
    for chart in [OPERATOR, crate::helm::CRDS] {
        let files = walk(&crate::helm::root().join(chart));
        let size: u64 = files.iter().map(|f| f.metadata().unwrap().len()).sum();
        assert!(size * 2 < 1 << 20, "{chart}: {size} bytes");
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                walk(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}
