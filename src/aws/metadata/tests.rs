//! The SDK's client over HTTP against a metadata service that forgets its tokens, answers badly or not at all.

use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, put};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use super::*;

const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";

/// Serves `document` to those who show the newest token; each token request makes a new one.
async fn service(
    token: u16,
    document: impl Fn() -> (u16, &'static str) + Clone + Send + Sync + 'static,
) -> (Metadata, Arc<AtomicU32>) {
    let tokens = Arc::new(AtomicU32::new(0));
    let (made, known) = (tokens.clone(), tokens.clone());
    let issue = async move || {
        let number = made.fetch_add(1, Ordering::SeqCst) + 1;
        match StatusCode::from_u16(token).unwrap() {
            StatusCode::OK => ([(TTL, "21600")], number.to_string()).into_response(),
            refused => refused.into_response(),
        }
    };
    let answer = async move |headers: HeaderMap| {
        let newest = known.load(Ordering::SeqCst).to_string();
        if headers.get(TOKEN).is_none_or(|t| *t != newest) {
            return (StatusCode::UNAUTHORIZED, "");
        }
        let (status, body) = document();
        (StatusCode::from_u16(status).unwrap(), body)
    };
    let router = Router::new()
        .route("/latest/api/token", put(issue))
        .fallback(get(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let metadata = at(&format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(async { axum::serve(listener, router).await });
    (metadata, tokens)
}

fn at(endpoint: &str) -> Metadata {
    let settings = settings().endpoint(endpoint).unwrap();
    Metadata::with(settings, Metrics::register(&mut Registry::default()))
}

#[tokio::test]
async fn a_document_is_read_with_one_token_and_one_that_is_not_there_is_no_error() {
    let answers = Arc::new(AtomicU32::new(0));
    let document = move || match answers.fetch_add(1, Ordering::SeqCst) {
        0 => (200, "i-0a1b2c3d4e5f60718"),
        _ => (404, "<html>"),
    };
    let (metadata, tokens) = service(200, document).await;
    let read = metadata.read(Document::InstanceId).await;
    assert_eq!(read.unwrap().as_deref(), Some("i-0a1b2c3d4e5f60718"));
    let read = metadata.read(Document::SpotInstanceAction).await;
    assert_eq!(read.unwrap(), None);
    assert_eq!(tokens.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_token_that_the_service_has_forgotten_is_renewed_once() {
    let (metadata, tokens) = service(200, || (200, "InService")).await;
    let state = Document::TargetLifecycleState;
    metadata.read(state).await.unwrap();
    // Somebody restarted the service.
    tokens.fetch_add(1, Ordering::SeqCst);
    let read = metadata.read(state).await;
    assert_eq!(read.unwrap().as_deref(), Some("InService"));
    metadata.read(state).await.unwrap();
    assert_eq!(tokens.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn failures_have_reasons() {
    for (token, document, reason) in [
        (200, 401, Reason::Credentials),
        (200, 403, Reason::AccessDenied),
        (200, 500, Reason::Unavailable),
        (200, 503, Reason::Unavailable),
        (200, 429, Reason::Throttled),
        (403, 200, Reason::AccessDenied),
        (503, 200, Reason::Unavailable),
        (400, 200, Reason::InvalidRequest),
    ] {
        let (metadata, _) = service(token, move || (document, "")).await;
        let error = metadata.read(Document::SpotInstanceAction).await;
        let error = error.unwrap_err();
        assert_eq!(error.reason, reason, "{token} {document}: {error}");
    }
}

#[tokio::test]
async fn no_service_and_one_that_is_silent_have_reasons_within_two_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let silent = at(&format!("http://{address}"));
    let started = std::time::Instant::now();
    let error = silent.read(Document::InstanceId).await.unwrap_err();
    assert_eq!(error.reason, Reason::TimedOut, "{error}");
    assert!(started.elapsed() < Duration::from_secs(4));
    drop(listener);
    let absent = at(&format!("http://{address}"));
    let error = absent.read(Document::InstanceId).await.unwrap_err();
    assert_eq!(error.reason, Reason::Unreachable, "{error}");
}
