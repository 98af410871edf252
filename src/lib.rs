//! node-termination-operator

pub mod aws;
