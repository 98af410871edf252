//! The documents keep what they promise: their links lead somewhere, their blocks of code can be read, the files for AWS
//! fit the events and the calls, and what they tell people to do is done here on a real API server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)] // this binary is nothing but tests

mod aws;
mod blocks;
mod kustomization;
mod links;
mod reference;
mod site;
mod text;
mod uninstall;
mod walk;
