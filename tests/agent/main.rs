//! The agent as a process on a real control plane, with the tokens that the API server makes for its pods: what it hears,
//! what stands in its way, and what it is not let do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)] // this binary is nothing but tests

mod admission;
mod failures;
mod notices;
mod quiet;
mod scene;
