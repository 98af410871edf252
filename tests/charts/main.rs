//! The Helm charts: what they render, that they say what `manifests/` says, what wrong values are told, what a release and
//! `GitOps` tools make of them, and an installation from its beginning to its end on a real control plane.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)] // this binary is nothing but tests

mod agreement;
mod cluster;
mod documents;
mod gitops;
mod helm;
mod life;
mod matrix;
mod packages;
mod values;
