//! A test bed for the operator: a real Kubernetes control plane and strict AWS stand-ins on loopback,
//! simulated nodes and pods.
//!
//! [`control_plane`] starts the servers that [`binaries`] finds or builds, [`cluster`] fills the
//! cluster, [`aws`] plays SQS, Auto Scaling and STS, [`imds`] an instance's metadata, [`receiver`] whoever is notified, and [`process`] keeps every child, the operator
//! under test included, from outliving the test.

pub mod aemm;
pub mod aws;
pub mod binaries;
pub mod cluster;
pub mod control_plane;
pub mod imds;
pub mod operator;
pub mod process;
pub mod proxy;
pub mod receiver;
pub mod skew;
mod stand_in;
pub mod tunnel;
pub mod webhook;

pub use control_plane::ControlPlane;
pub use operator::Operator;
pub use process::Child;
pub use receiver::Receiver;
pub use skew::{SetClock, Skew};
pub use tunnel::Tunnel;
pub use webhook::Webhook;
