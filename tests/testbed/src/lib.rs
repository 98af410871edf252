//! A test bed for the operator.

pub mod process;

pub use process::Child;
