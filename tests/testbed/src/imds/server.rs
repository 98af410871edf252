//! What is served, and how a request is answered.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, mpsc},
};

use axum::{
    Router,
    extract::{Request as HttpRequest, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::{Answer, Request, Script, World, lock};
use crate::aws::signal::Signal;

const TOKEN_PATH: &str = "/latest/api/token";
const INSTANCE_ID_PATH: &str = "/latest/meta-data/instance-id";
const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";
/// The longest lifetime of a token, in seconds (EC2 User Guide, "How Instance Metadata Service Version 2 works").
const TTL_SECONDS_MAX: i64 = 21_600;

/// Binds a free loopback port, tells of the world, and serves it.
pub(super) async fn serve(
    instance_id: String,
    started: mpsc::Sender<Arc<World>>,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let world = Arc::new(World {
        instance_id: Mutex::new(instance_id),
        endpoint: format!("http://{}", listener.local_addr()?),
        script: Mutex::default(),
        requests: Mutex::default(),
        asked: Signal::default(),
    });
    started.send(Arc::clone(&world))?;
    let router = Router::new().fallback(handle).with_state(world);
    Ok(axum::serve(listener, router).await?)
}

async fn handle(State(world): State<Arc<World>>, request: HttpRequest) -> Response {
    let (method, path) = (request.method().as_str(), request.uri().path());
    let answer = world.answer(method, path, request.headers());
    let status = match &answer {
        Ok(_) => 200,
        Err(Some(status)) => *status,
        Err(None) => 0,
    };
    lock(&world.requests).push(Request {
        method: method.to_owned(),
        path: path.to_owned(),
        status,
        time: Timestamp::now(),
    });
    world.asked.notify();
    match answer {
        Ok(response) => response,
        Err(Some(status)) => StatusCode::from_u16(status)
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            .into_response(),
        Err(None) => std::future::pending().await,
    }
}

impl World {
    /// The response, or the status of a refusal, or nothing at all.
    fn answer(
        &self,
        method: &str,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Response, Option<u16>> {
        let mut script = lock(&self.script);
        if let Some(outage) = &mut script.outage {
            return said(outage.next());
        }
        match (method, path) {
            ("PUT", TOKEN_PATH) => script.token(headers),
            ("GET", _) if !script.knows(headers) => Err(Some(401)),
            ("GET", path) => match script.paths.get_mut(path) {
                Some(answer) => said(answer.next()),
                None if path == INSTANCE_ID_PATH => {
                    Ok(lock(&self.instance_id).clone().into_response())
                }
                None => Err(Some(404)),
            },
            _ => Err(Some(405)),
        }
    }
}

impl Script {
    fn token(&mut self, headers: &HeaderMap) -> Result<Response, Option<u16>> {
        let ttl = headers.get(TTL).and_then(|ttl| ttl.to_str().ok());
        let ttl: Option<i64> = ttl.and_then(|ttl| ttl.parse().ok());
        let ttl = ttl.filter(|ttl| (1..=TTL_SECONDS_MAX).contains(ttl));
        let ttl = ttl.ok_or(Some(400))?;
        let token = Uuid::new_v4().to_string();
        let end = Timestamp::now() + SignedDuration::from_secs(ttl);
        self.tokens.insert(token.clone(), end);
        Ok(([(TTL, ttl.to_string())], token).into_response())
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        let token = headers.get(TOKEN).and_then(|token| token.to_str().ok());
        let end = token.and_then(|token| self.tokens.get(token));
        end.is_some_and(|end| Timestamp::now() < *end)
    }
}

fn said(answer: Answer) -> Result<Response, Option<u16>> {
    match answer {
        Answer::Body(text) => Ok(text.into_response()),
        Answer::Status(status) => Err(Some(status)),
        Answer::Hang => Err(None),
        Answer::Sequence(_) => Err(Some(500)),
    }
}
