//! The command line. Each option is also an environment variable.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use node_termination_operator::plugin::args::Plugin;
use node_termination_operator::telemetry::LogFormat;

/// Where a pod finds the namespace of its service account.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// The namespace outside a cluster.
const NAMESPACE_DEFAULT: &str = "node-termination-operator";

/// Makes the end of an EC2 instance harmless for the pods on its node.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Args {
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
}

/// What to run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the controller: two or more replicas, of which one leads.
    Controller(Controller),
    /// Run the agent of one node, which reads its instance's metadata: a pod of a DaemonSet.
    Agent(Agent),
    /// Print the custom resource definitions, or write one file for each.
    Crds {
        /// The folder to write to; without it they are printed.
        #[arg(long, env = "NTO_OUTPUT_DIR")]
        output_dir: Option<PathBuf>,
    },
    /// Print the TerminationPolicy that does what an installation of aws-node-termination-handler does.
    Migrate {
        /// The values of its Helm chart, as `helm get values RELEASE --output yaml` prints them; - is standard input.
        #[arg(long, env = "NTO_VALUES")]
        values: PathBuf,
    },
    /// What `kubectl nodetermination` does, where the binary is not installed under that name.
    Kubectl(Plugin),
}

/// The options of every role.
#[derive(Debug, clap::Args)]
pub struct Process {
    /// Where /healthz, /readyz and /metrics are served; [::] is every address, of IPv4 too.
    #[arg(long, env = "NTO_HTTP_ADDRESS", default_value = "[::]:8080")]
    pub http_address: SocketAddr,
    /// How log lines look.
    #[arg(long, env = "NTO_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
    /// error, warn, info, debug, trace, or a filter such as `info,node_termination_operator::source=debug`.
    #[arg(long, env = "NTO_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}

/// The agent's options. Its node is found by its own token, the metadata by the standard environment of AWS.
#[derive(Debug, clap::Args)]
pub struct Agent {
    /// What every role has.
    #[command(flatten)]
    pub process: Process,
}

/// The controller's options. AWS and the cluster are found by their standard environments.
#[derive(Debug, clap::Args)]
pub struct Controller {
    /// The namespace of the lease. Default: the service account's, else node-termination-operator.
    #[arg(long, env = "NTO_NAMESPACE")]
    namespace: Option<String>,
    /// What every role has.
    #[command(flatten)]
    pub process: Process,
    /// How long a silent leader keeps the lease, in seconds.
    #[arg(long, env = "NTO_LEASE_DURATION_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u16).range(5..=300))]
    lease_duration_seconds: u16,
    /// This replica's name in the lease, in a pod the pod's name. Default: the host's name.
    #[arg(long, env = "NTO_IDENTITY")]
    identity: Option<String>,
    /// What this cluster is called in notifications.
    #[arg(long, env = "NTO_CLUSTER_NAME")]
    cluster_name: Option<String>,
    /// Also post notifications to http URLs: whoever is on the way reads and changes them.
    #[arg(long, env = "NTO_ALLOW_HTTP_NOTIFICATIONS")]
    pub allow_http_notifications: bool,
}

impl Controller {
    /// The namespace of the lease.
    pub fn namespace(&self) -> String {
        let of_pod = || {
            std::fs::read_to_string(NAMESPACE_FILE)
                .ok()
                .map(|n| n.trim().to_owned())
                .filter(|n| !n.is_empty())
        };
        self.namespace
            .clone()
            .or_else(of_pod)
            .unwrap_or_else(|| NAMESPACE_DEFAULT.to_owned())
    }

    /// This replica's name.
    pub fn identity(&self) -> String {
        let host = || {
            std::fs::read_to_string("/proc/sys/kernel/hostname")
                .ok()
                .map(|h| h.trim().to_owned())
        };
        self.identity
            .clone()
            .or_else(host)
            .unwrap_or_else(|| "node-termination-operator".to_owned())
    }

    /// What this cluster is called in notifications.
    pub fn cluster_name(&self) -> Option<String> {
        self.cluster_name.clone().filter(|name| !name.is_empty())
    }

    /// How long a silent leader keeps the lease.
    pub fn lease_duration(&self) -> Duration {
        Duration::from_secs(self.lease_duration_seconds.into())
    }
}
