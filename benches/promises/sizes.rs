//! How much of everything: the promises' numbers, or just enough to try the harness.

use std::time::Duration;

/// The sizes of all scenarios.
pub struct Sizes {
    /// Nodes, and pods on each.
    pub burst: (usize, usize),
    /// Nodes, and pods on each.
    pub thousand: (usize, usize),
    /// Nodes behind one budget, and how many of their pods may be down.
    pub budget: (usize, usize),
    /// Notices that come alone.
    pub notices: usize,
    /// How long nothing happens.
    pub quiet: Duration,
    /// Nodes, each of which gets a message.
    pub fleet: usize,
    /// Nodes, and how many incidents each has one after the other.
    pub history: (usize, usize),
    /// Nodes that are drained when the leader goes, and pods on each.
    pub failover: (usize, usize),
    /// Lifecycle hooks, and for how long they are held.
    pub hooks: (usize, Duration),
}

impl Sizes {
    /// The promised sizes, or small ones. Nodes and pods on each can be chosen, for every scenario that is named.
    pub fn new(quick: bool, nodes: Option<usize>, pods: Option<usize>) -> Self {
        let sizes = if quick { Self::quick() } else { Self::full() };
        let of = |(n, p): (usize, usize)| (nodes.unwrap_or(n), pods.unwrap_or(p));
        Self {
            burst: of(sizes.burst),
            thousand: of(sizes.thousand),
            failover: of(sizes.failover),
            budget: (nodes.unwrap_or(sizes.budget.0), sizes.budget.1),
            fleet: nodes.unwrap_or(sizes.fleet),
            history: (nodes.unwrap_or(sizes.history.0), sizes.history.1),
            hooks: (nodes.unwrap_or(sizes.hooks.0), sizes.hooks.1),
            ..sizes
        }
    }

    fn full() -> Self {
        Self {
            burst: (200, 30),
            thousand: (1000, 30),
            budget: (100, 5),
            notices: 100,
            quiet: Duration::from_mins(1),
            fleet: 5000,
            history: (1000, 10),
            failover: (60, 30),
            hooks: (500, Duration::from_secs(165)),
        }
    }

    fn quick() -> Self {
        Self {
            burst: (5, 4),
            thousand: (20, 5),
            budget: (10, 2),
            notices: 8,
            quiet: Duration::from_secs(5),
            fleet: 50,
            history: (20, 2),
            failover: (10, 20),
            hooks: (10, Duration::from_secs(50)),
        }
    }
}
