//! The processes of one control plane, their order, and their folder.

mod commands;

use std::{
    path::Path,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context;
use tempfile::TempDir;

use super::{AuditLog, Builder, READY_WITHIN, audit, credentials::Credentials, ports};
use crate::{
    binaries::Binaries,
    process::{Child, watchdog},
};

/// How often a server is asked whether it is ready.
const POLL: Duration = Duration::from_millis(100);

/// The clients of the API server that make it a cluster.
const CONTROLLERS: [&str; 3] = ["kube-controller-manager", "kube-scheduler", "kwok"];

/// The servers of one control plane, running or not. Fields are dropped in their order: the API
/// server before etcd, without which it would not end, and the folder last.
#[derive(Debug)]
pub(super) struct Servers {
    controllers: Mutex<Vec<Child>>,
    api_server: Mutex<Option<Child>>,
    etcd: Mutex<Option<Child>>,
    binaries: Binaries,
    credentials: Credentials,
    audit: bool,
    ports: Ports,
    folder: TempDir,
}

#[derive(Debug)]
struct Ports {
    api_server: u16,
    etcd: u16,
    etcd_peer: u16,
}

impl Servers {
    /// Makes the folder and all files in it; starts nothing.
    pub(super) fn prepare(binaries: Binaries, options: &Builder) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("testbed-").tempdir()?;
        watchdog::remove_at_exit(folder.path())?;
        let [api_server, etcd, etcd_peer] = ports::free()?;
        let url = format!("https://127.0.0.1:{api_server}");
        if options.audit {
            audit::write_policy(folder.path(), options.audit_bodies)?;
        }
        Ok(Self {
            controllers: Mutex::default(),
            api_server: Mutex::default(),
            etcd: Mutex::default(),
            binaries,
            credentials: Credentials::write(folder.path(), &url, &options.users)?,
            audit: options.audit,
            ports: Ports {
                api_server,
                etcd,
                etcd_peer,
            },
            folder,
        })
    }

    pub(super) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.api_server)
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    pub(super) fn audit_log(&self) -> Option<AuditLog> {
        self.audit.then(|| AuditLog::new(self.folder()))
    }

    pub(super) fn start_etcd(&self) -> anyhow::Result<()> {
        *lock(&self.etcd) = Some(self.spawn("etcd", &self.etcd_arguments())?);
        Ok(())
    }

    pub(super) fn stop_etcd(&self) {
        *lock(&self.etcd) = None;
    }

    /// Does nothing when it runs already.
    pub(super) fn start_api_server(&self) -> anyhow::Result<()> {
        let mut api_server = lock(&self.api_server);
        if api_server.is_none() {
            *api_server = Some(self.spawn("kube-apiserver", &self.api_server_arguments())?);
        }
        Ok(())
    }

    pub(super) fn stop_api_server(&self) {
        *lock(&self.api_server) = None;
    }

    /// Starts what is a client of the API server. They would give up if it were not ready.
    pub(super) fn start_controllers(&self) -> anyhow::Result<()> {
        let mut controllers = lock(&self.controllers);
        for name in CONTROLLERS {
            controllers.push(self.start_controller(name)?);
        }
        Ok(())
    }

    fn start_controller(&self, name: &str) -> anyhow::Result<Child> {
        let arguments = match name {
            "kube-controller-manager" => self.controller_manager_arguments()?,
            "kube-scheduler" => self.scheduler_arguments()?,
            _ => self.kwok_arguments()?,
        };
        self.spawn(name, &arguments)
    }

    /// Starts the controllers again that have ended, as a kubelet does: an outage may be too much for them. An error when
    /// a server that they depend on has ended.
    pub(super) fn keep_up(&self) -> anyhow::Result<()> {
        self.check_stores()?;
        for controller in lock(&self.controllers).iter_mut() {
            if let Some(status) = controller.try_wait()? {
                println!(
                    "{} ended ({status}) and is started again",
                    controller.name()
                );
                *controller = self.start_controller(controller.name())?;
            }
        }
        Ok(())
    }

    /// An error when a server that was started has ended.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.check_stores()?;
        lock(&self.controllers).iter().try_for_each(Child::check)
    }

    /// The same, of etcd and the API server alone.
    pub(super) fn check_stores(&self) -> anyhow::Result<()> {
        lock(&self.etcd).iter().try_for_each(Child::check)?;
        lock(&self.api_server).iter().try_for_each(Child::check)
    }

    /// Tries `attempt` until it succeeds, `alive` fails, or [`READY_WITHIN`] is over.
    pub(super) async fn await_condition<F>(
        &self,
        what: &str,
        alive: impl Fn(&Self) -> anyhow::Result<()>,
        attempt: impl Fn() -> F,
    ) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let give_up = tokio::time::Instant::now() + READY_WITHIN;
        loop {
            alive(self)?;
            // An attempt may hang where a server that starts accepts a connection and is silent.
            match tokio::time::timeout(Duration::from_secs(2), attempt()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) if tokio::time::Instant::now() > give_up => {
                    return Err(error.context(format!("{what}: not ready after {READY_WITHIN:?}")));
                }
                Err(elapsed) if tokio::time::Instant::now() > give_up => {
                    return Err(elapsed).with_context(|| format!("{what}: no answer"));
                }
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }

    fn spawn(&self, name: &str, arguments: &[String]) -> anyhow::Result<Child> {
        let mut command = Command::new(self.binaries.path(name));
        command.args(arguments).current_dir(self.folder());
        Child::spawn(name, &command, &self.folder().join(format!("{name}.log")))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
