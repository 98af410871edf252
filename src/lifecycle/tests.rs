//! What the state machine promises: sentence by sentence in a small world, and over random crashes in it.

mod crash;
mod found;
mod gone;
mod heartbeats;
mod hooks;
mod observed;
mod out_of_service;
mod phases;
mod pods;
mod risk;
mod volumes;
mod waiting;
mod world;
