//! The record of every request, with what came of it.

use std::{sync::Mutex, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use super::{lock, request::Asked, signal::Signal, signature::Signer};

/// One request that the stand-in got.
#[derive(Clone, Debug)]
pub struct Call {
    /// The signing name: `sqs`, `autoscaling`, `ec2` or `sts`; `unknown` when it names none of them.
    pub service: &'static str,
    /// The operation's name as AWS writes it, such as `ReceiveMessage`.
    pub operation: String,
    /// When the request arrived, on the stand-in's clock.
    pub time: Timestamp,
    /// The parameters under AWS's names; those of the Query protocol are strings and lists of strings.
    pub params: Value,
    /// The region of the signature's credential scope.
    pub region: Option<String>,
    /// The role whose credentials signed the request; `None` for the base credentials.
    pub role_arn: Option<String>,
    /// The external ID with which that role was assumed.
    pub external_id: Option<String>,
    /// What was answered.
    pub outcome: Outcome,
    /// Why AWS would refuse the form of the request, whatever its state: a fault of the client.
    pub violation: Option<String>,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The HTTP status; 0 when nothing was answered.
    pub status: u16,
    /// AWS's error code without its namespace; `LostReply` and `TimeOut` for those faults, `ClientGone` when the
    /// client went away first.
    pub code: Option<String>,
}

impl Outcome {
    pub(super) fn unanswered(code: &str) -> Self {
        Self {
            status: 0,
            code: Some(code.into()),
        }
    }

    /// Whether the work was done and answered.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.status == 200
    }
}

/// All calls in the order in which they ended.
#[derive(Debug, Default)]
pub(super) struct CallLog {
    calls: Mutex<Vec<Call>>,
    added: Signal,
}

impl CallLog {
    /// Notes an arrival; it is logged when it is closed or dropped.
    pub fn open(&self, asked: &Asked, signer: Option<&Signer>, time: Timestamp) -> OpenCall<'_> {
        let call = Call {
            service: asked.service.signing_name(),
            operation: asked.operation.clone(),
            time,
            params: asked.params.clone(),
            region: signer.map(|signer| signer.region.clone()),
            role_arn: signer.and_then(|signer| signer.role_arn.clone()),
            external_id: signer.and_then(|signer| signer.external_id.clone()),
            outcome: Outcome::unanswered("ClientGone"),
            violation: None,
        };
        OpenCall {
            log: self,
            call: Some(call),
        }
    }

    pub fn all(&self) -> Vec<Call> {
        lock(&self.calls).clone()
    }

    pub fn forget(&self) {
        lock(&self.calls).clear();
    }

    /// The `nth` call that fits, from 0.
    pub async fn find(
        &self,
        timeout: Duration,
        nth: usize,
        predicate: impl Fn(&Call) -> bool,
    ) -> anyhow::Result<Call> {
        let look = || {
            lock(&self.calls)
                .iter()
                .filter(|call| predicate(call))
                .nth(nth)
                .cloned()
        };
        self.added.until(timeout, "a matching call", look).await
    }
}

/// A request under way. Hyper drops it when the client disconnects, and then it is logged as `ClientGone`.
pub(super) struct OpenCall<'a> {
    log: &'a CallLog,
    call: Option<Call>,
}

impl OpenCall<'_> {
    pub fn close(mut self, outcome: Outcome, violation: Option<String>) {
        if let Some(call) = &mut self.call {
            call.outcome = outcome;
            call.violation = violation;
        }
    }
}

impl Drop for OpenCall<'_> {
    fn drop(&mut self) {
        lock(&self.log.calls).extend(self.call.take());
        self.log.added.notify();
    }
}
