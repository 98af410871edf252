//! The lane of faults.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use testbed::aws::{self, FaultKind};
use testbed::operator::NAME;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::fleet::Fleet;
use super::{GIVEN_UP_AFTER, World, until};
use crate::history::{Cause, Trouble};
use crate::plan::Fault;

/// One fault after another; when it returns, none is left.
pub async fn strike(world: &World, fleet: &mut Fleet, start: Instant) {
    let mut lasting = JoinSet::new();
    for step in &world.plan.faults {
        until(step, start).await;
        let from = Timestamp::now();
        let cause = match step.act {
            Fault::Aws {
                operation,
                kind,
                lasting: time,
            } => {
                let guard = world.aws.inject(aws::Fault::new(operation, kind));
                lasting.spawn(async move {
                    sleep(time).await;
                    drop(guard);
                });
                world.note(from, from + time, cause(operation, kind));
                continue;
            }
            fault => happen(fault, world, fleet).await,
        };
        if let Some(cause) = cause {
            world.note(from, Timestamp::now(), cause);
        }
    }
    lasting.join_all().await;
}

async fn happen(fault: Fault, world: &World, fleet: &mut Fleet) -> Option<Cause> {
    match fault {
        Fault::KillLeader { back_after, ahead } => {
            let killed = fleet.kill_leader().await;
            let from = Timestamp::now();
            sleep(back_after).await;
            fleet.restart(killed, ahead, world);
            world.note(from, from, Cause::Leader);
            None
        }
        Fault::FreezeLeader { lasting } => {
            fleet.freeze_leader(lasting).await;
            Some(Cause::Leader)
        }
        Fault::StealLease => {
            steal(world).await;
            Some(Cause::Leader)
        }
        Fault::DeleteLease => {
            let leases = Api::<Lease>::namespaced(world.client.clone(), NAME);
            let params = DeleteParams::default();
            let _ = timeout(GIVEN_UP_AFTER, leases.delete(NAME, &params)).await;
            Some(Cause::Leader)
        }
        Fault::StopApiServer { lasting } => {
            stop_api_server(world, lasting).await;
            Some(Cause::Api)
        }
        Fault::RestartEtcd => {
            world.control_plane.restart_etcd().await.unwrap();
            Some(Cause::Api)
        }
        Fault::CutConnections => {
            fleet.cut();
            Some(Cause::Connections)
        }
        Fault::Aws { .. } => None,
    }
}

async fn stop_api_server(world: &World, lasting: Duration) {
    world.control_plane.stop_api_server().unwrap();
    sleep(lasting).await;
    world.control_plane.start_api_server().await.unwrap();
}

async fn steal(world: &World) {
    let leases = Api::<Lease>::namespaced(world.client.clone(), NAME);
    let now = Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
        .to_string();
    let stolen = Patch::Merge(json!({"spec": {"holderIdentity": "somebody", "renewTime": now}}));
    let params = PatchParams::default();
    let patch = leases.patch(NAME, &params, &stolen);
    if let Ok(Err(error)) = timeout(GIVEN_UP_AFTER, patch).await {
        println!("the lease was not stolen: {error}");
    }
}

fn cause(operation: &str, kind: FaultKind) -> Cause {
    if operation == "ReceiveMessage" && kind != FaultKind::Duplicate {
        Cause::Queue
    } else {
        Cause::Aws
    }
}

impl World {
    fn note(&self, from: Timestamp, until: Timestamp, cause: Cause) {
        self.log().troubles.push(Trouble { from, until, cause });
    }
}
