//! The plugin's command line.

use std::path::PathBuf;

use clap::{Command as Clap, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use jiff::SignedDuration;

use super::output::Format;
use super::{ages, target};

/// Drain nodes by hand, see what blocks a drain, look back.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-nodetermination",
    bin_name = "kubectl nodetermination",
    version,
    about
)]
pub struct Plugin {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Which cluster, and as whom.
    #[command(flatten)]
    pub connection: Connection,
}

/// Which cluster to talk to, and as whom. What is left out is as kubectl takes it: from the file that `KUBECONFIG` names or
/// `~/.kube/config`, else from the pod's service account.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Connection {
    /// The kubeconfig file to use.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig to use.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The cluster of the kubeconfig to use.
    #[arg(long, global = true, value_name = "NAME")]
    pub cluster: Option<String>,
    /// The user of the kubeconfig to use.
    #[arg(long, global = true, value_name = "NAME")]
    pub user: Option<String>,
    /// The user to impersonate.
    #[arg(long = "as", global = true, value_name = "USER")]
    pub impersonate: Option<String>,
    /// The groups to impersonate; may be repeated.
    #[arg(
        long = "as-group",
        global = true,
        value_name = "GROUP",
        requires = "impersonate"
    )]
    pub impersonate_groups: Vec<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take a node out of service: close it and move its pods away.
    ///
    /// Makes a NodeTermination for the node, unless it is being drained already. The node stays out of service until that is canceled or deleted.
    Drain(Drain),
    /// Stop a drain and undo it: open the node again. It can not be taken back.
    Cancel(Cancel),
    /// Freeze a drain at its next safe point. Heartbeats go on, and so does the machine's end.
    Hold(Switch),
    /// Let a drain go on that was held.
    Release(Switch),
    /// Tell what blocks a node's drain, since when, and what happens next; or what a drain would do.
    Why(Switch),
    /// Tell what happened to nodes, the oldest first.
    History(History),
    /// Print the completion script of a shell for `kubectl-nodetermination`.
    Completion {
        /// The shell.
        shell: Shell,
    },
}

/// How to drain.
#[derive(Debug, clap::Args)]
pub struct Drain {
    /// The node's name.
    #[arg(value_parser = target::object_name)]
    pub node: String,
    /// Follow the drain, a line for each change, until it has ended.
    #[arg(long)]
    pub wait: bool,
    /// How long to follow it, such as 90s or 10m. The drain goes on after that. Zero, or left out: until it has ended.
    #[arg(long, requires = "wait", value_name = "TIME", value_parser = ages::parse)]
    pub timeout: Option<SignedDuration>,
    /// Why, for whoever looks later. Kept with the NodeTermination.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Print the NodeTermination instead of a sentence.
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
}

/// Which drain to cancel.
#[derive(Debug, clap::Args)]
pub struct Cancel {
    /// The node's name, or a NodeTermination's; nt/NAME and node/NAME say which.
    pub target: String,
    /// Cancel all that are open on the node, if there are several.
    #[arg(long)]
    pub all: bool,
    /// Print the NodeTerminations instead of a sentence.
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
}

/// Which drain is meant.
#[derive(Debug, clap::Args)]
pub struct Switch {
    /// The node's name, or a NodeTermination's; nt/NAME and node/NAME say which.
    pub target: String,
    /// Print the NodeTerminations instead of text.
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
}

/// What to look back at.
#[derive(Debug, clap::Args)]
pub struct History {
    /// Only what was open at some time within the last hours or days, such as 24h or 7d.
    #[arg(long, value_name = "TIME", value_parser = ages::parse)]
    pub since: Option<SignedDuration>,
    /// Only this node.
    #[arg(long, value_name = "NODE", value_parser = target::object_name)]
    pub node: Option<String>,
    /// Print the NodeTerminations instead of a table.
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
}

/// The command line as a whole, its global options on every command.
#[must_use]
pub fn command() -> Clap {
    let mut command = Plugin::command();
    command.build();
    command
}
