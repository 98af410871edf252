//! What the stores tell, as a stream for a controller's queue.

use futures::stream::{self, Stream};
use tokio::sync::broadcast::{self, error::RecvError};

/// What a store tells. `None`: this subscriber fell behind and must look at everything.
pub(super) fn received<T: Clone + Send + 'static>(
    changes: broadcast::Receiver<T>,
) -> impl Stream<Item = Option<T>> + Send {
    stream::unfold(changes, |mut changes| async move {
        match changes.recv().await {
            Ok(change) => Some((Some(change), changes)),
            Err(RecvError::Lagged(_)) => Some((None, changes)),
            Err(RecvError::Closed) => None,
        }
    })
}
