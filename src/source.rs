//! Where interruptions are heard: monitors of queues, kept running as policies ask for them, and the monitor of one
//! instance's metadata.
//!
//! ```text
//! receive ─► parse (event) ─► resolve the node ─► record (one apply) ─► delete, in batches
//! ```
//!
//! An instance that launches is no interruption: its message is held until its Node is Ready, and no record is made.
//! A capacity reservation that ends becomes a signal for each of its instances, once EC2 has named them.
//! A message is deleted only with the proof that its signal is in etcd, or that there is nothing to record.

pub mod imds;
mod launch;
mod managed;
mod message;
pub mod metrics;
mod pace;
pub mod record;
mod reservation;
pub mod settings;
pub mod sqs;
pub mod supervisor;
pub mod trouble;

pub use metrics::Metrics;
pub use record::Recorder;
pub use supervisor::Supervisor;
