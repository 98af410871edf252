//! Every setting of aws-node-termination-handler: its name in the chart's values, its environment variable, the
//! chart's default, and where it went.
//!
//! The names are those of version 1.25 and chart 0.27; `tests/fixtures/nth-settings.txt` lists them for the documents.

use self::Home::{Elsewhere, Nowhere, Placement, Policy};
use self::Reader::{Both, Metadata, Queue};

/// Which of NTH's modes looks at a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Queue and metadata mode.
    Both,
    /// Queue mode only.
    Queue,
    /// Metadata mode only.
    Metadata,
}

/// Where a setting went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// Into the policy; what differs there is noted where it is translated.
    Policy,
    /// It is set somewhere else than in a policy.
    Elsewhere(&'static str),
    /// It says where NTH's pods run: in metadata mode also which nodes NTH speaks for, and no policy follows from it.
    Placement,
    /// There is nothing like it, and this is why.
    Nowhere(&'static str),
}

/// One setting of NTH.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name in the chart's values; empty: the chart takes it by `extraEnv` only.
    pub value: &'static str,
    /// Its environment variable; empty: it is the chart's own.
    pub env: &'static str,
    /// What the chart has if nothing is said, as text; empty also for an empty mapping or list.
    pub default: &'static str,
    /// Which mode looks at it.
    pub reader: Reader,
    /// Where it went.
    pub home: Home,
}

impl Setting {
    /// The name by which it is looked up: the value's, else the variable's.
    pub fn name(&self) -> &'static str {
        if self.value.is_empty() {
            self.env
        } else {
            self.value
        }
    }
}

/// The setting that the chart's values call so.
pub fn of_value(name: &str) -> Option<&'static Setting> {
    SETTINGS
        .iter()
        .find(|s| s.value == name && !s.value.is_empty())
}

/// The setting that the process reads from this environment variable.
pub fn of_env(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|s| s.env == name && !s.env.is_empty())
}

/// The setting of that [`Setting::name`].
pub fn named(name: &str) -> Option<&'static Setting> {
    of_value(name).or_else(|| of_env(name))
}

const fn row(
    value: &'static str,
    env: &'static str,
    default: &'static str,
    reader: Reader,
    home: Home,
) -> Setting {
    Setting {
        value,
        env,
        default,
        reader,
        home,
    }
}

const DEPRECATED_TAG: Home = Nowhere(
    "deprecated in NTH and without effect through its chart, which always sets checkTagBeforeDraining and managedTag",
);
const GRACE: Home = Nowhere(
    "deprecated in NTH; its chart always sets podTerminationGracePeriod, and that one counts",
);
const POD: Home = Elsewhere(
    "the chart's values for the controller, or the manifests in a kustomization of your own",
);
const AGENT_POD: Home =
    Elsewhere("the chart's values for the agent, or its manifests in a kustomization of your own");
const WINDOWS: Home = Nowhere("there is no agent for Windows nodes; use a queue for them");
const PROCESS: Home = Elsewhere("the manifests set what the process must know of itself");
const HTTP: Home = Elsewhere("probes and metrics are always served, at --http-address");
const SCRAPE: Home =
    Elsewhere("the chart has one, under monitoring, and manifests/monitoring another");
const CREDENTIALS: Home = Elsewhere(
    "the standard environment of the AWS SDKs: an IAM role for the service account, EKS Pod Identity",
);

/// All of them, in the order of NTH's documentation.
pub const SETTINGS: &[Setting] = &[
    row("", "NODE_NAME", "", Both, PROCESS),
    row("", "POD_NAME", "", Both, PROCESS),
    row("", "NAMESPACE", "", Both, PROCESS),
    row("", "KUBERNETES_SERVICE_HOST", "", Both, PROCESS),
    row("", "KUBERNETES_SERVICE_PORT", "", Both, PROCESS),
    row(
        "",
        "KUBE_API_QPS",
        "5",
        Both,
        Nowhere("the client has no rate limit: urgent requests go first"),
    ),
    row(
        "",
        "KUBE_API_BURST",
        "10",
        Both,
        Nowhere("the client has no rate limit: urgent requests go first"),
    ),
    row("dryRun", "DRY_RUN", "false", Both, Policy),
    row(
        "instanceMetadataURL",
        "INSTANCE_METADATA_URL",
        "",
        Metadata,
        Elsewhere("AWS_EC2_METADATA_SERVICE_ENDPOINT in the agent's environment"),
    ),
    row(
        "metadataTries",
        "METADATA_TRIES",
        "3",
        Metadata,
        Nowhere("a failed read is tried again, ever more slowly, for as long as it fails"),
    ),
    row(
        "enableSpotInterruptionDraining",
        "ENABLE_SPOT_INTERRUPTION_DRAINING",
        "true",
        Metadata,
        Policy,
    ),
    row(
        "enableScheduledEventDraining",
        "ENABLE_SCHEDULED_EVENT_DRAINING",
        "true",
        Metadata,
        Policy,
    ),
    row(
        "enableASGLifecycleDraining",
        "ENABLE_ASG_LIFECYCLE_DRAINING",
        "true",
        Metadata,
        Policy,
    ),
    row(
        "enableRebalanceMonitoring",
        "ENABLE_REBALANCE_MONITORING",
        "false",
        Metadata,
        Policy,
    ),
    row(
        "enableRebalanceDraining",
        "ENABLE_REBALANCE_DRAINING",
        "false",
        Metadata,
        Policy,
    ),
    row(
        "procUptimeFile",
        "UPTIME_FROM_FILE",
        "/proc/uptime",
        Metadata,
        Nowhere("that a machine was rebooted is known by the boot ID of its Node"),
    ),
    row(
        "enableSqsTerminationDraining",
        "ENABLE_SQS_TERMINATION_DRAINING",
        "false",
        Both,
        Policy,
    ),
    row("queueURL", "QUEUE_URL", "", Queue, Policy),
    row("awsRegion", "AWS_REGION", "", Both, Policy),
    row(
        "awsEndpoint",
        "AWS_ENDPOINT",
        "",
        Queue,
        Elsewhere("AWS_ENDPOINT_URL in the controller's environment"),
    ),
    row(
        "checkTagBeforeDraining",
        "CHECK_TAG_BEFORE_DRAINING",
        "true",
        Queue,
        Policy,
    ),
    row(
        "managedTag",
        "MANAGED_TAG",
        "aws-node-termination-handler/managed",
        Queue,
        Policy,
    ),
    row(
        "checkASGTagBeforeDraining",
        "CHECK_ASG_TAG_BEFORE_DRAINING",
        "true",
        Queue,
        DEPRECATED_TAG,
    ),
    row(
        "managedAsgTag",
        "MANAGED_ASG_TAG",
        "aws-node-termination-handler/managed",
        Queue,
        DEPRECATED_TAG,
    ),
    row(
        "useProviderId",
        "USE_PROVIDER_ID",
        "false",
        Queue,
        Nowhere("nodes are always found by their provider ID"),
    ),
    row(
        "workers",
        "WORKERS",
        "10",
        Both,
        Nowhere("nothing waits for a worker; limits.maxConcurrent bounds only what is not urgent"),
    ),
    row(
        "deleteSqsMsgIfNodeNotFound",
        "DELETE_SQS_MSG_IF_NODE_NOT_FOUND",
        "false",
        Queue,
        Policy,
    ),
    row(
        "sqsMsgVisibilityTimeoutSec",
        "SQS_MSG_VISIBILITY_TIMEOUT_SEC",
        "20",
        Queue,
        Nowhere(
            "visibilityTimeoutSeconds has another meaning: a message is hidden only until its notice is recorded, not \
             during the drain; leave it at its default",
        ),
    ),
    row(
        "completeLifecycleActionDelaySeconds",
        "COMPLETE_LIFECYCLE_ACTION_DELAY_SECONDS",
        "-1",
        Queue,
        Policy,
    ),
    row(
        "heartbeatInterval",
        "HEARTBEAT_INTERVAL",
        "-1",
        Queue,
        Policy,
    ),
    row("heartbeatUntil", "HEARTBEAT_UNTIL", "-1", Queue, Policy),
    row("cordonOnly", "CORDON_ONLY", "false", Both, Policy),
    row("taintNode", "TAINT_NODE", "false", Both, Policy),
    row("", "TAINT_EFFECT", "NoSchedule", Both, Policy),
    row(
        "enableOutOfServiceTaint",
        "ENABLE_OUT_OF_SERVICE_TAINT",
        "false",
        Both,
        Policy,
    ),
    row(
        "excludeFromLoadBalancers",
        "EXCLUDE_FROM_LOAD_BALANCERS",
        "false",
        Both,
        Policy,
    ),
    row(
        "ignoreDaemonSets",
        "IGNORE_DAEMON_SETS",
        "true",
        Both,
        Nowhere(
            "with false, NTH's drains fail on every node with DaemonSet pods; here they stay, or leave last under \
             drain.daemonSetPods: EvictLast",
        ),
    ),
    row("deleteLocalData", "DELETE_LOCAL_DATA", "true", Both, Policy),
    row(
        "podTerminationGracePeriod",
        "POD_TERMINATION_GRACE_PERIOD",
        "-1",
        Both,
        Policy,
    ),
    row("gracePeriod", "GRACE_PERIOD", "", Both, GRACE),
    row(
        "nodeTerminationGracePeriod",
        "NODE_TERMINATION_GRACE_PERIOD",
        "120",
        Both,
        Policy,
    ),
    row(
        "",
        "USE_APISERVER_CACHE",
        "false",
        Both,
        Nowhere("pods are always seen by watches"),
    ),
    row("webhookURL", "WEBHOOK_URL", "", Both, Policy),
    row("webhookURLSecretName", "", "", Both, Policy),
    row("webhookProxy", "WEBHOOK_PROXY", "", Both, Policy),
    row("webhookHeaders", "WEBHOOK_HEADERS", "", Both, Policy),
    row("webhookTemplate", "WEBHOOK_TEMPLATE", "", Both, Policy),
    row("", "WEBHOOK_TEMPLATE_FILE", "", Both, Policy),
    row("webhookTemplateConfigMapName", "", "", Both, Policy),
    row("webhookTemplateConfigMapKey", "", "", Both, Policy),
    row(
        "emitKubernetesEvents",
        "EMIT_KUBERNETES_EVENTS",
        "false",
        Both,
        Nowhere("Events are always published, under other reasons"),
    ),
    row(
        "kubernetesEventsExtraAnnotations",
        "KUBERNETES_EVENTS_EXTRA_ANNOTATIONS",
        "",
        Both,
        Nowhere("Events carry no annotations; the NodeTermination says what they said"),
    ),
    row(
        "enablePrometheusServer",
        "ENABLE_PROMETHEUS_SERVER",
        "false",
        Both,
        HTTP,
    ),
    row(
        "prometheusServerPort",
        "PROMETHEUS_SERVER_PORT",
        "9092",
        Both,
        HTTP,
    ),
    row(
        "enableProbesServer",
        "ENABLE_PROBES_SERVER",
        "false",
        Both,
        HTTP,
    ),
    row("probes", "", "", Both, HTTP),
    row("", "PROBES_SERVER_PORT", "8080", Both, HTTP),
    row("", "PROBES_SERVER_ENDPOINT", "/healthz", Both, HTTP),
    row(
        "jsonLogging",
        "JSON_LOGGING",
        "false",
        Both,
        Elsewhere("--log-format: json is the default, text the other choice"),
    ),
    row(
        "logLevel",
        "LOG_LEVEL",
        "info",
        Both,
        Elsewhere("--log-level"),
    ),
    row(
        "logFormatVersion",
        "LOG_FORMAT_VERSION",
        "1",
        Both,
        Nowhere("log lines have fields of their own"),
    ),
    row("image", "", "", Both, POD),
    row("nameOverride", "", "", Both, POD),
    row("fullnameOverride", "", "", Both, POD),
    row("serviceAccount", "", "", Both, POD),
    row("rbac", "", "", Both, POD),
    row("customLabels", "", "", Both, POD),
    row("podLabels", "", "", Both, POD),
    row("podAnnotations", "", "", Both, POD),
    row("podSecurityContext", "", "", Both, POD),
    row("securityContext", "", "", Both, POD),
    row("terminationGracePeriodSeconds", "", "", Both, POD),
    row("resources", "", "", Both, POD),
    row("nodeSelector", "", "", Both, Policy),
    row("affinity", "", "", Both, Placement),
    row("tolerations", "", "", Both, Placement),
    row("topologySpreadConstraints", "", "", Both, POD),
    row("extraEnv", "", "", Both, Policy),
    row("replicas", "", "1", Queue, POD),
    row("strategy", "", "", Queue, POD),
    row("podDisruptionBudget", "", "", Queue, POD),
    row("serviceMonitor", "", "", Queue, SCRAPE),
    row(
        "priorityClassName",
        "",
        "system-cluster-critical",
        Queue,
        POD,
    ),
    row("awsAccessKeyID", "", "", Queue, CREDENTIALS),
    row("awsSecretAccessKey", "", "", Queue, CREDENTIALS),
    row("targetNodeOs", "", "linux", Metadata, WINDOWS),
    row("linuxPodLabels", "", "", Metadata, AGENT_POD),
    row("windowsPodLabels", "", "", Metadata, WINDOWS),
    row("linuxPodAnnotations", "", "", Metadata, AGENT_POD),
    row("windowsPodAnnotations", "", "", Metadata, WINDOWS),
    row("linuxNodeSelector", "", "", Metadata, Policy),
    row("windowsNodeSelector", "", "", Metadata, WINDOWS),
    row("linuxAffinity", "", "", Metadata, Placement),
    row("windowsAffinity", "", "", Metadata, WINDOWS),
    row("linuxTolerations", "", "", Metadata, Placement),
    row("windowsTolerations", "", "", Metadata, WINDOWS),
    row(
        "linuxDnsPolicy",
        "",
        "ClusterFirstWithHostNet",
        Metadata,
        AGENT_POD,
    ),
    row("windowsDnsPolicy", "", "ClusterFirst", Metadata, WINDOWS),
    row("updateStrategy", "", "", Metadata, AGENT_POD),
    row(
        "daemonsetPriorityClassName",
        "",
        "system-node-critical",
        Metadata,
        AGENT_POD,
    ),
    row("podMonitor", "", "", Metadata, SCRAPE),
    row("useHostNetwork", "", "true", Metadata, AGENT_POD),
    row("dnsPolicy", "", "", Both, POD),
    row("dnsConfig", "", "", Both, POD),
    row("daemonsetNodeSelector", "", "", Metadata, Policy),
    row("daemonsetAffinity", "", "", Metadata, Placement),
    row("daemonsetTolerations", "", "", Metadata, Placement),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{SETTINGS, named};

    #[test]
    fn every_setting_has_one_row_and_is_found_by_its_name() {
        let mut names = BTreeSet::new();
        for setting in SETTINGS {
            assert!(names.insert(setting.name()), "{} twice", setting.name());
            let found = named(setting.name()).unwrap();
            assert_eq!(
                (found.value, found.env),
                (setting.value, setting.env),
                "{}",
                setting.name()
            );
        }
    }

    #[test]
    fn every_setting_of_the_list_is_known() {
        let list = include_str!("../../tests/fixtures/nth-settings.txt");
        let names = list.lines().filter(|l| !l.starts_with('#'));
        let (mut flags, mut values) = (0, 0);
        for line in names {
            let cells: Vec<&str> = line.split_whitespace().collect();
            let [_flag, env, value] = cells[..] else {
                panic!("three cells: {line}")
            };
            if value != "-" {
                values += 1;
                let setting = super::of_value(value).unwrap_or_else(|| panic!("{value}"));
                assert!(env == "-" || setting.env == env, "{value} is {env}");
            }
            if env != "-" {
                flags += 1;
                assert!(super::of_env(env).is_some(), "{env}");
            }
        }
        assert!(flags > 50 && values > 80, "{flags}, {values}");
    }
}
