//! The operator as processes on a real control plane, in bad times: killed, frozen, cut off from the API server or
//! from AWS. One test after another, each with a control plane, an AWS stand-in and replicas of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)] // this binary is nothing but tests

mod api_server;
mod aws;
mod clock;
mod handover;
mod killed;
mod launch;
mod notified;
mod overload;
mod rights;
mod stage;
mod start;
mod vanished;
