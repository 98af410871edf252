//! How much chaos: environment variables, for a test takes no options.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What to run.
#[derive(Debug)]
pub struct Options {
    /// `CHAOS_SEED`: the first seed. Random by default.
    pub seed: u64,
    /// `CHAOS_RUNS`: how many seeds, one after another.
    pub runs: u64,
    /// `CHAOS_NODES`: nodes of each run.
    pub nodes: usize,
    /// `CHAOS_SECONDS`: how long things go wrong in each run; it then takes about as long again to end.
    pub duration: Duration,
}

impl Options {
    /// A short run for `cargo test`, unless the environment says otherwise.
    pub fn of_environment() -> Self {
        Self {
            // Seeds are printed and typed: short ones do.
            seed: variable("CHAOS_SEED").unwrap_or_else(|| rand::random_range(0..1_000_000)),
            runs: variable("CHAOS_RUNS").unwrap_or(1),
            nodes: variable("CHAOS_NODES").unwrap_or(30),
            duration: Duration::from_secs(variable("CHAOS_SECONDS").unwrap_or(25)),
        }
    }

    /// The seeds to run.
    pub fn seeds(&self) -> impl Iterator<Item = u64> {
        (0..self.runs).map(|n| self.seed.wrapping_add(n))
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (nodes, seconds) = (self.nodes, self.duration.as_secs());
        write!(f, "CHAOS_NODES={nodes} CHAOS_SECONDS={seconds}")
    }
}

fn variable<T: FromStr>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok().filter(|v| !v.is_empty())?;
    let number = value.parse().ok();
    Some(number.unwrap_or_else(|| panic!("{name} is no number: {value:?}")))
}
