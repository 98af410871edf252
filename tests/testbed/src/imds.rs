//! A strict stand-in for the instance metadata service of one instance, on a loopback port of its own.
//!
//! It speaks version 2 only: a session token first, by PUT and with a lifetime, then the documents, 401 without a token
//! that it knows. What each path answers is scripted and can be changed while it runs; every request is recorded. What
//! nobody scripted is 404, as on an instance to which nothing happens; `instance-id` is always there.

mod answer;
pub mod documents;
mod server;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::aws::signal::Signal;
use crate::stand_in::Server;
pub use answer::Answer;

/// The running stand-in; it stops when dropped.
#[derive(Debug)]
pub struct Imds {
    world: Arc<World>,
    _server: Server,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// GET or PUT.
    pub method: String,
    /// The path.
    pub path: String,
    /// The HTTP status; 0 when nothing was answered.
    pub status: u16,
    /// When it came.
    pub time: Timestamp,
}

#[derive(Debug)]
struct World {
    instance_id: Mutex<String>,
    endpoint: String,
    script: Mutex<Script>,
    requests: Mutex<Vec<Request>>,
    asked: Signal,
}

/// What is answered, and to whom.
#[derive(Debug, Default)]
struct Script {
    /// To every request, tokens too.
    outage: Option<Answer>,
    paths: HashMap<String, Answer>,
    /// Tokens, each with the time that it ends.
    tokens: HashMap<String, Timestamp>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Imds {
    /// Starts the metadata service of that instance; fails when there is no free port.
    pub fn start(instance_id: &str) -> anyhow::Result<Self> {
        let instance_id = instance_id.to_owned();
        let serve = |started| server::serve(instance_id, started);
        let (server, world) = Server::start("metadata stand-in", serve)?;
        Ok(Self {
            world,
            _server: server,
        })
    }

    /// The environment of a process that is to use it.
    #[must_use]
    pub fn env(&self) -> [(&str, &str); 1] {
        [("AWS_EC2_METADATA_SERVICE_ENDPOINT", &self.world.endpoint)]
    }

    /// Scripts a path below `/latest/meta-data/` from now on.
    pub fn set(&self, path: &str, answer: Answer) {
        let path = format!("/latest/meta-data/{path}");
        lock(&self.world.script).paths.insert(path, answer);
    }

    /// Withdraws what was scripted for a path: it is 404 again.
    pub fn withdraw(&self, path: &str) {
        let path = format!("/latest/meta-data/{path}");
        lock(&self.world.script).paths.remove(&path);
    }

    /// Answers everything alike from now on, token requests too; `None` ends it.
    pub fn set_outage(&self, answer: Option<Answer>) {
        lock(&self.world.script).outage = answer;
    }

    /// From now on it is the service of another instance.
    pub fn become_instance(&self, instance_id: &str) {
        instance_id.clone_into(&mut lock(&self.world.instance_id));
    }

    /// Forgets every token, as a service that was started anew.
    pub fn forget_tokens(&self) {
        lock(&self.world.script).tokens.clear();
    }

    /// All requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.world.requests).clone()
    }

    /// How often a path below `/latest/meta-data/` was asked for so far.
    #[must_use]
    pub fn reads(&self, path: &str) -> usize {
        let requests = self.requests().into_iter();
        requests
            .filter(|r| r.path.strip_prefix("/latest/meta-data/") == Some(path))
            .count()
    }

    /// Waits until a path below `/latest/meta-data/` has been asked for so often.
    pub async fn await_reads(
        &self,
        path: &str,
        count: usize,
        timeout: Duration,
    ) -> anyhow::Result<()> {
        let enough = || (self.reads(path) >= count).then_some(());
        let what = format!("{count} reads of {path}");
        self.world.asked.until(timeout, &what, enough).await
    }
}
