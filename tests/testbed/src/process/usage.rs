//! What a process uses, from `/proc` (proc(5)).

use std::{fs, time::Duration};

use anyhow::Context;

/// One `Vm…` or `Rss…` line of `/proc/PID/status`, in bytes.
pub(super) fn memory(pid: u32, field: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kibibytes = line.and_then(|rest| rest.split_whitespace().next());
    let kibibytes: u64 = kibibytes
        .with_context(|| format!("process {pid} has no {field}"))?
        .parse()?;
    Ok(kibibytes * 1024)
}

/// The sum of `utime` and `stime` of `/proc/PID/stat`, fields 14 and 15.
pub(super) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Field 2 is the program's name in parentheses and may hold spaces; what follows it starts with
    // field 3.
    let (_, rest) = stat
        .rsplit_once(')')
        .context("a stat line without a program name")?;
    let ticks: Vec<u64> = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let milliseconds = ticks.iter().sum::<u64>() * 1000 / rustix::param::clock_ticks_per_second();
    Ok(Duration::from_millis(milliseconds))
}
