//! What the leader does: policies become monitors, terminations are carried through, pods are seen off.
//!
//! ```text
//! policy       TerminationPolicy ─► monitors (source), status
//! termination  NodeTermination + Node + pods ─► observe ─► decide ─► act ─► report
//! evictor      plans of all nodes ─► evictions, most urgent first
//! notifier     rows of the records ─► POSTs to receivers, which nobody waits for
//! prune        finished records go in time
//! orphans      cordons whose record is gone are undone
//! ```

pub mod evictor;
mod hand_over;
mod hooks;
mod leading;
pub mod metrics;
mod notifier;
mod orphans;
pub mod policy;
mod prune;
mod received;
mod standing;
mod term;
pub mod termination;

pub use evictor::Evictor;
pub use hand_over::HandOver;
pub use leading::{Parts, lead};
pub use metrics::Metrics;
pub use notifier::{Notifier, NotifyOptions};
pub use standing::Standing;
pub use term::Term;

#[cfg(test)]
mod tests;
