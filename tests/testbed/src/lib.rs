//! A test bed for the operator.

pub mod binaries;
pub mod cluster;
pub mod process;

pub use process::Child;
