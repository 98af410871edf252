//! The kubectl plugin `kubectl nodetermination`, pure: what is said, in tables and sentences, and what is written.
//!
//! Objects and the time go in, text and bodies of requests come out. The requests themselves, and what is typed at a
//! terminal, are the binary's.

pub mod ages;
pub mod args;
pub mod complete;
pub mod drain;
pub mod end;
pub mod history;
pub mod idle;
pub mod output;
pub mod progress;
pub mod record;
pub mod switch;
pub mod table;
pub mod target;
pub mod why;

pub use end::End;
pub use target::Target;

/// The name of the executable that kubectl finds on the `PATH` as its plugin `nodetermination`.
pub const NAME: &str = "kubectl-nodetermination";

/// The name of the executable that kubectl's own shell completion asks for the plugin's words.
pub const COMPLETE: &str = "kubectl_complete-nodetermination";

/// What is typed to call the plugin.
pub const CALL: &str = "kubectl nodetermination";

/// The field manager of all that the plugin writes: one of its own, so that `managedFields` tell who it was.
pub const FIELD_MANAGER: &str = NAME;

/// What the executable is called as decides what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// The operator.
    Operator,
    /// The kubectl plugin.
    Plugin,
    /// Its completion, for kubectl.
    Completion,
}

impl Called {
    /// By the name that the process was started with, a path or not.
    #[must_use]
    pub fn by(argv0: &str) -> Self {
        let name = argv0.rsplit(['/', '\\']).next().unwrap_or_default();
        match name.strip_suffix(".exe").unwrap_or(name) {
            NAME => Self::Plugin,
            COMPLETE => Self::Completion,
            _ => Self::Operator,
        }
    }
}

#[cfg(test)]
mod tests;
