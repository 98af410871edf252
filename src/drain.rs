//! The drain, as pure planning: who leaves a node, in what order, from when at the latest, and through which
//! disruption budget. Nothing here knows a client or a clock; `now` is an argument.
//!
//! ```text
//! Pod ─► select (who leaves, who stays and why) ─► order (tier, latest start, grace) ─► Plan
//! Plan ─► Queue (slots are outside; budgets and back-off inside) ─► Order ─► the API server ─► Answer ─► Queue
//! ```

pub mod answer;
pub mod arrivals;
pub mod budget;
pub mod cordon;
pub mod node;
pub mod plan;
pub mod pod;
pub mod preview;
pub mod queue;
pub mod select;
pub mod slots;
pub mod volumes;
pub mod window;

pub use answer::Answer;
pub use budget::{Budget, BudgetId};
pub use node::Node;
pub use plan::{Candidate, Plan};
pub use pod::Pod;
pub use preview::Preview;
pub use queue::{Order, Queue, Verb};
pub use volumes::Attachment;
pub use window::Window;
