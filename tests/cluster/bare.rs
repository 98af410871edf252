//! A control plane with our kinds and without the operator: what is stored there stays as it was written.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use node_termination_operator::api::termination::{Signal, SignalKind};
use node_termination_operator::event::identity;
use testbed::{ControlPlane, operator};
use tokio::sync::OnceCell;

/// The control plane, started by the first test that asks.
pub async fn bare() -> &'static ControlPlane {
    static BARE: OnceCell<ControlPlane> = OnceCell::const_new();
    BARE.get_or_init(start).await
}

async fn start() -> ControlPlane {
    let control_plane = operator::control_plane(true).await.unwrap();
    operator::install(&control_plane, Path::new(env!("CARGO_MANIFEST_DIR")))
        .await
        .unwrap();
    control_plane
}

/// A spot notice for the instance, as every monitor records it.
pub fn spot(instance_id: &str, notice: Timestamp) -> Signal {
    let id = identity::spot_interruption(instance_id, notice, Some("terminate"));
    Signal {
        deadline: Some(Time(notice + SignedDuration::from_secs(120))),
        instance_action: Some("terminate".to_owned()),
        ..Signal::new(id, SignalKind::SpotInterruption, Time(notice))
    }
}

/// So many notices for the instance, a second apart.
pub fn spots(instance_id: &str, count: i64) -> Vec<Signal> {
    let notice = |second| Timestamp::from_second(1_800_000_000 + second).unwrap();
    (0..count).map(|n| spot(instance_id, notice(n))).collect()
}
