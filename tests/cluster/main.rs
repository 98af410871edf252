//! The operator as a process on a real control plane, in peace: one control plane, one AWS stand-in and one operator
//! for all tests, which run in parallel, each with nodes, a policy, a queue and a namespace of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)] // this binary is nothing but tests

mod agents;
mod answers;
mod bare;
mod budgets;
mod cost;
mod coverage;
mod drain;
mod drift;
mod events;
mod follow;
mod found;
mod gitops;
mod launch;
mod lifecycle;
mod managed;
mod migrate;
mod monitors;
mod nodes;
mod notifications;
mod nth;
mod observe;
mod out_of_service;
mod people;
mod plugin;
mod pods;
mod process;
mod queue;
mod record;
mod reservation;
mod scene;
mod schema;
mod shared;
mod telling;
mod turns;
mod volumes;
mod waiting;
mod watched;
