//! How a command ends: its exit code, which scripts go by.

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It did what was asked for.
    Done,
    /// A call failed, or was refused.
    Error,
    /// The command line is wrong.
    Usage,
    /// There is no such node, or no such NodeTermination.
    NotFound,
    /// The drain has ended, and the node was not emptied by it.
    NotDrained,
    /// The drain had not ended within `--timeout`. It goes on.
    TimedOut,
    /// Ctrl-C ended the wait. The drain goes on.
    Interrupted,
}

impl End {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Done,
        Self::Error,
        Self::Usage,
        Self::NotFound,
        Self::NotDrained,
        Self::TimedOut,
        Self::Interrupted,
    ];

    /// The exit code. 2 is clap's own for a wrong command line, 130 what shells know of Ctrl-C.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::NotDrained => 4,
            Self::TimedOut => 5,
            Self::Interrupted => 130,
        }
    }
}
