//! Telling somebody outside of the cluster: what is said of an incident, in whose words, and the one POST that says it.
//!
//! [`Message`] is what there is to say, and the default body; [`template`] puts it into the words of a receiver;
//! [`Sender`] sends it. No text that comes out of here holds a URL or a header: both may be secrets.

pub mod message;
mod post;
pub mod template;
#[cfg(test)]
mod tests;

pub use message::Message;
pub use post::{Answer, BadRequest, Post, Sender};
pub use template::Fault;
