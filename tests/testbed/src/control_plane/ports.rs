//! Ports on 127.0.0.1 that nobody uses.

use std::net::TcpListener;

use anyhow::Context;
use rand::Rng;

/// Below the ports the kernel gives to outgoing connections (32768 and up on Linux): one of those
/// could be taken by a client, even by one that connects to itself, while the API server is down.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// Three different free ports.
pub fn free() -> anyhow::Result<[u16; 3]> {
    let mut random = rand::rng();
    let held: Vec<TcpListener> = (0..1000)
        .filter_map(|_| TcpListener::bind(("127.0.0.1", random.random_range(RANGE))).ok())
        .take(3)
        .collect();
    let ports: Result<Vec<u16>, _> = held
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect::<std::io::Result<_>>();
    ports?.try_into().ok().context("no free ports on 127.0.0.1")
}
