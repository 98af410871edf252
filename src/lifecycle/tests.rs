//! What the state machine promises: sentence by sentence in a small world, and over random crashes in it.

mod crash;
mod found;
mod hooks;
mod observed;
mod out_of_service;
mod phases;
mod volumes;
mod waiting;
mod world;
