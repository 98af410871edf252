//! `TerminationPolicy`: which nodes, which event sources, and what an interruption means for them.

pub(crate) mod defaults;
mod notification;
mod rank;
mod region;
mod selector;
mod source;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::termination::SignalKind;
use crate::api::Time;
pub use notification::{
    NOTIFICATIONS_MAX, Notification, NotificationHeader, NotificationVariable, SecretKeyRef, Stage,
    ValueSource,
};
pub use rank::Ranking;
pub use region::region_of_queue;
pub use source::{ImdsSource, LaunchHooks, Source, SqsSource, UnknownInstances};

/// Which nodes, which event sources, and what to do when one of the nodes is taken away.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "nodetermination.dev",
    version = "v1alpha1",
    kind = "TerminationPolicy",
    plural = "terminationpolicies",
    shortname = "tp",
    category = "terminations",
    status = "TerminationPolicyStatus",
    derive = "PartialEq",
    doc = "TerminationPolicy declares which nodes are protected, where their interruptions are heard, how the nodes are drained and how Auto Scaling lifecycle hooks are kept alive and completed.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Sources", type_ = "string", json_path = ".status.readySources"),
    printcolumn(name = "Nodes", type_ = "integer", json_path = ".status.matchedNodes"),
    printcolumn(
        name = "Open",
        type_ = "integer",
        json_path = ".status.openTerminations"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.lifecycle) || !has(self.lifecycle.heartbeat) || self.sources.exists(s, has(s.sqs))")
        .message("heartbeat: lifecycle.heartbeat needs an sqs source: instance metadata carries no lifecycle action to keep alive")
)]
pub struct TerminationPolicySpec {
    /// The nodes that this policy speaks for. Absent or empty: every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector::schema")]
    pub node_selector: Option<LabelSelector>,
    /// A node has exactly one policy: of all that select it, the one with the highest priority, then the first by name.
    #[serde(default)]
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub priority: i32,
    /// Enforce acts. Observe records each interruption and changes nothing: no node write, no eviction, no lifecycle call.
    /// Observe still acknowledges what it recorded, so give it a queue of its own.
    #[serde(default)]
    pub mode: Mode,
    /// Where interruptions are heard. Sources only deliver: which policy acts on a node is decided by nodeSelector and priority, over all policies.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub sources: Vec<Source>,
    /// What to do about each kind of interruption.
    #[serde(default)]
    pub actions: Actions,
    /// How a node is closed to new pods.
    #[serde(default)]
    pub cordon: Cordon,
    /// How a node's pods are moved away.
    #[serde(default)]
    pub drain: Drain,
    /// How Auto Scaling lifecycle actions are kept alive and completed.
    #[serde(default)]
    pub lifecycle: Lifecycle,
    /// When to act on maintenance that AWS has scheduled.
    #[serde(default)]
    pub maintenance: Maintenance,
    /// How many nodes may be drained at once when nothing presses.
    #[serde(default)]
    pub limits: Limits,
    /// Who is told of what happens: one HTTP POST for each stage that an incident comes to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub notifications: Vec<Notification>,
    /// How long a finished NodeTermination is kept, in seconds. It is never removed while its Node still exists.
    #[serde(default = "defaults::ttl_seconds_after_finished")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds_after_finished: u32,
    /// How many finished NodeTerminations of this policy are kept; the oldest go first.
    #[serde(default = "defaults::history_limit")]
    #[schemars(range(min = 0, max = 100_000))]
    pub history_limit: u32,
}

/// Whether a policy acts or only records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Cordon, drain and complete as the policy says.
    #[default]
    Enforce,
    /// Record what happens and change nothing.
    Observe,
}

/// What to do about each kind of interruption.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Actions {
    /// A spot instance is taken back in two minutes.
    #[serde(default)]
    pub spot_interruption: Action,
    /// An Auto Scaling group terminates the instance and waits for its lifecycle hook.
    #[serde(default)]
    pub auto_scaling_termination: Action,
    /// AWS has announced a reboot, a stop, a retirement or other work on the machine.
    #[serde(default)]
    pub scheduled_maintenance: Action,
    /// The instance stops or terminates already, whoever asked for it.
    #[serde(default)]
    pub instance_state_change: Action,
    /// An interruptible capacity reservation is reclaimed, or a Capacity Block ends.
    #[serde(default)]
    pub capacity_reservation: Action,
    /// A spot instance is at a heightened risk of interruption. Observe by default: a storm of these would empty the pools; CordonAndDrain suits groups with Capacity Rebalancing.
    #[serde(default = "defaults::rebalance_recommendation")]
    pub rebalance_recommendation: Action,
}

impl Actions {
    /// The action for a kind of signal. What a person asks for by hand is always carried out.
    #[must_use]
    pub fn of(&self, kind: SignalKind) -> Action {
        match kind {
            SignalKind::SpotInterruption => self.spot_interruption,
            SignalKind::AutoScalingTermination => self.auto_scaling_termination,
            SignalKind::ScheduledMaintenance => self.scheduled_maintenance,
            SignalKind::InstanceStateChange => self.instance_state_change,
            SignalKind::CapacityReservation => self.capacity_reservation,
            SignalKind::RebalanceRecommendation => self.rebalance_recommendation,
            SignalKind::Manual => Action::CordonAndDrain,
        }
    }
}

/// What to do about an interruption, from least to most.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Action {
    /// Acknowledge and forget it. A lifecycle hook is left alone.
    Ignore,
    /// Record it and change nothing. A lifecycle hook is left alone.
    Observe,
    /// Close the node to new pods. A lifecycle hook is completed after the cordon.
    Cordon,
    /// Close the node and move its pods away. A lifecycle hook is completed after the drain.
    #[default]
    CordonAndDrain,
}

/// How a node is closed to new pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cordon {
    /// The taint that is put on beside the cordon. Its value is the kind of the most urgent signal.
    #[serde(default)]
    pub taint: CordonTaint,
    /// Also label the node so that load balancers of Services take it out. It also removes backends of Services with externalTrafficPolicy: Local.
    #[serde(default)]
    pub exclude_from_load_balancers: bool,
    /// The cordon of a rebalance recommendation is lifted after this, in seconds, if nothing else came. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 2_592_000))]
    pub expire_seconds: Option<u32>,
}

/// The taint that is put on beside the cordon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CordonTaint {
    /// The taint's key.
    #[serde(default = "defaults::taint_key")]
    #[schemars(
        length(min = 1, max = 253),
        regex(
            pattern = "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
        )
    )]
    pub key: String,
    /// NoSchedule or PreferNoSchedule. NoExecute is refused: it would delete pods at once, without a disruption budget, an order or a grace period of their own.
    #[serde(default = "defaults::taint_effect")]
    #[schemars(length(max = 32))]
    #[x_kube(
        validation = Rule::new("self != 'NoExecute'").message("taint: NoExecute is refused: it deletes pods at once, past disruption budgets, order and grace; the drain moves them"),
        validation = Rule::new("self in ['NoSchedule', 'PreferNoSchedule', 'NoExecute']").message("taint: effect must be NoSchedule or PreferNoSchedule")
    )]
    pub effect: String,
}

/// How a node's pods are moved away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.skipPodSelector) || (has(self.skipPodSelector.matchLabels) && size(self.skipPodSelector.matchLabels) > 0) || (has(self.skipPodSelector.matchExpressions) && size(self.skipPodSelector.matchExpressions) > 0)")
        .message("skipPodSelector: an empty selector would leave every pod on the node; leave the field out, or name labels")
)]
pub struct Drain {
    /// The grace period that every pod gets, in seconds. Absent: each pod's own. Cut to what is left before the deadline, never below 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 172_800))]
    pub grace_period_seconds: Option<u32>,
    /// How long a drain may take when the event carries no deadline of its own, in seconds.
    #[serde(default = "defaults::timeout_seconds")]
    #[schemars(range(min = 10, max = 172_800))]
    pub timeout_seconds: u32,
    /// How long before the deadline the last pod must have ended, in seconds: time for unmounts and for the kubelet to report.
    #[serde(default = "defaults::deadline_margin_seconds")]
    #[schemars(range(min = 0, max = 300))]
    pub deadline_margin_seconds: u32,
    /// What a PodDisruptionBudget without room means. RespectUntilDeadline deletes the pod at the last moment that still gives it its grace, and the object says so.
    #[serde(default)]
    pub disruption_budgets: DisruptionBudgets,
    /// DaemonSet pods stay by default, for they serve the others; EvictLast moves them after all others are gone.
    #[serde(default)]
    pub daemon_set_pods: DaemonSetPods,
    /// Pods with an emptyDir volume lose its data when they leave. Block keeps them until the last moment.
    #[serde(default)]
    pub empty_dir_pods: Hesitation,
    /// Pods without a controller do not come back elsewhere. Block keeps them until the last moment.
    #[serde(default)]
    pub unmanaged_pods: Hesitation,
    /// Pods to leave alone: they are neither evicted nor waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector::schema")]
    pub skip_pod_selector: Option<LabelSelector>,
    /// Wait, once the pods have gone, until their volumes are detached from the node, as long as the deadline allows: a volume that is still attached to a machine that is lost can not be attached elsewhere for minutes.
    #[serde(default = "defaults::wait_for_volume_detach")]
    pub wait_for_volume_detach: bool,
    /// Once EC2 says that the instance is stopped or terminated, and pods or volumes are left on its Node, put the taint node.kubernetes.io/out-of-service on the Node: Kubernetes then detaches the volumes and removes the pods at once. It is taken off when the machine returns. It costs ec2:DescribeInstances where no state change is heard.
    #[serde(default)]
    pub out_of_service_taint: bool,
}

/// What a PodDisruptionBudget without room means for the drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DisruptionBudgets {
    /// Wait for room until the pod's last moment, then delete it: the machine would take it anyway.
    #[default]
    RespectUntilDeadline,
    /// Wait for room whatever happens.
    Respect,
    /// Delete at once, past every budget.
    Ignore,
}

/// What becomes of DaemonSet pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DaemonSetPods {
    /// They stay and end with the machine.
    #[default]
    Leave,
    /// They are evicted after all ordinary pods are gone.
    EvictLast,
}

/// Whether pods of a delicate sort are evicted like any other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Hesitation {
    /// Like any other pod.
    #[default]
    Evict,
    /// Only at the last moment that still gives the pod its grace.
    Block,
}

/// How Auto Scaling lifecycle actions are kept alive and completed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lifecycle {
    /// Keeps the lifecycle action alive while the drain runs. Absent: no heartbeats; the hook's own time-out is the deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Heartbeat>,
    /// What a drain that did not end in time means for the hook. Continue and Abandon complete it with that result; Wait leaves it to time out and goes on draining. ABANDON still terminates the instance unless the group's lifecycle policy retains it.
    #[serde(default)]
    pub on_drain_failure: OnDrainFailure,
    /// How long to wait between the end of the drain and the completion, in seconds.
    #[serde(default)]
    #[schemars(range(min = 0, max = 7200))]
    pub completion_delay_seconds: u32,
}

/// Heartbeats of a lifecycle action: the n-th at the event's time + n × intervalSeconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.intervalSeconds <= self.untilSeconds").message("heartbeat: intervalSeconds must not be greater than untilSeconds"))]
pub struct Heartbeat {
    /// The time between two heartbeats, in seconds. An interval that is not below the hook's own time-out is cut to half of that, with a warning.
    #[x_kube(validation = Rule::new("self >= 30 && self <= 3600").message("heartbeat: intervalSeconds must be from 30 to 3600"))]
    pub interval_seconds: u32,
    /// No heartbeat is sent later than this after the event, in seconds. Auto Scaling itself ends an action after 48 hours, or 100 times the hook's time-out.
    #[serde(default = "defaults::heartbeat_until_seconds")]
    #[x_kube(validation = Rule::new("self >= 60 && self <= 172800").message("heartbeat: untilSeconds must be from 60 to 172800"))]
    pub until_seconds: u32,
}

/// When to act on maintenance that AWS has scheduled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Maintenance {
    /// How long before the window opens a reboot or a system maintenance is acted on, in seconds; until then the incident waits and the node stays open. A stop or a retirement is acted on at once.
    #[serde(default = "defaults::lead_seconds")]
    #[schemars(range(min = 0, max = 2_592_000))]
    pub lead_seconds: u32,
}

/// How many nodes may be drained at once when nothing presses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// How many of the policy's nodes, or what share of them, may be drained at once on account of rebalance recommendations, maintenance and by hand; also on account of lifecycle hooks that are kept alive by heartbeats. A share is rounded down, but never to none. Urgent kinds never wait.
    #[serde(default = "defaults::max_concurrent")]
    #[x_kube(validation = Rule::new("type(self) == int ? self >= 1 && self <= 100000 : self.matches('^([1-9][0-9]?|100)%$')").message("limits: maxConcurrent must be a number from 1 to 100000, or a share from 1% to 100%"))]
    pub max_concurrent: IntOrString,
}

/// What a drain that did not end in time means for the lifecycle hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnDrainFailure {
    /// Complete it with CONTINUE.
    #[default]
    Continue,
    /// Complete it with ABANDON.
    Abandon,
    /// Leave it to time out, and go on draining until then.
    Wait,
}

/// What the policy sees and does at the moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TerminationPolicyStatus {
    /// The generation of spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready: every source polls. Reconciling: one is starting or backing off. Stalled: one can not work until somebody changes something.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// How many nodes have this policy as theirs.
    #[serde(default)]
    pub matched_nodes: u32,
    /// How many NodeTerminations of this policy are not finished.
    #[serde(default)]
    pub open_terminations: u32,
    /// Polling sources of all sources, as in "2/2".
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub ready_sources: String,
    /// Each source's state. It changes with the state only: counts and times of polls are metrics.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub sources: Vec<SourceStatus>,
}

/// One source's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// The source's name in spec.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Starting, Polling, BackingOff or Unsupported.
    pub state: SourceState,
    /// Why, in one CamelCase word.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Why, in a sentence.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// Since when, RFC 3339.
    pub since: Time,
}

/// The states of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SourceState {
    /// Its monitor has not finished its first call.
    Starting,
    /// Its monitor hears what the source says.
    Polling,
    /// Its last call failed; the monitor tries again, ever more slowly.
    BackingOff,
    /// Nothing hears it: there is no agent, or its settings can not be used.
    Unsupported,
}
