//! What every HTTP stand-in runs on: one thread with a runtime of its own, so that it outlives the runtime of the test
//! that started it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use anyhow::Context;
use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::server::TlsStream;
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

/// A listener on a free port that speaks TLS, with a certificate that it has signed itself.
pub(crate) struct Tls {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
    certificate: String,
}

impl Tls {
    /// Listens on loopback.
    pub async fn bind() -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())?;
        Ok(Self {
            tcp: TcpListener::bind("127.0.0.1:0").await?,
            acceptor: TlsAcceptor::from(Arc::new(tls)),
            certificate: made.cert.pem(),
        })
    }

    /// Its certificate, as PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            if let Ok((stream, address)) = self.tcp.accept().await
                && let Ok(stream) = self.acceptor.accept(stream).await
            {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
