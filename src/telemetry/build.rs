//! Which build runs, and in which role, as a metric: whatever else is missing, this one is there.

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// Puts the version of this process and its role, `controller` or `agent`, into the registry.
pub fn register_build(registry: &mut Registry, role: &'static str) {
    let version = env!("CARGO_PKG_VERSION");
    let build = Info::new([("version", version), ("role", role)]);
    registry.register("build", "The version that runs, and its role", build);
}
