//! The documents keep what they promise: their links lead somewhere, their blocks of code can be read, what they name
//! exists, the files for AWS fit the events and the calls, and what they tell people to type is typed here, on a real API
//! server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)] // this binary is nothing but tests

mod aws;
mod blocks;
mod commands;
mod conditions;
mod fields;
mod install;
mod kustomization;
mod links;
mod names;
mod options;
mod reference;
mod site;
mod text;
mod uninstall;
mod versions;
mod walk;
