//! The two replicas, each with a way of its own to the API server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use testbed::aws::Aws;
use testbed::operator::USER;
use testbed::proxy::Proxy;
use testbed::{ControlPlane, Operator, Skew};

use super::World;
use crate::history::ProcessLife;

/// The shortest lease that the operator takes.
const LEASE_SECONDS: u16 = 5;
/// How long a process may take to end after SIGTERM.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// A frozen replica does not answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// Both replicas, and what is known of those that were killed.
pub struct Fleet {
    replicas: Vec<Replica>,
    killed: Vec<ProcessLife>,
}

struct Replica {
    operator: Operator,
    proxy: Proxy,
    kubeconfig: PathBuf,
    starts: usize,
}

impl Fleet {
    /// Starts them, and waits until one leads.
    pub async fn start(
        control_plane: &ControlPlane,
        aws: &Aws,
        clocks: [SignedDuration; 2],
    ) -> Self {
        let mut replicas = Vec::new();
        for (identity, ahead) in ["first", "second"].into_iter().zip(clocks) {
            let proxy = Proxy::start(control_plane.url()).await.unwrap();
            let kubeconfig = control_plane
                .kubeconfig_by(identity, USER, proxy.url())
                .unwrap();
            let operator = start(control_plane, aws, identity, &kubeconfig, ahead);
            replicas.push(Replica {
                operator,
                proxy,
                kubeconfig,
                starts: 1,
            });
        }
        replicas[0].operator.await_ready().await.unwrap();
        replicas[1].operator.await_ready().await.unwrap();
        Self {
            replicas,
            killed: Vec::new(),
        }
    }

    /// The one that leads now, if any; else the first.
    async fn leader(&mut self) -> usize {
        for (index, replica) in self.replicas.iter().enumerate() {
            let leads = tokio::time::timeout(ANSWERS_WITHIN, replica.operator.leads());
            if leads.await.unwrap_or(false) {
                return index;
            }
        }
        0
    }

    /// Kills the leader; tells which it was.
    pub async fn kill_leader(&mut self) -> usize {
        let leader = self.leader().await;
        let replica = &self.replicas[leader];
        let mut life = life(replica);
        replica.operator.kill();
        life.log = replica.operator.process().logs();
        self.killed.push(life);
        leader
    }

    /// Starts the one that was killed again, with a clock that is so far ahead.
    pub fn restart(&mut self, index: usize, ahead: SignedDuration, world: &World) {
        let replica = &mut self.replicas[index];
        let identity = replica.operator.identity().to_owned();
        replica.operator = start(
            &world.control_plane,
            &world.aws,
            &identity,
            &replica.kubeconfig,
            ahead,
        );
        replica.starts += 1;
    }

    /// Stops the leader where it stands, for so long.
    pub async fn freeze_leader(&mut self, lasting: Duration) {
        let leader = self.leader().await;
        let process = self.replicas[leader].operator.process();
        process.freeze().unwrap();
        tokio::time::sleep(lasting).await;
        process.thaw().unwrap();
    }

    /// Cuts every connection to the API server.
    pub fn cut(&self) {
        self.replicas.iter().for_each(|r| r.proxy.cut());
    }

    /// Asks both to end, and tells of all processes.
    pub async fn stop(mut self) -> Vec<ProcessLife> {
        for replica in &self.replicas {
            let mut life = life(replica);
            if life.ended.is_none() {
                let ended = replica.operator.terminate(ENDS_WITHIN).await;
                let unclean = |status: &std::process::ExitStatus| !status.success();
                life.ended = match ended {
                    Ok(status) => Some(status)
                        .filter(unclean)
                        .map(|s| format!("after SIGTERM: {s}")),
                    Err(error) => Some(format!("not after SIGTERM: {error:#}")),
                };
            }
            life.log = replica.operator.process().logs();
            self.killed.push(life);
        }
        self.killed
    }
}

/// What is known of a process that should be running.
fn life(replica: &Replica) -> ProcessLife {
    let process = replica.operator.process();
    let ended = process.try_wait().unwrap();
    ProcessLife {
        name: format!("{}-{}", replica.operator.identity(), replica.starts),
        ended: ended.map(|status| status.to_string()),
        peak_rss: process.peak_rss_bytes().unwrap_or_default(),
        log: String::new(),
    }
}

fn start(
    control_plane: &ControlPlane,
    aws: &Aws,
    identity: &str,
    kubeconfig: &Path,
    ahead: SignedDuration,
) -> Operator {
    let binary = Path::new(env!("CARGO_BIN_EXE_node-termination-operator"));
    let skew = (!ahead.is_zero()).then(|| Skew::new(ahead).unwrap());
    let mut environment = vec![("KUBECONFIG", kubeconfig.to_str().unwrap())];
    environment.extend(skew.iter().flat_map(Skew::env));
    Operator::start(
        binary,
        control_plane,
        aws,
        identity,
        LEASE_SECONDS,
        &environment,
    )
    .unwrap()
}
