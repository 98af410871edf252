//! The time, given and taken: every answer tells what time it is at AWS, and requests are signed with that time.

use std::time::{Instant, SystemTime};

use aws_sdk_sqs::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_sqs::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sqs::error::BoxError;
use aws_smithy_async::time::TimeSource;
use aws_smithy_types::config_bag::{Storable, StoreReplace};

use crate::clock::{self, Server};

/// Listens to what time AWS has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listen;

/// When a request was sent.
#[derive(Debug)]
struct Sent(Instant);

impl Storable for Sent {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Listen {
    fn name(&self) -> &'static str {
        "Listen"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(Sent(Instant::now()));
        Ok(())
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(Sent(at)) = config.load::<Sent>() {
            let date = context.response().headers().get("date");
            clock::heard(Server::Aws, date, at.elapsed());
        }
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
