//! The server over a real socket.

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn start(registry: Registry, health: &Health) -> Running {
    let server = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (address, stop) = (server.address(), CancellationToken::new());
    let registry = Arc::new(RwLock::new(registry));
    let task = tokio::spawn(server.serve(registry, health.clone(), stop.clone()));
    Running {
        address,
        stop,
        task,
    }
}

impl Running {
    async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

#[tokio::test]
async fn the_address_of_all_hears_ipv4_and_whatever_the_kernel_has_of_ipv6() {
    let server = bind("[::]:0".parse().unwrap()).await.unwrap();
    let port = server.address().port();
    TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap();
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_ok() {
        TcpStream::connect((Ipv6Addr::LOCALHOST, port))
            .await
            .unwrap();
    }
    let taken = bind(server.address()).await.unwrap_err();
    assert!(taken.to_string().contains(&port.to_string()), "{taken}");
}

#[tokio::test]
async fn a_process_is_alive_until_a_pulse_falls_silent() {
    let health = Health::default();
    let server = start(Registry::default(), &health).await;
    assert!(server.get("/healthz").await.starts_with("HTTP/1.1 200 "));

    let _pulse = health.pulse("watch", Duration::ZERO);
    sleep(Duration::from_millis(1)).await;

    let answer = server.get("/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("watch: silent for"), "{answer}");
    assert!(server.get("/readyz").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_process_is_ready_when_nothing_is_missing() {
    let health = Health::default();
    let (nodes, queue) = (health.check("nodes"), health.check("queue"));
    let server = start(Registry::default(), &health).await;
    nodes.set_missing("not synced");

    let answer = server.get("/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.ends_with("nodes: not synced\nqueue: not started\n"),
        "{answer}"
    );

    nodes.set_ready();
    queue.set_ready();
    assert!(server.get("/readyz").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn metrics_are_open_metrics_text() {
    let mut registry = Registry::default();
    let cordons = Counter::<u64>::default();
    registry.register("cordons", "Nodes cordoned", cordons.clone());
    cordons.inc();
    let server = start(registry, &Health::default()).await;

    let answer = server.get("/metrics").await;

    assert!(answer.contains(OPEN_METRICS), "{answer}");
    assert!(answer.contains("cordons_total 1\n"), "{answer}");
    assert!(answer.ends_with("# EOF\n"), "{answer}");
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error_at_start() {
    let taken = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = bind(taken.address()).await.unwrap_err();
    assert!(error.to_string().contains(&taken.address().to_string()));
}

#[tokio::test]
async fn a_client_that_never_finishes_does_not_hold_up_the_end() {
    let server = start(Registry::default(), &Health::default()).await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
    server.get("/healthz").await;

    server.stop.cancel();

    let limit = STOP_TIMEOUT + Duration::from_secs(1);
    timeout(limit, server.task).await.unwrap().unwrap();
}
