//! node-termination-operator
pub mod api;
pub mod aws;
pub mod cluster;
pub mod controller;
pub mod drain;
pub mod event;
pub mod leader;
pub mod lifecycle;
pub mod source;
pub mod telemetry;
