//! What the operator spends: requests, from the API server's audit log; memory, CPU and descriptors, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use testbed::control_plane::AuditEntry;
use testbed::{Child, Operator};
use tokio::task::JoinHandle;

use crate::bed::Bed;

/// Between two looks at the descriptors.
const LOOK: Duration = Duration::from_millis(250);
/// The audit log's last lines come a moment after the answers.
const LOGGED: Duration = Duration::from_millis(500);

/// A measurement of one process under way.
pub struct Meter<'a> {
    bed: &'a Bed,
    process: &'a Child,
    asked: usize,
    cpu: Duration,
    most_sockets: Arc<AtomicUsize>,
    looks: JoinHandle<()>,
}

/// What a process has spent.
pub struct Cost {
    /// Its requests, its lease apart.
    pub requests: Vec<AuditEntry>,
    pub rss: u64,
    pub peak_rss: u64,
    pub cpu: Duration,
    /// The most connections that it had.
    pub sockets: usize,
}

impl<'a> Meter<'a> {
    pub fn start(bed: &'a Bed, operator: &'a Operator) -> anyhow::Result<Self> {
        let process = operator.process();
        let most_sockets = Arc::new(AtomicUsize::new(0));
        let (most, pid) = (most_sockets.clone(), process.pid());
        let looks = tokio::spawn(async move {
            let mut look = tokio::time::interval(LOOK);
            loop {
                look.tick().await;
                most.fetch_max(sockets(pid), Ordering::Relaxed);
            }
        });
        Ok(Self {
            bed,
            process,
            asked: bed.requests()?.len(),
            cpu: process.cpu_time()?,
            most_sockets,
            looks,
        })
    }

    pub async fn stop(self) -> anyhow::Result<Cost> {
        self.looks.abort();
        tokio::time::sleep(LOGGED).await;
        Ok(Cost {
            requests: self.bed.requests()?.split_off(self.asked),
            rss: self.process.rss_bytes()?,
            peak_rss: self.process.peak_rss_bytes()?,
            cpu: self.process.cpu_time()?.saturating_sub(self.cpu),
            sockets: self.most_sockets.load(Ordering::Relaxed),
        })
    }
}

/// The sockets among the descriptors of a process.
fn sockets(pid: u32) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten();
    let links = descriptors.filter_map(|d| fs::read_link(d.ok()?.path()).ok());
    let is_socket = |link: &std::path::PathBuf| link.to_string_lossy().starts_with("socket:");
    links.filter(is_socket).count()
}

impl Cost {
    /// How often each thing was asked for.
    pub fn by_request(&self) -> String {
        let mut counted = BTreeMap::<String, usize>::new();
        for entry in &self.requests {
            let what = match entry.subresource.as_str() {
                "" => format!("{} {}", entry.verb, entry.resource),
                part => format!("{} {}/{part}", entry.verb, entry.resource),
            };
            *counted.entry(what).or_default() += 1;
        }
        let counted: Vec<_> = counted
            .iter()
            .map(|(what, n)| format!("{what} {n}"))
            .collect();
        counted.join(", ")
    }

    /// How many evictions got that answer.
    pub fn evictions(&self, status: u16) -> usize {
        let evictions = self.requests.iter().filter(|e| e.subresource == "eviction");
        evictions.filter(|e| e.status_code == status).count()
    }
}
