//! What every HTTP stand-in runs on: one thread with a runtime of its own, so that it outlives the runtime of the test
//! that started it.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

/// The server's thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Runs `serve` on a thread of that name, and waits until it has sent the world that it serves. Requests that are
    /// held are not waited for at the end.
    pub fn start<W, F>(
        name: &str,
        serve: impl FnOnce(mpsc::Sender<Arc<W>>) -> F + Send + 'static,
    ) -> anyhow::Result<(Self, Arc<W>)>
    where
        W: Send + Sync + 'static,
        F: Future<Output = anyhow::Result<()>>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let stop = CancellationToken::new();
        let (started, start) = mpsc::channel();
        let stopped = stop.clone();
        let run = move || {
            runtime.block_on(stopped.run_until_cancelled(serve(started)));
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(run)?;
        let server = Self {
            stop,
            thread: Some(thread),
        };
        let world = start.recv().with_context(|| format!("start the {name}"))?;
        Ok((server, world))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
