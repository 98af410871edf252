//! node-termination-operator
pub mod api;
pub mod aws;
pub mod cluster;
pub mod drain;
pub mod event;
pub mod lifecycle;
