//! The time, given and taken: every answer tells what time it is at AWS, and requests are signed with that time.

use std::time::SystemTime;

use aws_sdk_sqs::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_sqs::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sqs::error::BoxError;
use aws_smithy_async::time::TimeSource;

use crate::clock::{self, Server};

/// Listens to what time AWS has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listen;

impl Intercept for Listen {
    fn name(&self) -> &'static str {
        "Listen"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        clock::heard(Server::Aws, context.response().headers().get("date"));
        Ok(())
    }
}

/// AWS refuses what was signed more than a few minutes ago, by its own clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now;

impl TimeSource for Now {
    fn now(&self) -> SystemTime {
        clock::now().into()
    }
}
