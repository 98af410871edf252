//! What is served, and how a request is answered.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering, mpsc},
    time::Duration,
};

use axum::{
    Router,
    body::{self, Body},
    extract::{ConnectInfo, Request, State},
    response::Response,
};
use serde_json::Value;
use tokio::net::TcpListener;

use super::{
    World,
    answer::{self, ApiError},
    autoscaling,
    calls::Outcome,
    connection::{CuttableListener, Line},
    ec2,
    fault::FaultKind,
    granted, lock,
    request::{self, Asked, Service},
    signature::Signer,
    sqs, sts,
};

/// The largest body that is read: twice the 1 MiB that a message or batch may have.
const BODY_LIMIT_BYTES: usize = 2 << 20;

/// The longest pause between two looks at the lifecycle actions' deadlines.
const IDLE: Duration = Duration::from_hours(1);

/// Binds a free loopback port, tells of the world, and serves it.
pub(super) async fn serve(started: mpsc::Sender<Arc<World>>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let world = Arc::new(World::new(&format!("http://{}", listener.local_addr()?)));
    started.send(Arc::clone(&world))?;
    tokio::spawn(time_out_actions(Arc::clone(&world)));
    let router = Router::new().fallback(handle).with_state(world);
    let service = router.into_make_service_with_connect_info::<Line>();
    axum::serve(CuttableListener(listener), service).await?;
    Ok(())
}

/// Ends the lifecycle actions whose deadlines pass, without anybody's asking.
async fn time_out_actions(world: Arc<World>) {
    let mut changes = world.lifecycle_changed.subscribe();
    loop {
        let next = {
            let mut lifecycle = lock(&world.lifecycle);
            lifecycle.settle(world.clock.now());
            lifecycle.next_deadline()
        };
        let pause = next.map_or(IDLE, |next| world.clock.until(next));
        tokio::select! {
            () = changes.changed() => {}
            () = tokio::time::sleep(pause) => {
                lock(&world.lifecycle).settle(world.clock.now());
                world.lifecycle_changed.notify();
            }
        }
    }
}

async fn handle(
    State(world): State<Arc<World>>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let body = body::to_bytes(body, BODY_LIMIT_BYTES)
        .await
        .unwrap_or_default();
    let asked = request::read(&parts.method, &parts.headers, &body);
    let signer = lock(&world.credentials).signer(&parts.headers, asked.service);
    let call = world
        .calls
        .open(&asked, signer.as_ref().ok(), world.clock.now());
    let refusal = refusal(&asked, signer).or_else(|| world.refusal(&asked));
    let fault = if refusal.is_none() {
        world.faults.strike(&asked)
    } else {
        None
    };
    let error = refusal.or_else(|| fault?.error(&asked));
    if let Some(FaultKind::TimeOut(hold)) = fault {
        call.close(Outcome::unanswered("TimeOut"), None);
        tokio::time::sleep(hold).await;
        return hang_up(&line);
    }
    let result = match error {
        Some(error) => Err(error),
        None => perform(&world, &asked, fault == Some(FaultKind::Duplicate)).await,
    };
    let violation = result.as_ref().err().filter(|error| error.violation);
    let violation = violation.map(|error| error.message.clone());
    if fault == Some(FaultKind::LostReply) {
        call.close(Outcome::unanswered("LostReply"), violation);
        return hang_up(&line);
    }
    call.close(outcome(asked.service, &result), violation);
    answer::render(asked.service, &asked.operation, &result)
}

/// Why a request is not served at all: unsigned, or not understood.
fn refusal(asked: &Asked, signer: Result<Signer, ApiError>) -> Option<ApiError> {
    signer.err().or_else(|| asked.flaw.clone())
}

impl World {
    /// Why the caller may not do that.
    fn refusal(&self, asked: &Asked) -> Option<ApiError> {
        let held = self.held_to_policy.load(Ordering::Relaxed);
        held.then(|| granted::refusal(asked)).flatten()
    }
}

/// Closes the connection unanswered.
fn hang_up(line: &Line) -> Response {
    line.cut();
    Response::new(Body::empty())
}

fn outcome(service: Service, result: &Result<Value, ApiError>) -> Outcome {
    match result {
        Ok(_) => Outcome {
            status: 200,
            code: None,
        },
        Err(error) => Outcome {
            status: error.status,
            code: Some(error.name(service).to_owned()),
        },
    }
}

async fn perform(world: &World, asked: &Asked, duplicate: bool) -> Result<Value, ApiError> {
    match asked.service {
        Service::Sqs => sqs::perform(world, asked, duplicate).await,
        Service::AutoScaling => autoscaling::perform(world, asked),
        Service::Ec2 => ec2::perform(world, asked),
        Service::Sts => sts::perform(world, asked),
        Service::Unknown => Err(request::unknown_operation(asked)),
    }
}
