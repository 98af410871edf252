//! Child processes that never outlive the process that started them.
//!
//! A [`Child`] is killed when it is dropped. When its parent ends in any other way (a `static` that
//! is never dropped, a panic, Ctrl-C, SIGKILL), the [`watchdog`] kills it. Nothing here depends on
//! a tokio runtime, so a child can be shared by tests that each have a runtime of their own.

mod usage;
pub mod watchdog;

use std::{
    fs::{self, File},
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How often [`Child::wait`] looks whether the process has ended.
const POLL: Duration = Duration::from_millis(10);

/// How much of a log an error message carries, in lines.
const TAIL_LINES: usize = 25;

/// The shell waits for one line before it becomes the program: until the watchdog knows the
/// process, nothing runs, and if the parent dies in between, the shell reads the end of its input
/// and goes away.
const LAUNCH: &str = r#"read -r go && exec "$0" "$@" </dev/null"#;

/// A running program with its log in a file, in a process group of its own.
#[derive(Debug)]
pub struct Child {
    name: String,
    pid: Pid,
    log: PathBuf,
    process: Mutex<Process>,
}

#[derive(Debug)]
struct Process {
    handle: std::process::Child,
    ended: Option<ExitStatus>,
}

impl Child {
    /// Starts the program of `command`, with its arguments, environment changes and working folder;
    /// stdout and stderr are appended to the file `log`. Its stdio settings and `env_clear` are not
    /// carried over. A program that cannot be executed shows as a process that ended with status
    /// 126 or 127.
    pub fn spawn(name: &str, command: &Command, log: &Path) -> anyhow::Result<Self> {
        let mut handle = launcher(command, log)
            .and_then(|mut launcher| Ok(launcher.spawn()?))
            .with_context(|| format!("start {name}"))?;
        let pid = Pid::from_child(&handle);
        watchdog::watch(pid)?;
        if let Some(mut input) = handle.stdin.take() {
            input
                .write_all(b"go\n")
                .with_context(|| format!("start {name}"))?;
        }
        Ok(Self {
            name: name.to_owned(),
            pid,
            log: log.to_owned(),
            process: Mutex::new(Process {
                handle,
                ended: None,
            }),
        })
    }

    /// The name it was given, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of the program's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// The exit status, if the process has ended.
    pub fn try_wait(&self) -> anyhow::Result<Option<ExitStatus>> {
        let mut process = self.lock();
        if process.ended.is_none() {
            process.ended = process.handle.try_wait()?;
            if process.ended.is_some() {
                watchdog::forget(self.pid);
            }
        }
        Ok(process.ended)
    }

    /// Waits for the process to end by itself; an error when it has not after `timeout`.
    pub async fn wait(&self, timeout: Duration) -> anyhow::Result<ExitStatus> {
        let ended = async {
            loop {
                if let Some(status) = self.try_wait()? {
                    return Ok(status);
                }
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(timeout, ended)
            .await
            .with_context(|| format!("{} still runs after {timeout:?}", self.name))?
    }

    /// An error with the end of the log when the process no longer runs.
    pub fn check(&self) -> anyhow::Result<()> {
        match self.try_wait()? {
            None => Ok(()),
            Some(status) => anyhow::bail!(
                "{} ended ({status}); its log ends:\n{}",
                self.name,
                self.tail()
            ),
        }
    }

    /// Asks the process to end, with SIGTERM. Nothing happens when it has ended.
    pub fn terminate(&self) -> anyhow::Result<()> {
        if self.try_wait()?.is_none() {
            kill_process(self.pid, Signal::TERM)
                .with_context(|| format!("terminate {}", self.name))?;
        }
        Ok(())
    }

    /// Stops the process where it stands, with SIGSTOP: it is as good as hung, and its connections stay open.
    pub fn freeze(&self) -> anyhow::Result<()> {
        kill_process(self.pid, Signal::STOP).with_context(|| format!("freeze {}", self.name))
    }

    /// Lets a frozen process go on, with SIGCONT.
    pub fn thaw(&self) -> anyhow::Result<()> {
        kill_process(self.pid, Signal::CONT).with_context(|| format!("thaw {}", self.name))
    }

    /// Ends the process and its process group with SIGKILL and waits until the process is gone.
    pub fn kill(&self) {
        let mut process = self.lock();
        if process.ended.is_none() {
            // The two ways to fail are a process that has gone meanwhile and one that is already
            // reaped: both are the aim.
            let _ = kill_process_group(self.pid, Signal::KILL);
            process.ended = process.handle.wait().ok();
            watchdog::forget(self.pid);
        }
    }

    /// All that the process has written so far; empty when the file cannot be read.
    #[must_use]
    pub fn logs(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The last lines of the log.
    #[must_use]
    pub fn tail(&self) -> String {
        let logs = self.logs();
        let lines: Vec<_> = logs.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Resident memory now, in bytes (`VmRSS`). Fails when the process has ended.
    pub fn rss_bytes(&self) -> anyhow::Result<u64> {
        usage::memory(self.pid(), "VmRSS")
    }

    /// Resident memory that is no part of a file, in bytes (`RssAnon`): without the pages of the program itself, of which
    /// an unoptimised one has many. Fails when the process has ended.
    pub fn anonymous_bytes(&self) -> anyhow::Result<u64> {
        usage::memory(self.pid(), "RssAnon")
    }

    /// The most memory that was ever resident, in bytes (`VmHWM`). Fails when the process has
    /// ended.
    pub fn peak_rss_bytes(&self) -> anyhow::Result<u64> {
        usage::memory(self.pid(), "VmHWM")
    }

    /// User and system time used so far. Fails when the process has ended.
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        usage::cpu_time(self.pid())
    }

    fn lock(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

fn launcher(command: &Command, log: &Path) -> anyhow::Result<Command> {
    let output = File::options().create(true).append(true).open(log)?;
    let mut launcher = Command::new("/bin/sh");
    launcher
        .args(["-c", LAUNCH])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => launcher.env(name, value),
            None => launcher.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        launcher.current_dir(folder);
    }
    // A group of its own keeps Ctrl-C of the terminal to the parent: the order of an end is ours.
    launcher
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(output.try_clone()?)
        .stderr(output);
    Ok(launcher)
}

#[cfg(test)]
mod tests;
