//! A process from start to end, whatever its role.

mod agent;
mod controller;
mod descriptors;
mod plugin;

use std::time::Duration;

use node_termination_operator::telemetry;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Agent, Controller, Process};
pub use plugin::{completion, plugin};

/// The prefix of every metric.
const METRICS_PREFIX: &str = "node_termination_operator";
/// Rust's own exit code after a panic.
const PANICKED: i32 = 101;

/// Runs a controller until SIGTERM or SIGINT.
pub fn controller(options: &Controller) -> anyhow::Result<()> {
    start(&options.process)?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    block_on(runtime, controller::serve(options))
}

/// Runs an agent until SIGTERM or SIGINT, on one thread: there is one on each node.
pub fn agent(options: &Agent) -> anyhow::Result<()> {
    start(&options.process)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    block_on(runtime, agent::serve(options))
}

fn start(options: &Process) -> anyhow::Result<()> {
    telemetry::init(options.log_format, &options.log_level)?;
    std::panic::set_hook(Box::new(die));
    descriptors::raise_limit();
    Ok(())
}

fn block_on(
    runtime: Runtime,
    serve: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let result = runtime.block_on(serve);
    // A call that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

/// A task that panics would leave a process that lives and does not work: it ends, and is started again.
fn die(panic: &std::panic::PanicHookInfo<'_>) {
    tracing::error!(%panic, "a defect of the operator: the process ends");
    std::process::exit(PANICKED);
}

async fn terminated() -> anyhow::Result<()> {
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Set for the process that panics.
    const PANICS: &str = "NTO_TEST_PANICS";

    #[test]
    fn a_task_that_panics_ends_the_process_whoever_would_have_waited_for_it() {
        if std::env::var_os(PANICS).is_some() {
            std::panic::set_hook(Box::new(die));
            let runtime = Builder::new_current_thread().build().unwrap();
            let panics = async { panic!("a defect") };
            // Without the hook it is an error that nobody looks at, and this test of the child passes.
            assert!(runtime.block_on(runtime.spawn(panics)).is_err());
            return;
        }
        let mut child = Command::new(std::env::current_exe().unwrap());
        let child = child.env(PANICS, "1").arg("a_task_that_panics");
        assert_eq!(child.output().unwrap().status.code(), Some(PANICKED));
    }
}
