//! An HTTP proxy as companies have them: a client asks it by CONNECT to be led to a server, and it counts who asked.

use std::sync::{Arc, Mutex, PoisonError, mpsc};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::stand_in::Server;

/// A running proxy. It ends when this is dropped.
#[derive(Debug)]
pub struct Tunnel {
    world: Arc<World>,
    _server: Server,
}

#[derive(Debug)]
struct World {
    url: String,
    asked: Mutex<Vec<String>>,
}

impl Tunnel {
    /// Starts one.
    pub fn start() -> anyhow::Result<Self> {
        let (server, world) = Server::start("tunnel", serve)?;
        Ok(Self {
            world,
            _server: server,
        })
    }

    /// Its own URL, for `HTTPS_PROXY` and the like.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.world.url
    }

    /// The servers that clients asked to be led to, as host:port.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        let asked = &self.world.asked;
        asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(started: mpsc::Sender<Arc<World>>) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let world = Arc::new(World {
        url: format!("http://{}", listener.local_addr()?),
        asked: Mutex::default(),
    });
    started.send(world.clone())?;
    loop {
        let (client, _) = listener.accept().await?;
        let world = world.clone();
        // A client that goes away is no failure of the proxy.
        tokio::spawn(async move { lead(client, &world).await.ok() });
    }
}

async fn lead(client: TcpStream, world: &World) -> anyhow::Result<()> {
    let mut client = BufReader::new(client);
    let mut first = String::new();
    client.read_line(&mut first).await?;
    let mut line = String::new();
    while client.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let mut words = first.split(' ');
    let (Some("CONNECT"), Some(target)) = (words.next(), words.next()) else {
        let refused = b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n";
        return Ok(client.write_all(refused).await?);
    };
    world
        .asked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(target.to_owned());
    let mut server = TcpStream::connect(target).await?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
