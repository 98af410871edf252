//! Bodies, and the request that carries them to a server that is real.

mod bodies;
mod requests;
