//! A Kubernetes operator that makes the end of an EC2 instance harmless for the pods on its node.
//!
//! ```text
//!  EventBridge ─► SQS ─► source ─► event (parse) ─► NodeTermination ─► controller ─► Node: cordon
//!                          │      (record, then acknowledge)   ▲          │     ─► Pods: evictions, by deadline
//!                          └─────────── one apply ─────────────┘          │     ─► Auto Scaling: heartbeat, complete
//!                                                                         └─────► status, Events, metrics
//!
//!   controller ─► source, lifecycle, drain, notify, cluster, aws, api, telemetry, clock
//!       source ─► event, api, aws, cluster, drain, telemetry, clock
//!    lifecycle ─► drain, api                    pure: no client, no clock
//!        drain ─► api                           pure
//!        event ─► api                           pure
//!      migrate ─► api                           pure
//!       notify ─► api                           bodies, and the POSTs that carry them
//!       plugin ─► lifecycle, drain, api         pure
//!      cluster ─► api, drain, clock             effects on Kubernetes
//!          aws ─► clock                         effects on AWS
//!  api, clock, leader, telemetry ─► (nothing of ours)
//! ```
//!
//! `tests/architecture.rs` holds the arrows. `docs/architecture.md` tells the story.

pub mod api;
pub mod aws;
pub mod clock;
pub mod cluster;
pub mod controller;
pub mod drain;
pub mod event;
pub mod leader;
pub mod lifecycle;
pub mod migrate;
pub mod notify;
pub mod plugin;
pub mod source;
pub mod telemetry;
