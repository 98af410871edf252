//! A plan made real: a control plane, an AWS stand-in, two replicas, and three lanes that go on side by side: notices,
//! faults, people. Then everything is well again, the instances end, and what was seen is gathered.

mod cast;
mod fleet;
mod gather;
mod harm;
mod notify;
mod observer;
mod people;
mod pools;
mod settle;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use testbed::aws::events::ScheduledChange;
use testbed::aws::{Aws, LifecycleAction, Queue};
use testbed::cluster::TestNode;
use testbed::{ControlPlane, operator};
use tokio::time::Instant;

use crate::history::{Done, History, Sent, Trouble};
use crate::plan::{Plan, Step};
use fleet::Fleet;
use observer::Observer;

/// Everything but the replicas, which belong to the lane of faults.
pub struct World {
    plan: Plan,
    aws: Aws,
    queues: Vec<Queue>,
    client: Client,
    nodes: Vec<TestNode>,
    observer: Observer,
    log: Mutex<Log>,
    started: Timestamp,
    control_plane: ControlPlane,
}

/// What was done to the world.
#[derive(Default)]
struct Log {
    notices: Vec<Sent>,
    deeds: Vec<Done>,
    troubles: Vec<Trouble>,
    actions: Vec<LifecycleAction>,
    /// Of each node that is to be rebooted.
    reboots: Vec<(usize, ScheduledChange)>,
}

/// The namespace of all pods.
const NAMESPACE: &str = "chaos";

/// Plays it; tells what was seen, and the folder in which logs are kept.
pub async fn play(plan: &Plan) -> (History, PathBuf) {
    let control_plane = operator::builder()
        .audit(true)
        .audit_bodies(true)
        .start()
        .await
        .unwrap();
    operator::install(&control_plane, repository())
        .await
        .unwrap();
    let aws = Aws::start().unwrap();
    let client = control_plane.client().await.unwrap();
    let (nodes, mut fleet) = tokio::join!(
        cast::make(&client, plan),
        Fleet::start(&control_plane, &aws, plan.clocks)
    );
    let queues = pools::make(&client, &aws).await;
    let world = World {
        plan: plan.clone(),
        observer: Observer::start(&client).await,
        queues,
        aws,
        client,
        nodes,
        log: Mutex::default(),
        started: Timestamp::now(),
        control_plane,
    };
    let calm = tokio::select! {
        calm = happen(&world, &mut fleet) => calm,
        ended = world.control_plane.supervise() => panic!("{ended:?}"),
    };
    let processes = fleet.stop().await;
    gather::gather(&world, calm, processes)
}

/// The three lanes, and what comes after. Tells from when all was calm.
async fn happen(world: &World, fleet: &mut Fleet) -> Timestamp {
    let start = Instant::now();
    tokio::join!(
        notify::send(world, start),
        people::act(world, start),
        harm::strike(world, fleet, start)
    );
    tokio::time::sleep_until(start + world.plan.calm).await;
    let calm = Timestamp::now();
    settle::settle(world).await;
    calm
}

impl World {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a step's time.
async fn until<T>(step: &Step<T>, start: Instant) {
    tokio::time::sleep_until(start + step.at).await;
}

/// The repository, whose manifests are installed.
fn repository() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A call of the harness that may meet an outage: it is given up then.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(5);
