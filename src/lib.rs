//! node-termination-operator
pub mod api;
