//! The one request: POST, over TLS, through the proxy of the environment, without redirects.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};

/// By it a receiver tells a second attempt from a second notification (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// A receiver that asks for more patience than this gets this.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(5);
/// Connections to a receiver are closed after this: notifications are rare.
const IDLE: Duration = Duration::from_secs(15);

/// Why something can not be posted as it is set. It names no URL and no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// The URL is none.
    #[error("the URL is not one that can be posted to")]
    Url,
    /// The URL is http.
    #[error("the URL is not https, and --allow-http-notifications is not set")]
    Insecure,
    /// The value of that header can not be sent.
    #[error("the value of the header {0} holds bytes that no header may hold")]
    Header(String),
    /// Nothing can be sent at all.
    #[error("the HTTP client can not be made: {0}")]
    Client(String),
}

impl BadRequest {
    /// The fault in one CamelCase word.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Url => "URLInvalid",
            Self::Insecure => "HTTPNotAllowed",
            Self::Header(_) => "HeaderInvalid",
            Self::Client(_) => "ClientFailed",
        }
    }
}

/// A request that is ready to be sent. It is never printed: its URL and its headers may be secrets.
pub struct Post {
    url: Url,
    headers: HeaderMap,
    timeout: Duration,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").finish_non_exhaustive()
    }
}

/// What came of a request. No message holds the URL, a header, or the receiver's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was accepted.
    Accepted,
    /// It will not be accepted, however often it is sent.
    Refused(String),
    /// It may be accepted later, but not before this has passed.
    Again(String, Duration),
}

/// Sends requests; its client is made when the first one is prepared.
#[derive(Debug, Default)]
pub struct Sender {
    allow_http: bool,
    client: OnceLock<Result<Client, String>>,
}

impl Sender {
    /// A sender, to http URLs only if that is allowed.
    #[must_use]
    pub fn new(allow_http: bool) -> Self {
        Self {
            allow_http,
            client: OnceLock::new(),
        }
    }

    /// The request with this URL, these headers and this time-out for one attempt.
    pub fn prepare(
        &self,
        url: &str,
        headers: &[(String, String)],
        timeout: Duration,
    ) -> Result<Post, BadRequest> {
        let url = Url::parse(url.trim()).map_err(|_| BadRequest::Url)?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            "http" => return Err(BadRequest::Insecure),
            _ => return Err(BadRequest::Url),
        }
        if !url.has_host() {
            return Err(BadRequest::Url);
        }
        let mut map = HeaderMap::new();
        map.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in headers {
            let bad = || BadRequest::Header(name.clone());
            let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
            let mut value = HeaderValue::from_str(value.trim()).map_err(|_| bad())?;
            value.set_sensitive(true);
            map.insert(key, value);
        }
        // Here, when a policy is looked at, and not when a node goes: it reads every certificate that is to be trusted.
        self.client()?;
        Ok(Post {
            url,
            headers: map,
            timeout,
        })
    }

    /// Sends it once. The answer comes within the request's time-out.
    pub async fn send(&self, post: Post, id: &str, body: String) -> Answer {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return Answer::Again(error.to_string(), Duration::ZERO),
        };
        let mut headers = post.headers;
        if let Ok(id) = HeaderValue::from_str(id) {
            headers.insert(IDEMPOTENCY_KEY, id);
        }
        let request = client.post(post.url).headers(headers);
        let request = request.timeout(post.timeout).body(body);
        // What the receiver says is not read: it may hold what was sent to it.
        match request.send().await {
            Ok(answer) => judge(answer.status(), answer.headers()),
            Err(error) => Answer::Again(failure(&error).to_owned(), Duration::ZERO),
        }
    }

    fn client(&self) -> Result<&Client, BadRequest> {
        let made = self.client.get_or_init(|| client(self.allow_http));
        made.as_ref().map_err(|e| BadRequest::Client(e.clone()))
    }
}

fn client(allow_http: bool) -> Result<Client, String> {
    // The provider that kube has too. Somebody may have installed it before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder()
        .user_agent(concat!(
            "node-termination-operator/",
            env!("CARGO_PKG_VERSION")
        ))
        .redirect(Policy::none())
        .https_only(!allow_http)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(1)
        .build();
    client.map_err(|error| failure(&error).to_owned())
}

/// What went wrong, in words of our own: the library's may hold the URL.
fn failure(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection: the address, the proxy or the certificate is wrong, or nobody listens"
    } else if error.is_builder() {
        "the request could not be made"
    } else {
        "the connection broke"
    }
}

/// What an answer of that code means: the receiver has it, will never have it, or may have it later.
fn judge(status: StatusCode, headers: &HeaderMap) -> Answer {
    let said = format!("answered {status}");
    if status.is_success() {
        return Answer::Accepted;
    }
    if status.is_redirection() {
        return Answer::Refused(format!("{said}: redirects are not followed"));
    }
    let later = matches!(
        status,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
    );
    if status.is_client_error() && !later {
        return Answer::Refused(said);
    }
    let seconds = headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok());
    let wait = seconds.and_then(|s| s.trim().parse().ok());
    let wait = wait.map_or(Duration::ZERO, Duration::from_secs);
    Answer::Again(said, wait.min(RETRY_AFTER_MAX))
}
