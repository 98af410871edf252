//! What the policies ask of an agent.

use std::time::Duration;

use kube::ResourceExt;

use crate::api::policy::TerminationPolicy;
use crate::cluster::Objects;

/// Each policy's name, UID and generation: what changes when more than a status does.
pub(super) type Versions = Vec<(String, Option<String>, Option<i64>)>;

/// The policies as they stand now.
pub(super) fn versions(policies: &Objects<TerminationPolicy>) -> Versions {
    let version = |p: &TerminationPolicy| (p.name_any(), p.uid(), p.metadata.generation);
    let all = policies.all();
    let mut versions: Versions = all.filter_map(|p| p.0.as_ref().ok().map(version)).collect();
    versions.sort();
    versions
}

/// How often the policy wants metadata to be read: as its most frequent imds source says. `None`: it has none.
pub(super) fn poll_interval(policy: &TerminationPolicy) -> Option<Duration> {
    let sources = policy.spec.sources.iter().filter_map(|s| s.imds.as_ref());
    let seconds = sources.map(|imds| imds.poll_interval_seconds).min()?;
    Some(Duration::from_secs(seconds.into()))
}
