//! The state machine of one incident, pure: what is seen goes in, what is to be done and said comes out.
//!
//! ```text
//! cancel, deletion, withdrawn or expired ─► undo ─► Canceled
//! Pending ─► (Waiting) ─► cordon ─► Draining ─► (drained, or its time is over) ─► Releasing ─► Released ─► Completed or Failed
//! ```
//!
//! [`decide::decide`] rebuilds everything from [`view::View`] at every pass; the stored phase is a report and never
//! the only evidence. Killing the process between any two effects leaves a world from which the next pass goes on.

pub mod action;
pub mod decide;
pub mod down;
pub mod effect;
mod foresee;
pub mod found;
mod gone;
pub mod hooks;
pub mod key;
pub mod limits;
mod news;
pub mod notices;
mod pods;
mod risk;
mod say;
pub mod standing;
#[cfg(test)]
mod tests;
pub mod view;

pub use decide::{Decision, decide};
pub use down::Told;
pub use effect::{Effect, Outcome};
pub use found::Lookup;
pub use key::ActionKey;
pub use news::pod::{news_of_pod, why_pods_leave};
pub use news::{News, hands_over, happenings, is_at_risk, not_notified};
pub use notices::Notified;
pub use pods::gone_before;
pub use say::{admit, settle};
pub use view::{HookTimeout, Machine, View};
