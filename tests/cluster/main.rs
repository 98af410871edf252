//! The operator as a process on a real control plane, in peace: one control plane, one AWS stand-in and one operator
//! for all tests, which run in parallel, each with nodes, a policy, a queue and a namespace of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)] // this binary is nothing but tests

mod bare;
mod budgets;
mod cost;
mod drain;
mod follow;
mod lifecycle;
mod monitors;
mod nodes;
mod people;
mod queue;
mod record;
mod scene;
mod schema;
mod telling;
