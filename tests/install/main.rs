//! What a person applies: the overlays of `manifests/` on a control plane that knows nothing of ours, and the operator's
//! pods as they come of it, each with its own service account's token.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)] // this binary is nothing but tests

mod documents;
mod network;
mod overlays;
mod rights;
mod security;
mod site;
