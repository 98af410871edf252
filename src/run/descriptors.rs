//! Open descriptors: each view of a node's pods is a connection of its own, and the usual soft limit is 1,024.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open descriptors to the hard one. A process that may not do so works with what it has.
pub(super) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => {
            tracing::info!(from = limit.current, to = limit.maximum, "open descriptors");
        }
        Err(error) => {
            tracing::warn!(limit = limit.current, %error, "the limit of open descriptors can not be raised");
        }
    }
}
