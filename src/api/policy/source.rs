//! Where interruptions are heard: queues, and the metadata of each node's own instance.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::defaults;

/// One place where interruptions are heard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.sqs) != has(self.imds)").message("source: exactly one of sqs, imds must be set"))]
pub struct Source {
    /// The source's name within the policy; it names the source in status, logs and metrics.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// An SQS queue that EventBridge rules deliver to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqs: Option<SqsSource>,
    /// The metadata service of each node's own instance, read by the agent on that node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imds: Option<ImdsSource>,
}

/// An SQS queue of interruption events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    // The forms of `region_of_queue`.
    validation = Rule::new("has(self.region) || self.queueURL.matches('^https?://(sqs(-fips)?[.][a-z0-9-]*-[a-z0-9-]*[0-9]|[a-z0-9-]*-[a-z0-9-]*[0-9][.]queue|[^/]+[.]sqs[.][a-z0-9-]*-[a-z0-9-]*[0-9][.]vpce)[.](amazonaws[.](com|com[.]cn|eu)|api[.](aws|amazonwebservices[.](com[.]cn|eu)))(:[0-9]+)?/')")
        .message("region: the queue URL names no region, so sqs.region must be set"),
    validation = Rule::new("!has(self.externalID) || has(self.roleARN)")
        .message("externalID: it is sent when a role is assumed, so sqs.roleARN must be set")
)]
pub struct SqsSource {
    /// The queue's URL, as `aws sqs get-queue-url` prints it.
    #[serde(rename = "queueURL")]
    #[schemars(length(min = 10, max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/ ?#]+/[0-9]{12}/[A-Za-z0-9_-]{1,80}([.]fifo)?$')").message("queueURL: must look like https://sqs.REGION.amazonaws.com/ACCOUNT/QUEUE, the account with 12 digits"))]
    pub queue_url: String,
    /// The queue's region. Default: the region that the URL names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = "^[a-z0-9-]+$"))]
    pub region: Option<String>,
    /// A role to assume for every AWS call that this source's signals need: the queue's and the lifecycle actions'.
    #[serde(rename = "roleARN", default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 20, max = 512),
        regex(pattern = "^arn:[a-z0-9-]+:iam::[0-9]{12}:role/.+$")
    )]
    pub role_arn: Option<String>,
    /// The external ID to send when the role is assumed.
    #[serde(
        rename = "externalID",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(min = 2, max = 512))]
    pub external_id: Option<String>,
    /// How many long polls run side by side.
    #[serde(default = "defaults::receivers")]
    #[schemars(range(min = 1, max = 16))]
    pub receivers: u32,
    /// How long a received message stays hidden, in seconds: only until its signal is recorded, and so no longer than a notice may wait after a crash.
    #[serde(default = "defaults::visibility_timeout_seconds")]
    #[schemars(range(min = 5, max = 120))]
    pub visibility_timeout_seconds: u32,
    /// What becomes of a message about an instance that is no node of this cluster. Leave gives it back for another cluster that shares the queue, and deletes it once its deadline has passed.
    #[serde(default)]
    pub unknown_instances: UnknownInstances,
    /// Act only on instances that carry an EC2 tag with this key, whatever its value; messages about others are treated as those about unknown instances. It costs ec2:DescribeInstances. Absent: every node of this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub managed_tag: Option<String>,
    /// Complete the lifecycle hooks of instances that launch, once their Node is Ready.
    #[serde(default)]
    pub launch_hooks: LaunchHooks,
}

/// The lifecycle hooks of instances that launch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LaunchHooks {
    /// Complete them with CONTINUE once the instance's Node is Ready. Never under mode Observe.
    #[serde(default)]
    pub complete: bool,
    /// Only hooks of these Auto Scaling groups. Empty: of every group; then no other cluster may share the queue, for its launches would be held here.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 255)))]
    pub auto_scaling_group_names: Vec<String>,
}

/// What becomes of a message about an instance that is no node of this cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UnknownInstances {
    /// Give it back to the queue until it expires.
    #[default]
    Leave,
    /// Delete it.
    Delete,
}

/// The instance metadata service, read by the agent on each selected node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImdsSource {
    /// How often the agent reads, in seconds.
    #[serde(default = "defaults::poll_interval_seconds")]
    #[schemars(range(min = 1, max = 60))]
    pub poll_interval_seconds: u32,
}
