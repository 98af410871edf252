//! node-termination-operator

pub mod aws;
pub mod leader;
