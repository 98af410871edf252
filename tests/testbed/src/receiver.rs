//! Whoever is notified: a server of HTTPS and HTTP that takes down what is posted to it, by path, and answers as a test tells it to.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use axum::serve::Listener;
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::stand_in::{Server, Tls};

/// What a path answers once.
#[derive(Clone, Debug)]
pub enum Reply {
    /// This status code.
    Status(u16),
    /// A redirect to this URL.
    Redirect(String),
    /// Nothing, until the client gives up.
    Nothing,
}

/// One request that was taken down.
#[derive(Clone, Debug)]
pub struct Posted {
    /// Its method.
    pub method: String,
    /// Its headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: String,
}

/// A running receiver. A path that was told nothing answers 200. It ends when this is dropped.
#[derive(Debug)]
pub struct Receiver {
    world: Arc<World>,
    _server: Server,
}

#[derive(Debug)]
struct World {
    address: SocketAddr,
    plain: SocketAddr,
    certificate: NamedTempFile,
    paths: watch::Sender<BTreeMap<String, Vec<Posted>>>,
    replies: Mutex<BTreeMap<String, VecDeque<Reply>>>,
}

impl Receiver {
    /// Starts one.
    pub fn start() -> anyhow::Result<Self> {
        let (server, world) = Server::start("receiver", serve)?;
        Ok(Self {
            world,
            _server: server,
        })
    }

    /// The URL of a path, such as `/a`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.world.address)
    }

    /// The URL of a path, without TLS and by name.
    #[must_use]
    pub fn plain_url(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.world.plain.port())
    }

    /// The file with its certificate, for `SSL_CERT_FILE`.
    #[must_use]
    pub fn certificate(&self) -> &Path {
        self.world.certificate.path()
    }

    /// The next answers of a path; the last one is given from then on.
    pub fn reply(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        let replies = replies.into_iter().collect();
        self.replies().insert(path.to_owned(), replies);
    }

    /// What was posted to a path, in the order in which it came.
    #[must_use]
    pub fn posted(&self, path: &str) -> Vec<Posted> {
        let paths = self.world.paths.borrow();
        paths.get(path).cloned().unwrap_or_default()
    }

    /// Waits until so much was posted to a path.
    pub async fn await_posted(&self, path: &str, count: usize) -> anyhow::Result<Vec<Posted>> {
        let mut paths = self.world.paths.subscribe();
        let enough =
            |paths: &BTreeMap<String, Vec<Posted>>| paths.get(path).map_or(0, Vec::len) >= count;
        paths.wait_for(enough).await?;
        Ok(self.posted(path))
    }

    fn replies(&self) -> MutexGuard<'_, BTreeMap<String, VecDeque<Reply>>> {
        let replies = &self.world.replies;
        replies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(started: mpsc::Sender<Arc<World>>) -> anyhow::Result<()> {
    let listener = Tls::bind().await?;
    let plain = TcpListener::bind("127.0.0.1:0").await?;
    let mut certificate = NamedTempFile::new()?;
    certificate.write_all(listener.certificate().as_bytes())?;
    let world = Arc::new(World {
        address: listener.local_addr()?,
        plain: plain.local_addr()?,
        certificate,
        paths: watch::Sender::new(BTreeMap::new()),
        replies: Mutex::default(),
    });
    started.send(world.clone())?;
    let router = Router::new().fallback(take).with_state(world);
    let both = futures::future::try_join(
        async { axum::serve(listener, router.clone()).await },
        async { axum::serve(plain, router.clone()).await },
    );
    both.await?;
    Ok(())
}

async fn take(
    State(world): State<Arc<World>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Response<Body> {
    let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into();
    let headers = headers.iter().map(|(n, v)| (n.to_string(), text(v)));
    let posted = Posted {
        method: method.to_string(),
        headers: headers.collect(),
        body,
    };
    let path = uri.path().to_owned();
    world
        .paths
        .send_modify(|paths| paths.entry(path.clone()).or_default().push(posted));
    let (status, location) = match next(&world, &path) {
        Reply::Status(status) => (status, None),
        Reply::Redirect(location) => (307, Some(location)),
        Reply::Nothing => std::future::pending().await,
    };
    let mut answer = Response::builder().status(status);
    if let Some(location) = location {
        answer = answer.header("location", location);
    }
    answer.body(Body::empty()).unwrap_or_default()
}

fn next(world: &World, path: &str) -> Reply {
    let mut replies = world.replies.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(replies) = replies.get_mut(path) else {
        return Reply::Status(200);
    };
    if replies.len() > 1 {
        replies.pop_front().unwrap_or(Reply::Status(200))
    } else {
        replies.front().cloned().unwrap_or(Reply::Status(200))
    }
}
