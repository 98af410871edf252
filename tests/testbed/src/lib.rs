//! A test bed for the operator: a real Kubernetes control plane on loopback, simulated nodes and
//! pods.
//!
//! [`control_plane`] starts the servers that [`binaries`] finds or builds, [`cluster`] fills the
//! cluster, and [`process`] keeps every child, the operator under test included, from outliving the
//! test.

pub mod binaries;
pub mod cluster;
pub mod control_plane;
pub mod process;

pub use control_plane::ControlPlane;
pub use process::Child;
