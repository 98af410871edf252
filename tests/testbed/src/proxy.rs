//! A way to the API server that a test can cut: a proxy of TCP connections, which knows nothing of what they carry.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A running proxy; it ends with its connections when this is dropped. It belongs to the tokio runtime it is made in.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    connections: Arc<Mutex<CancellationToken>>,
    _accepting: JoinSet<()>,
}

impl Proxy {
    /// Leads to the server of that URL, `https://127.0.0.1:PORT`.
    pub async fn start(url: &str) -> anyhow::Result<Self> {
        let (_, target) = url.rsplit_once('/').context("a URL without an address")?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let connections = Arc::new(Mutex::new(CancellationToken::new()));
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(
            listener,
            target.to_owned(),
            Arc::clone(&connections),
        ));
        Ok(Self {
            url: format!("https://127.0.0.1:{port}"),
            connections,
            _accepting: accepting,
        })
    }

    /// Its own address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Drops every connection, in the middle of whatever it carries. New ones are let through.
    pub fn cut(&self) {
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connections.cancel();
        *connections = CancellationToken::new();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

async fn accept(listener: TcpListener, target: String, connections: Arc<Mutex<CancellationToken>>) {
    let mut open = JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        let cut = connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let target = target.clone();
        open.spawn(async move {
            // A server that is away is seen by the client as a connection that ends.
            let Ok(mut server) = TcpStream::connect(target).await else {
                return;
            };
            let _ = cut
                .run_until_cancelled(copy_bidirectional(&mut client, &mut server))
                .await;
        });
        while open.try_join_next().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn what_is_sent_arrives_until_it_is_cut_and_the_next_connection_gets_through() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", server.local_addr().unwrap());
        let proxy = Proxy::start(&url).await.unwrap();
        let address = proxy.url().trim_start_matches("https://").to_owned();
        for _ in 0..2 {
            let mut client = TcpStream::connect(&address).await.unwrap();
            let (mut accepted, _) = server.accept().await.unwrap();
            client.write_all(b"a").await.unwrap();
            assert_eq!(accepted.read_u8().await.unwrap(), b'a');
            proxy.cut();
            assert_eq!(client.read(&mut [0]).await.unwrap_or(0), 0);
        }
    }
}
