//! node-termination-operator
pub mod api;
pub mod event;
