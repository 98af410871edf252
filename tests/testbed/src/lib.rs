//! A test bed for the operator: a real Kubernetes control plane and a strict AWS stand-in on loopback,
//! simulated nodes and pods.
//!
//! [`control_plane`] starts the servers that [`binaries`] finds or builds, [`cluster`] fills the
//! cluster, [`aws`] plays SQS, Auto Scaling and STS, and [`process`] keeps every child, the operator
//! under test included, from outliving the test.

pub mod aws;
pub mod binaries;
pub mod cluster;
pub mod control_plane;
pub mod operator;
pub mod process;

pub use control_plane::ControlPlane;
pub use operator::Operator;
pub use process::Child;
