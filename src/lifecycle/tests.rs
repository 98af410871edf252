//! What the state machine promises: sentence by sentence in a small world, and over random crashes in it.

mod crash;
mod found;
mod heartbeats;
mod hooks;
mod observed;
mod phases;
mod waiting;
mod world;
