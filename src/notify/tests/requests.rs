//! What is sent, to a server that takes it down and answers as it is told.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use http_body_util::BodyExt;
use tokio::net::TcpListener;

use crate::notify::{Answer, BadRequest, Post, Sender};

const TIMEOUT: Duration = Duration::from_secs(10);
const SECRET: &str = "not-to-be-printed";

type Taken = Arc<Mutex<Vec<(http::request::Parts, String)>>>;

/// A server that takes down every request, and answers with this status and header.
async fn server(status: u16, header: (&'static str, &'static str)) -> (String, Taken) {
    let taken = Taken::default();
    let answer = move |State(taken): State<Taken>, request: Request| async move {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        taken.lock().unwrap().push((parts, text));
        let answer = Response::builder()
            .status(status)
            .header(header.0, header.1);
        answer.body(axum::body::Body::from(SECRET)).unwrap()
    };
    let router = Router::new().fallback(answer).with_state(taken.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/{SECRET}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });
    (url, taken)
}

fn post(sender: &Sender, url: &str, timeout: Duration) -> Post {
    let headers = [("Authorization", SECRET), ("Content-Type", "text/plain")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    sender.prepare(url, &headers, timeout).unwrap()
}

async fn answer(status: u16, header: (&'static str, &'static str)) -> (Answer, Taken) {
    let (url, taken) = server(status, header).await;
    let sender = Sender::new(true);
    let answer = sender.send(
        post(&sender, &url, TIMEOUT),
        "uid/hook/Drained",
        "body".to_owned(),
    );
    (answer.await, taken)
}

#[tokio::test]
async fn one_post_carries_the_body_the_headers_and_a_key_that_a_second_attempt_would_have_too() {
    let (answer, taken) = answer(204, ("x", "y")).await;
    assert_eq!(answer, Answer::Accepted);
    let taken = taken.lock().unwrap();
    let [(parts, body)] = &taken[..] else {
        panic!("one request")
    };
    assert_eq!((parts.method.as_str(), body.as_str()), ("POST", "body"));
    assert_eq!(parts.uri.path(), format!("/{SECRET}"));
    for (name, value) in [
        ("authorization", SECRET),
        ("content-type", "text/plain"),
        ("idempotency-key", "uid/hook/Drained"),
    ] {
        assert_eq!(parts.headers[name], value, "{name}");
    }
    let agent = parts.headers["user-agent"].to_str().unwrap();
    assert!(agent.starts_with("node-termination-operator/"), "{agent}");
}

#[tokio::test]
async fn an_answer_says_whether_another_attempt_is_of_use() {
    let refused = |said: &str| Answer::Refused(said.to_owned());
    let again = |said: &str, seconds| Answer::Again(said.to_owned(), Duration::from_secs(seconds));
    for (status, header, expected) in [
        (200, ("x", "y"), Answer::Accepted),
        (400, ("x", "y"), refused("answered 400 Bad Request")),
        (404, ("x", "y"), refused("answered 404 Not Found")),
        (
            429,
            ("retry-after", "7"),
            again("answered 429 Too Many Requests", 7),
        ),
        (
            429,
            ("retry-after", "86400"),
            again("answered 429 Too Many Requests", 300),
        ),
        (
            503,
            ("retry-after", "tomorrow"),
            again("answered 503 Service Unavailable", 0),
        ),
    ] {
        let (answer, _) = answer(status, header).await;
        assert_eq!(answer, expected, "{status}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (elsewhere, taken) = server(200, ("x", "y")).await;
    let location: &'static str = Box::leak(elsewhere.into_boxed_str());
    for status in [301, 307, 308] {
        let (answer, _) = answer(status, ("location", location)).await;
        let Answer::Refused(said) = answer else {
            panic!("{status}: {answer:?}")
        };
        assert!(said.ends_with("redirects are not followed"), "{said}");
    }
    assert!(taken.lock().unwrap().is_empty());
}

#[tokio::test]
async fn http_is_refused_unless_it_is_allowed_and_what_is_no_url_always() {
    let strict = Sender::new(false);
    let refused = |sender: &Sender, url: &str| sender.prepare(url, &[], TIMEOUT).unwrap_err();
    let url = format!("http://example.com/{SECRET}");
    assert_eq!(refused(&strict, &url), BadRequest::Insecure);
    let lax = Sender::new(true);
    assert!(lax.prepare(&url, &[], TIMEOUT).is_ok());
    for url in [
        "",
        SECRET,
        "file:///etc/passwd",
        "https://",
        "ftp://example.com/",
    ] {
        for sender in [&strict, &lax] {
            assert_eq!(refused(sender, url), BadRequest::Url, "{url}");
        }
    }
    let header = [("X-Key".to_owned(), "two\nlines".to_owned())];
    let bad = lax.prepare("https://example.com/", &header, TIMEOUT);
    assert_eq!(bad.unwrap_err(), BadRequest::Header("X-Key".to_owned()));
}

/// Kept open, and never answered.
async fn silence() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "127.0.0.1:{}/{SECRET}",
        listener.local_addr().unwrap().port()
    );
    (listener, url)
}

#[tokio::test]
async fn no_failure_takes_longer_than_its_time_nor_tells_a_secret() {
    let sender = Sender::new(true);
    let (_listener, silent) = silence().await;
    let nobody = format!("127.0.0.1:1/{SECRET}");
    let times = Duration::from_secs(1);
    for (url, what) in [
        (format!("http://{silent}"), "no answer in time"),
        (format!("https://{silent}"), "no answer in time"),
        (format!("http://{nobody}"), "no connection"),
        (format!("https://user:{SECRET}@{nobody}"), "no connection"),
    ] {
        let start = Instant::now();
        let post = post(&sender, &url, times);
        assert!(!format!("{post:?}").contains(SECRET));
        let answer = sender.send(post, "id", String::new()).await;
        let Answer::Again(said, _) = answer else {
            panic!("{url}: {answer:?}")
        };
        assert!(said.starts_with(what), "{said}");
        assert!(
            !said.contains(SECRET) && !said.contains("127.0.0.1"),
            "{said}"
        );
        assert!(start.elapsed() < times * 5);
    }
}
