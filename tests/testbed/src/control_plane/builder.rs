//! What can be asked of a control plane before it starts.

use std::{env, path::PathBuf};

use super::ControlPlane;

/// The environment variable that names the kubeconfig of a cluster to use instead.
const KUBECONFIG: &str = "TESTBED_KUBECONFIG";

/// Options of a control plane that is not started yet.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    pub(super) audit: bool,
    pub(super) audit_bodies: bool,
    pub(super) users: Vec<User>,
}

/// A name the API server knows by a token of its own.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) groups: Vec<String>,
}

impl User {
    pub(super) fn new(name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        Self {
            name: name.to_owned(),
            groups,
        }
    }
}

impl Builder {
    /// Whether every request is logged, except those of the control plane itself. Off by default.
    #[must_use]
    pub fn audit(mut self, on: bool) -> Self {
        self.audit = on;
        self
    }

    /// Whether the audit log also holds what was asked for when pods were deleted or evicted. Off by default.
    #[must_use]
    pub fn audit_bodies(mut self, on: bool) -> Self {
        self.audit_bodies = on;
        self
    }

    /// Adds a user with a token of its own, without permissions beyond those of its groups. A
    /// service account's name, `system:serviceaccount:NAMESPACE:NAME`, makes its RBAC apply.
    #[must_use]
    pub fn user(mut self, name: &str, groups: &[&str]) -> Self {
        self.users.push(User::new(name, groups));
        self
    }

    /// Starts the control plane and waits until it works; the first time on a machine this builds
    /// the servers. With `TESTBED_KUBECONFIG`, connects to that cluster instead. An error of a
    /// server that ended carries the end of its log.
    pub async fn start(self) -> anyhow::Result<ControlPlane> {
        match env::var_os(KUBECONFIG).filter(|path| !path.is_empty()) {
            Some(path) => ControlPlane::external(PathBuf::from(path)).await,
            None => ControlPlane::own(self).await,
        }
    }
}
