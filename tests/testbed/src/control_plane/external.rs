//! A cluster that somebody else runs.

use std::path::{Path, PathBuf};

use anyhow::Context;
use kube::config::Kubeconfig;
use tempfile::TempDir;

use crate::process::watchdog;

/// The cluster that `TESTBED_KUBECONFIG` names.
#[derive(Debug)]
pub(super) struct External {
    kubeconfig: PathBuf,
    folder: TempDir,
}

impl External {
    pub(super) fn new(kubeconfig: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("testbed-").tempdir()?;
        watchdog::remove_at_exit(folder.path())?;
        Ok(Self {
            kubeconfig: kubeconfig.to_owned(),
            folder,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A copy of the kubeconfig that impersonates `user`, since its tokens are not ours to give.
    pub(super) fn kubeconfig_for(&self, user: &str) -> anyhow::Result<PathBuf> {
        let mut file = Kubeconfig::read_from(&self.kubeconfig)?;
        for named in &mut file.auth_infos {
            let auth = named
                .auth_info
                .as_mut()
                .context("a user without credentials")?;
            auth.impersonate = Some(user.to_owned());
        }
        let path = self
            .folder()
            .join(format!("{}.kubeconfig", user.replace([':', '/'], "_")));
        std::fs::write(&path, serde_json::to_string(&file)?)?;
        Ok(path)
    }
}
