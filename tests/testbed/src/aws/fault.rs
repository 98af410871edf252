//! Faults on demand: what AWS and the network do at bad times.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use super::{
    answer::ApiError,
    lock,
    request::{Asked, Service},
};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// HTTP 500 `InternalFailure`; the work is not done.
    InternalError,
    /// HTTP 503 `ServiceUnavailable`; the work is not done.
    ServiceUnavailable,
    /// `RequestThrottled` from SQS, `RequestLimitExceeded` from EC2, `Throttling` from the others.
    Throttling,
    /// HTTP 403: the caller's policy does not allow the call.
    AccessDenied,
    /// The request is held for so long, then the connection is closed; the work is not done.
    TimeOut(Duration),
    /// The work is done, then the connection is closed without an answer.
    LostReply,
    /// Received messages stay visible and are delivered again. For `ReceiveMessage` only.
    Duplicate,
    /// The queue, or the group, does not exist.
    NotFound,
}

impl FaultKind {
    /// The error to answer instead of doing the work.
    pub(super) fn error(self, asked: &Asked) -> Option<ApiError> {
        let sqs = asked.service == Service::Sqs;
        match self {
            Self::InternalError => {
                let message = "We encountered an internal error. Please try again.";
                Some(ApiError::coral(500, "InternalFailure", message))
            }
            Self::ServiceUnavailable => {
                let message = "Service is unable to handle request.";
                Some(ApiError::coral(503, "ServiceUnavailable", message))
            }
            Self::Throttling if sqs => {
                Some(ApiError::sqs("RequestThrottled", "Request is throttled."))
            }
            Self::Throttling if asked.service == Service::Ec2 => {
                let message = "Request limit exceeded.";
                Some(ApiError::coral(503, "RequestLimitExceeded", message))
            }
            Self::Throttling => Some(ApiError::coral(400, "Throttling", "Rate exceeded")),
            Self::AccessDenied => Some(access_denied(asked)),
            Self::NotFound if sqs => Some(super::sqs::no_such_queue()),
            Self::NotFound => {
                let group = asked.params["AutoScalingGroupName"]
                    .as_str()
                    .unwrap_or("null");
                Some(super::autoscaling::no_such_group(group))
            }
            Self::TimeOut(_) | Self::LostReply | Self::Duplicate => None,
        }
    }
}

fn access_denied(asked: &Asked) -> ApiError {
    let (service, operation) = (asked.service.signing_name(), &asked.operation);
    let message = format!(
        "User: arn:aws:iam::{}:user/test is not authorized to perform: {service}:{operation} \
         because no identity-based policy allows the {service}:{operation} action",
        super::ACCOUNT
    );
    let code = match asked.service {
        Service::Ec2 => "UnauthorizedOperation",
        _ => "AccessDenied",
    };
    ApiError::coral(403, code, message)
}

/// A fault to inject into calls of one operation.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The operation's name as AWS writes it, such as `DeleteMessageBatch`.
    pub operation: String,
    /// Only calls about the queue of this name; `None` for all calls.
    pub queue: Option<String>,
    /// Only calls about the Auto Scaling group of this name; `None` for all calls.
    pub group: Option<String>,
    /// Only calls with a filter for this value; `None` for all calls.
    pub filter: Option<String>,
    /// What goes wrong.
    pub kind: FaultKind,
    /// How many calls it strikes; `None` for all, until its guard is dropped.
    pub times: Option<u32>,
}

impl Fault {
    /// A fault that strikes every call of an operation.
    #[must_use]
    pub fn new(operation: &str, kind: FaultKind) -> Self {
        Self {
            operation: operation.into(),
            queue: None,
            group: None,
            filter: None,
            kind,
            times: None,
        }
    }

    /// Limits it to the next `times` calls.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Limits it to calls about one queue.
    #[must_use]
    pub fn on_queue(mut self, name: &str) -> Self {
        self.queue = Some(name.into());
        self
    }

    /// Limits it to calls about one Auto Scaling group.
    #[must_use]
    pub fn on_group(mut self, name: &str) -> Self {
        self.group = Some(name.into());
        self
    }

    /// Limits it to calls with a filter for this value, such as a tag's key.
    #[must_use]
    pub fn on_filter(mut self, value: &str) -> Self {
        self.filter = Some(value.into());
        self
    }
}

#[derive(Debug)]
struct Injected {
    fault: Fault,
    struck: u32,
}

type Shared = Arc<Mutex<Vec<Arc<Mutex<Injected>>>>>;

/// The faults in force.
#[derive(Debug, Default)]
pub(super) struct Faults(Shared);

impl Faults {
    pub fn inject(&self, fault: Fault) -> FaultGuard {
        let injected = Arc::new(Mutex::new(Injected { fault, struck: 0 }));
        lock(&self.0).push(Arc::clone(&injected));
        FaultGuard {
            all: Arc::downgrade(&self.0),
            injected,
        }
    }

    pub fn clear(&self) {
        lock(&self.0).clear();
    }

    /// The oldest fault that concerns this request; counts the strike.
    pub fn strike(&self, asked: &Asked) -> Option<FaultKind> {
        lock(&self.0).iter().find_map(|injected| {
            let mut injected = lock(injected);
            let Injected { fault, struck } = &mut *injected;
            let here = fault.operation == asked.operation
                && fault
                    .queue
                    .as_ref()
                    .is_none_or(|queue| asked.concerns_queue(queue))
                && fault
                    .group
                    .as_ref()
                    .is_none_or(|group| asked.params["AutoScalingGroupName"] == group.as_str())
                && fault
                    .filter
                    .as_ref()
                    .is_none_or(|value| asked.concerns_filter(value))
                && fault.times.is_none_or(|times| *struck < times);
            here.then(|| {
                *struck += 1;
                fault.kind
            })
        })
    }
}

/// Keeps a fault in force until it is dropped.
#[must_use = "the fault ends when its guard is dropped"]
#[derive(Debug)]
pub struct FaultGuard {
    all: Weak<Mutex<Vec<Arc<Mutex<Injected>>>>>,
    injected: Arc<Mutex<Injected>>,
}

impl FaultGuard {
    /// How many calls the fault has struck.
    #[must_use]
    pub fn struck(&self) -> u32 {
        lock(&self.injected).struck
    }
}

impl Drop for FaultGuard {
    fn drop(&mut self) {
        if let Some(all) = self.all.upgrade() {
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|other| !Arc::ptr_eq(other, &self.injected));
        }
    }
}
