//! node-termination-operator

pub mod aws;
pub mod leader;
pub mod telemetry;
