//! The main job in one command: `cargo run --example demo`.
//!
//! A real control plane and an AWS stand-in start on loopback; the operator runs as a process of its own. A spot notice
//! for one node and an Auto Scaling termination of another then go through their queue, and kubectl tells the story.
//! With `-- --mode imds` agents hear them from instance metadata instead.
//! Nothing is left running, Ctrl-C included. `-- --keep` leaves it all up, to look around, until Ctrl-C.

mod imds;
mod queue;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use testbed::binaries::Binaries;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use self::stage::Stage;

/// The repository, with the manifests that are applied.
const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");
/// The operator's binary, as Cargo names it.
const BINARY: &str = "node-termination-operator";

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
    // `cargo run` sets these for us. A build script that watches them would run again, and all above it be compiled.
    let of_package =
        |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(of_package) {
            build.env_remove(name);
        }
    }
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
