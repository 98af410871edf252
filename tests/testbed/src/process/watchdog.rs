//! One shell per test process that ends what the process leaves behind.
//!
//! It reads lines from a pipe whose only writing end is ours and closes on exec, so the kernel
//! tells it of our death, whatever the cause, by the end of its input; then it kills the processes
//! and removes the folders it was told of. `PR_SET_PDEATHSIG` would be the alternative, but it
//! fires at the death of the *thread* that spawned, removes no folder, and needs an unsafe
//! `pre_exec`.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{ChildStdin, Command, Stdio},
    sync::{Mutex, PoisonError},
};

use anyhow::Context;
use rustix::process::Pid;

const SCRIPT: &str = include_str!("watchdog.sh");

static INPUT: Mutex<Option<ChildStdin>> = Mutex::new(None);

/// From now on the folder is removed when this process has ended. Its path must not contain a line
/// break.
pub fn remove_at_exit(folder: &Path) -> anyhow::Result<()> {
    tell(&format!("folder {}", folder.display()))
}

/// From now on the process group that `pid` leads is killed when this process has ended.
pub(super) fn watch(pid: Pid) -> anyhow::Result<()> {
    tell(&format!("watch {}", pid.as_raw_nonzero()))
}

/// The process has ended, and its id may be given to another.
pub(super) fn forget(pid: Pid) {
    // Without a watchdog there is nothing that could hold the id.
    let _ = tell(&format!("forget {}", pid.as_raw_nonzero()));
}

fn tell(line: &str) -> anyhow::Result<()> {
    let mut input = INPUT.lock().unwrap_or_else(PoisonError::into_inner);
    let pipe = match &mut *input {
        Some(pipe) => pipe,
        none => none.insert(start()?),
    };
    writeln!(pipe, "{line}").context("speak to the watchdog")
}

fn start() -> anyhow::Result<ChildStdin> {
    let mut shell = Command::new("/bin/sh")
        .args(["-c", SCRIPT, "testbed-watchdog"])
        .current_dir("/")
        // In the parent's group a signal to the group, such as Ctrl-C, would end both at once.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start the watchdog")?;
    shell.stdin.take().context("the watchdog has no input")
}
