//! What the state machine promises: sentence by sentence in a small world, and over random crashes in it.

mod crash;
mod hooks;
mod phases;
mod waiting;
mod world;
