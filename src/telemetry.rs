//! What the process tells of itself: logs, metrics, liveness and readiness.

mod build;
mod health;
mod logging;
mod server;
mod timeline;

pub use build::register_build;
pub use health::{Check, Health, Pulse};
pub use logging::{Error as LogError, LogFormat, init};
pub use server::{Error as ServerError, Server, SharedRegistry, bind};
pub use timeline::Timeline;
