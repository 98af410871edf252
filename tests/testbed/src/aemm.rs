//! The EC2 metadata mock of AWS, as a process: the word of somebody else on what the documents look like.
//!
//! It is one instance for each process and announces what its command line says, after a delay from its start.

use std::{path::Path, process::Command, time::Duration};

use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::{Child, binaries::Binaries, control_plane::ports};

/// How long it may take to listen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running mock. It is killed when this is dropped.
#[derive(Debug)]
pub struct Aemm {
    child: Child,
    endpoint: String,
}

impl Aemm {
    /// Starts it for an instance, with version 2 of the service only. `arguments` say what it announces, and when.
    pub async fn start(instance_id: &str, arguments: &[&str], logs: &Path) -> anyhow::Result<Self> {
        let binaries = tokio::task::spawn_blocking(Binaries::resolve).await??;
        let [port, ..] = ports::free()?;
        let mut command = Command::new(binaries.path("ec2-metadata-mock"));
        command
            .args(arguments)
            // Its default is every interface.
            .args(["-n", "127.0.0.1", "-I", "-p", &port.to_string()])
            .env("AEMM_METADATA_VALUES_INSTANCE_ID", instance_id);
        let log = logs.join(format!("aemm-{port}.log"));
        let child = Child::spawn("ec2-metadata-mock", &command, &log)?;
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            child.check()?;
            anyhow::ensure!(
                Instant::now() < deadline,
                "it does not listen\n{}",
                child.tail()
            );
            sleep(Duration::from_millis(50)).await;
        }
        let endpoint = format!("http://127.0.0.1:{port}");
        Ok(Self { child, endpoint })
    }

    /// The environment of a process that is to use it.
    #[must_use]
    pub fn env(&self) -> [(&str, &str); 1] {
        [("AWS_EC2_METADATA_SERVICE_ENDPOINT", &self.endpoint)]
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Child {
        &self.child
    }
}
