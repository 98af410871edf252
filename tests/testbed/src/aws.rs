//! A strict stand-in for the AWS services that the operator calls: SQS, Auto Scaling, EC2 and STS, on one loopback port.
//!
//! It refuses what AWS refuses and more: unsigned requests, unknown operations and parameters are errors and are listed
//! by [`Aws::violations`]. It records every call, and it injects faults on demand. Its time can be advanced.

mod answer;
mod autoscaling;
mod calls;
mod clock;
mod connection;
mod ec2;
pub mod events;
mod fault;
mod granted;
mod launch;
mod queue;
mod request;
mod server;
pub(crate) mod signal;
mod signature;
mod sqs;
mod sts;
mod termination;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;

use crate::stand_in::Server;

use self::{
    autoscaling::Lifecycle,
    calls::CallLog,
    clock::Clock,
    ec2::Ec2,
    fault::Faults,
    server::serve,
    signal::Signal,
    signature::Credentials,
    sqs::{Attributes, Redrive, Sqs},
};
pub use self::{
    autoscaling::{ActionState, EndedBy, LifecycleAction, LifecycleResult},
    calls::{Call, Outcome},
    fault::{Fault, FaultGuard, FaultKind},
    queue::Queue,
    sqs::Depth,
};

/// The account that owns everything: the one of AWS's examples.
pub const ACCOUNT: &str = "123456789012";

/// The region that [`Aws::env`] sets and that events name.
pub const REGION: &str = "eu-central-1";

/// The running stand-in; it stops when dropped. It may be held in a static and used from several runtimes.
#[derive(Debug)]
pub struct Aws {
    world: Arc<World>,
    _server: Server,
}

/// What the server's handlers and the handles of tests share.
#[derive(Debug)]
struct World {
    endpoint: String,
    clock: Clock,
    calls: CallLog,
    faults: Faults,
    credentials: Mutex<Credentials>,
    sqs: Mutex<Sqs>,
    ec2: Mutex<Ec2>,
    lifecycle: Mutex<Lifecycle>,
    lifecycle_changed: Signal,
    /// Whether callers are held to the documented IAM policy.
    held_to_policy: AtomicBool,
}

impl World {
    fn new(endpoint: &str) -> Self {
        Self {
            endpoint: endpoint.into(),
            clock: Clock::new(),
            calls: CallLog::default(),
            faults: Faults::default(),
            credentials: Mutex::default(),
            sqs: Mutex::new(Sqs::new(endpoint)),
            ec2: Mutex::default(),
            lifecycle: Mutex::default(),
            lifecycle_changed: Signal::default(),
            held_to_policy: AtomicBool::default(),
        }
    }
}

/// Locks; a test that panicked while it held the lock is no reason for the others to fail.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Aws {
    /// Starts a stand-in on a free loopback port; fails when there is none.
    pub fn start() -> anyhow::Result<Self> {
        let (server, world) = Server::start("AWS stand-in", serve)?;
        Ok(Self {
            world,
            _server: server,
        })
    }

    /// The URL for `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.world.endpoint.clone()
    }

    /// The environment of a process that is to use the stand-in for AWS.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        let variables = [
            ("AWS_ENDPOINT_URL", self.world.endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", signature::ACCESS_KEY_ID),
            ("AWS_SECRET_ACCESS_KEY", signature::SECRET_ACCESS_KEY),
            ("AWS_REGION", REGION),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        variables
            .map(|(name, value)| (name.into(), value.into()))
            .into()
    }

    /// From now on callers may do what `docs/aws/iam-policy.json` allows, and nothing else: anything more is refused and
    /// a violation.
    pub fn hold_to_policy(&self) {
        self.world.held_to_policy.store(true, Ordering::Relaxed);
    }

    /// The stand-in's present time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.world.clock.now()
    }

    /// Lets time pass: visibility timeouts, retention and lifecycle deadlines within it expire.
    pub fn advance(&self, by: Duration) {
        self.world.clock.advance(by);
        // Those who wait, long polls included, look again at once.
        lock(&self.world.sqs).wake();
        self.world.lifecycle_changed.notify();
    }

    /// Makes a queue with AWS's defaults: a visibility timeout of 30 s and a retention period of 4 days.
    pub fn create_queue(&self, name: &str) -> anyhow::Result<Queue> {
        self.create(name, Attributes::default())
    }

    /// Makes a queue with this visibility timeout, in whole seconds.
    pub fn create_queue_with(
        &self,
        name: &str,
        visibility_timeout: Duration,
    ) -> anyhow::Result<Queue> {
        let visibility_timeout_seconds = visibility_timeout.as_secs().try_into()?;
        self.create(
            name,
            Attributes {
                visibility_timeout_seconds,
                ..Attributes::default()
            },
        )
    }

    /// Makes a queue that gives up messages to a dead letter queue after so many receives.
    pub fn create_queue_with_dead_letters(
        &self,
        name: &str,
        visibility_timeout: Duration,
        dead_letters: &Queue,
        max_receive_count: u32,
    ) -> anyhow::Result<Queue> {
        let attributes = Attributes {
            visibility_timeout_seconds: visibility_timeout.as_secs().try_into()?,
            redrive: Some(Redrive {
                target_arn: dead_letters.arn(),
                max_receive_count,
            }),
            ..Attributes::default()
        };
        self.create(name, attributes)
    }

    fn create(&self, name: &str, attributes: Attributes) -> anyhow::Result<Queue> {
        let created = lock(&self.world.sqs).create(name, attributes, self.world.clock.now());
        created.map_err(|error| anyhow::anyhow!("create queue {name}: {}", error.message))?;
        Ok(Queue {
            world: Arc::clone(&self.world),
            name: name.into(),
        })
    }

    /// Lets a role be assumed with this external ID only. Other roles can be assumed by anybody.
    pub fn demand_external_id(&self, role_arn: &str, external_id: &str) {
        lock(&self.world.credentials)
            .demanded
            .insert(role_arn.into(), external_id.into());
    }

    /// All calls so far, in the order in which they ended. A long poll under way is not among them.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.world.calls.all()
    }

    /// Forgets the calls so far.
    pub fn forget_calls(&self) {
        self.world.calls.forget();
    }

    /// The calls whose form AWS would refuse in any state.
    #[must_use]
    pub fn violations(&self) -> Vec<Call> {
        let calls = self.calls().into_iter();
        calls.filter(|call| call.violation.is_some()).collect()
    }

    /// Waits for the first call that fits, past ones included; fails after `timeout`.
    pub async fn await_call(
        &self,
        timeout: Duration,
        predicate: impl Fn(&Call) -> bool,
    ) -> anyhow::Result<Call> {
        self.world.calls.find(timeout, 0, predicate).await
    }

    /// Waits for so many calls that fit, past ones included; fails after `timeout`.
    pub async fn await_calls(
        &self,
        timeout: Duration,
        count: usize,
        predicate: impl Fn(&Call) -> bool,
    ) -> anyhow::Result<()> {
        let Some(last) = count.checked_sub(1) else {
            return Ok(());
        };
        self.world.calls.find(timeout, last, predicate).await?;
        Ok(())
    }

    /// Injects a fault for as long as the guard lives.
    pub fn inject(&self, fault: Fault) -> FaultGuard {
        self.world.faults.inject(fault)
    }

    /// Ends all faults, whatever guards live.
    pub fn clear_faults(&self) {
        self.world.faults.clear();
    }
}
