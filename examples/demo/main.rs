//! The main job in one command: `cargo run --example demo`.
//!
//! A real control plane and an AWS stand-in start on loopback; the operator runs as a process of its own. A spot notice
//! for one node and an Auto Scaling termination of another then go through their queue, and kubectl tells the story.
//! With `-- --mode imds` agents hear them from instance metadata instead.
//! Nothing is left running, Ctrl-C included. `-- --keep` leaves it all up, to look around, until Ctrl-C.

mod imds;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Api, Client};
use node_termination_operator::api::condition;
use node_termination_operator::api::policy::TerminationPolicy;
use node_termination_operator::api::termination::{NodeTermination, NodeTerminationStatus, Phase};
use testbed::aws::{ActionState, Aws, LifecycleAction, LifecycleResult, Queue, REGION, events};
use testbed::cluster::{self, Budget, PodOptions, TestNode, await_object};
use testbed::{ControlPlane, Operator, binaries::Binaries, operator};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// The repository, with the manifests that are applied.
const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");
/// The operator's binary, as Cargo names it.
const BINARY: &str = "node-termination-operator";
/// The Auto Scaling group and its lifecycle hook.
const GROUP: &str = "workers";
const HOOK: &str = "drain-first";
/// How long the hook waits for a heartbeat.
const HOOK_TIMEOUT: Duration = Duration::from_mins(2);
/// The termination's event has waited so long in the queue: the first heartbeat, 30 s after it, is due soon.
const EVENT_AGE: SignedDuration = SignedDuration::from_secs(24);
/// How long a pod takes to stop.
const STOPS_AFTER: Duration = Duration::from_secs(3);
/// Nothing in the demo takes longer; if something does, the operator's log tells why.
const PATIENCE: Duration = Duration::from_secs(90);

const USAGE: &str = "\
usage: cargo run --example demo [-- [--mode queue|imds] [--keep]]

  --mode   where notices are heard: in a queue, which is the default, or in instance metadata
  --keep   leave everything running at the end, to look around, until Ctrl-C";

fn main() -> ExitCode {
    let Some(options) = Options::read(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let code = run(options).unwrap_or_else(|error| {
        eprintln!("\nthe demo failed: {error:#}");
        ExitCode::FAILURE
    });
    println!();
    code
}

#[derive(Clone, Copy, Default)]
struct Options {
    mode: Mode,
    keep: bool,
}

#[derive(Clone, Copy, Default)]
enum Mode {
    #[default]
    Queue,
    Imds,
}

impl Options {
    /// `None`: they are not understood.
    fn read(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--keep" => options.keep = true,
                "--mode" => match arguments.next()?.as_str() {
                    "queue" => options.mode = Mode::Queue,
                    "imds" => options.mode = Mode::Imds,
                    _ => return None,
                },
                _ => return None,
            }
        }
        Some(options)
    }
}

/// Runs the demo, or stops at the first signal. What it started ends when its parts are dropped.
fn run(options: Options) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let code = runtime.block_on(async {
        tokio::select! {
            result = demo(options) => result.map(|()| ExitCode::SUCCESS),
            signal = interrupted() => signal.map(|()| {
                println!("\ninterrupted: everything is being stopped");
                ExitCode::from(130)
            }),
        }
    });
    // A build of the control plane's programs that was interrupted is not waited for.
    runtime.shutdown_background();
    code
}

async fn interrupted() -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

async fn demo(options: Options) -> anyhow::Result<()> {
    println!("node-termination-operator: a spot notice and an Auto Scaling termination, on a real");
    println!(
        "Kubernetes control plane. The first time its programs are built, which takes minutes."
    );
    let binary = operator_binary().await?;
    tokio::task::spawn_blocking(Binaries::resolve).await??;
    let start = Instant::now();
    let stage = Stage::build(&binary).await?;
    let told = match options.mode {
        Mode::Queue => Box::pin(stage.tell()).await,
        Mode::Imds => Box::pin(stage.tell_of_metadata()).await,
    };
    if let Err(error) = told {
        bail!(
            "{error:#}\nthe operator's log ends:\n{}",
            stage.operator.process().tail()
        );
    }
    println!("\nThat took {:.0} s.", start.elapsed().as_secs_f64());
    if options.keep {
        stage.look_around()?;
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// Builds the operator with the Cargo that runs us. Naming this example too keeps the features of the dependencies
/// as they are, so that nothing but the binary itself is compiled.
async fn operator_binary() -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = tokio::process::Command::new(cargo);
    build
        .args(["build", "--bin", BINARY, "--example", "demo"])
        .args(["--message-format", "json-render-diagnostics"])
        .args((!cfg!(debug_assertions)).then_some("--release"))
        .current_dir(REPOSITORY)
        .stderr(std::process::Stdio::inherit())
        .kill_on_drop(true);
    let output = build.output().await.context("run cargo build")?;
    ensure!(output.status.success(), "the operator could not be built");
    let messages = String::from_utf8(output.stdout)?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == BINARY)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo names no executable")
}

/// Everything that runs, and the actors. Dropped, it takes all processes and files with it.
struct Stage {
    binary: PathBuf,
    operator: Operator,
    client: Client,
    nodes: Vec<TestNode>,
    namespace: String,
    queue: Queue,
    aws: Aws,
    control_plane: ControlPlane,
}

impl Stage {
    async fn build(binary: &Path) -> anyhow::Result<Self> {
        headline("A control plane, the AWS stand-in, and the operator as a process");
        let control_plane = operator::control_plane(false).await?;
        operator::install(&control_plane, Path::new(REPOSITORY)).await?;
        let aws = Aws::start()?;
        let operator = Operator::start(binary, &control_plane, &aws, "demo", 15, &[])?;
        operator.await_ready().await?;
        operator.await_leader().await?;
        let version = testbed::binaries::KUBERNETES_VERSION;
        println!("Kubernetes {version} answers at {}", control_plane.url());
        let client = control_plane.client().await?;
        let nodes = cluster::make_nodes(&client, "node", 3, &cluster::map(&[])).await?;
        let namespace = cluster::namespace(&client, "shop").await?;
        let queue = aws.create_queue("node-events")?;
        Ok(Self {
            binary: binary.to_owned(),
            operator,
            client,
            nodes,
            namespace,
            queue,
            aws,
            control_plane,
        })
    }

    /// The story.
    async fn tell(&self) -> anyhow::Result<()> {
        within("workload", Box::pin(self.workload())).await?;
        within("policy", Box::pin(self.policy())).await?;
        let (spot, scaled_in) = (&self.nodes[0], &self.nodes[1]);
        let sent = Instant::now();
        let action = self.give_notice(spot, scaled_in)?;
        within("cordon", Box::pin(self.cordoned(spot, scaled_in, sent))).await?;
        within("budget", Box::pin(self.blocked(spot))).await?;
        within("heartbeat", Box::pin(self.heartbeat(scaled_in))).await?;
        within("room", Box::pin(self.room())).await?;
        within("release", Box::pin(self.released(spot, scaled_in, &action))).await?;
        within("end", Box::pin(self.gone(spot, scaled_in))).await
    }

    async fn workload(&self) -> anyhow::Result<()> {
        headline(
            "Two Deployments on three nodes. The budget of one has no room: all its pods must stay",
        );
        let (client, namespace) = (&self.client, &self.namespace);
        let options = PodOptions::default().gone_after(STOPS_AFTER);
        cluster::make_deployment(client, namespace, "web", 6, &options).await?;
        cluster::make_deployment(client, namespace, "batch", 3, &options).await?;
        let all = Budget::MinAvailable(IntOrString::Int(6));
        let labels = cluster::map(&[("app", "web")]);
        cluster::make_pdb(client, namespace, "web", &labels, all).await?;
        self.show(&["get", "pods,pdb", "-n", namespace, "-o", "wide"])
            .await
    }

    async fn policy(&self) -> anyhow::Result<()> {
        headline("A policy: which queue, what to do, how to drain");
        let yaml = policy(&self.queue.url());
        println!("{yaml}");
        let file = self.control_plane.folder().join("policy.yaml");
        std::fs::write(&file, yaml)?;
        let file = file.to_str().context("the path is not UTF-8")?;
        self.control_plane.kubectl(&["apply", "-f", file]).await?;
        let api = Api::<TerminationPolicy>::all(self.client.clone());
        await_object(api, "default", |p: Option<&TerminationPolicy>| {
            p.and_then(|p| p.status.as_ref())
                .is_some_and(|s| condition::holds(&s.conditions, condition::READY))
        })
        .await?;
        self.show(&["get", "terminationpolicies"]).await
    }

    /// Both notices at once, as EventBridge puts them into the queue.
    fn give_notice(
        &self,
        spot: &TestNode,
        scaled_in: &TestNode,
    ) -> anyhow::Result<LifecycleAction> {
        headline("AWS takes two of the machines");
        let (name, id) = (&spot.name, &spot.instance_id);
        println!("{name}: EC2 takes the spot instance {id} back in two minutes");
        let (name, id) = (&scaled_in.name, &scaled_in.instance_id);
        println!(
            "{name}: the group {GROUP} terminates {id}; its lifecycle hook {HOOK} waits for us"
        );
        let age = EVENT_AGE.as_secs();
        println!("(the second event has lain in the queue for {age} s, as after an outage)");
        let action = self.scale_in(&scaled_in.instance_id)?;
        let now = Timestamp::now();
        self.queue.send_batch([
            events::spot_interruption(&spot.instance_id, now),
            events::terminate_lifecycle(&action, now - EVENT_AGE),
        ])?;
        Ok(action)
    }

    fn scale_in(&self, instance: &str) -> anyhow::Result<LifecycleAction> {
        let result = LifecycleResult::Abandon;
        self.aws.put_hook(GROUP, HOOK, HOOK_TIMEOUT, result);
        self.aws.put_instance(GROUP, instance);
        self.aws
            .start_termination(GROUP, instance, None)?
            .pop()
            .context("the group has no hook")
    }

    async fn cordoned(
        &self,
        spot: &TestNode,
        scaled_in: &TestNode,
        sent: Instant,
    ) -> anyhow::Result<()> {
        let nodes = Api::<Node>::all(self.client.clone());
        let closed = |node: Option<&Node>| {
            node.and_then(|n| n.spec.as_ref())
                .is_some_and(|s| s.unschedulable == Some(true))
        };
        for node in [spot, scaled_in] {
            await_object(nodes.clone(), &node.name, closed).await?;
        }
        let took = sent.elapsed().as_secs_f64();
        headline(&format!(
            "Both nodes are cordoned, {took:.2} s after the notices"
        ));
        self.show(&["get", "nodes"]).await
    }

    async fn blocked(&self, spot: &TestNode) -> anyhow::Result<()> {
        let blocked = |t: &NodeTerminationStatus| t.blocked.len() == 2;
        self.await_status(spot, blocked).await?;
        headline(
            "Their pods leave, but for those of the budget: the record says who blocks, and until when",
        );
        self.show(&["get", "nodeterminations"]).await?;
        self.describe(spot, &["Blocked:", "Conditions:"]).await
    }

    async fn heartbeat(&self, scaled_in: &TestNode) -> anyhow::Result<()> {
        let beat = self
            .aws
            .await_call(PATIENCE, |call| {
                call.operation == "RecordLifecycleActionHeartbeat" && call.outcome.is_ok()
            })
            .await?;
        headline("The lifecycle hook is kept alive meanwhile: Auto Scaling gets a heartbeat");
        println!("{:.0}  RecordLifecycleActionHeartbeat", beat.time);
        println!("{}\n", beat.params);
        self.await_status(scaled_in, |t| {
            t.lifecycle_actions.iter().any(|a| a.heartbeats == 1)
        })
        .await?;
        self.describe(scaled_in, &["Lifecycle Actions:"]).await
    }

    async fn room(&self) -> anyhow::Result<()> {
        headline("Somebody makes room: two more replicas. The drains go on at that moment");
        let (namespace, more) = (self.namespace.as_str(), "--replicas=8");
        self.show(&["scale", "deployment", "web", "-n", namespace, more])
            .await
    }

    async fn released(
        &self,
        spot: &TestNode,
        scaled_in: &TestNode,
        action: &LifecycleAction,
    ) -> anyhow::Result<()> {
        let end = self.aws.await_action_done(&action.token, PATIENCE).await?;
        let ActionState::Ended { result, by, at } = end else {
            bail!("the lifecycle action has not ended: {end:?}");
        };
        headline("Drained: the lifecycle action is completed, the group may go on");
        println!("{at:.0}  {HOOK} ended by {by:?}, result {result:?}\n");
        for node in [spot, scaled_in] {
            self.await_phase(node, Phase::Released).await?;
        }
        self.show(&["get", "nodeterminations", "-o", "wide"])
            .await?;
        self.show(&["get", "pods", "-n", &self.namespace, "-o", "wide"])
            .await
    }

    async fn gone(&self, spot: &TestNode, scaled_in: &TestNode) -> anyhow::Result<()> {
        headline("The machines go, and their Nodes with them: the records are closed and stay");
        for node in [spot, scaled_in] {
            cluster::delete_node(&self.client, &node.name).await?;
            self.await_phase(node, Phase::Completed).await?;
        }
        self.show(&["get", "nodeterminations"]).await?;
        self.describe(scaled_in, &["Lifecycle Actions:", "Events:"])
            .await
    }

    async fn await_phase(&self, node: &TestNode, phase: Phase) -> anyhow::Result<()> {
        self.await_status(node, |status| status.phase == Some(phase))
            .await
    }

    async fn await_status(
        &self,
        node: &TestNode,
        good: impl Fn(&NodeTerminationStatus) -> bool,
    ) -> anyhow::Result<()> {
        let api = Api::<NodeTermination>::all(self.client.clone());
        await_object(api, &node.instance_id, |t: Option<&NodeTermination>| {
            t.and_then(|t| t.status.as_ref()).is_some_and(&good)
        })
        .await?;
        Ok(())
    }

    /// Runs kubectl and shows what it was asked and what it says.
    async fn show(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let said = self.control_plane.kubectl(arguments).await?;
        println!("$ kubectl {}\n{said}", arguments.join(" "));
        Ok(())
    }

    /// Shows some sections of the description of a node's incident.
    async fn describe(&self, node: &TestNode, sections: &[&str]) -> anyhow::Result<()> {
        let name = &node.instance_id;
        let said = self
            .control_plane
            .kubectl(&["describe", "nt", name])
            .await?;
        println!("$ kubectl describe nt {name}    # parts of it");
        for section in sections {
            println!("{}", excerpt(&said, section));
        }
        Ok(())
    }

    fn look_around(&self) -> anyhow::Result<()> {
        headline("It keeps running, until Ctrl-C. To look around, in another terminal:");
        let binaries = Binaries::resolve()?;
        println!(
            "export KUBECONFIG={}",
            self.control_plane.kubeconfig().display()
        );
        println!("alias kubectl={}", binaries.path("kubectl").display());
        println!("kubectl get nt,tp,nodes");
        println!("kubectl explain nodetermination.status");
        println!("less {}/demo-*.log", self.control_plane.folder().display());
        Ok(())
    }
}

fn policy(queue: &str) -> String {
    format!(
        "\
apiVersion: nodetermination.dev/v1alpha1
kind: TerminationPolicy
metadata:
  name: default
spec:
  nodeSelector:
    matchExpressions:
    - {{key: karpenter.sh/nodepool, operator: DoesNotExist}}
    - {{key: eks.amazonaws.com/nodegroup, operator: DoesNotExist}}
    - {{key: eks.amazonaws.com/compute-type, operator: NotIn, values: [auto]}}
  sources:
  - name: events
    sqs:
      queueURL: {queue}
      region: {REGION}
  drain:
    disruptionBudgets: RespectUntilDeadline
  lifecycle:
    heartbeat:
      intervalSeconds: 30
      untilSeconds: 600
"
    )
}

/// A line of a description and what is indented below it, without what tells little.
fn excerpt(said: &str, heading: &str) -> String {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let dull = |line: &str| {
        let line = line.trim_start();
        ["Last Transition Time:", "Observed Generation:", "UID:"]
            .iter()
            .any(|field| line.starts_with(field))
    };
    let mut lines = said.lines().skip_while(|line| line.trim() != heading);
    let Some(first) = lines.next() else {
        return format!("{heading} none");
    };
    let below = lines.take_while(|line| indent(line) > indent(first));
    let kept = std::iter::once(first).chain(below.filter(|line| !dull(line)));
    kept.collect::<Vec<_>>().join("\n")
}

fn headline(text: &str) {
    println!("\n== {text}");
}

/// What is over within the patience, or an error that says what was awaited.
async fn within<T>(what: &str, step: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(PATIENCE, step)
        .await
        .with_context(|| format!("{what}: not within {PATIENCE:?}"))?
}
