//! The checks. Each names the sentence that it proves.

#[path = "queue.rs"]
mod queue;
#[path = "receipts.rs"]
mod receipts;
#[path = "receives.rs"]
mod receives;

use aws_sdk_sqs::Client;
use futures::future::{BoxFuture, FutureExt};

use self::queue::Queue;
use super::code;

/// A check's sentence and its run.
pub type Check = (&'static str, BoxFuture<'static, anyhow::Result<()>>);

/// All checks, on queues with names that start with `prefix`.
pub fn all(client: &Client, prefix: &str) -> Vec<Check> {
    let queue = |name: &str| Queue::new(client, format!("{prefix}-{name}"));
    vec![
        (
            "a long poll wakes on a send",
            receives::wakes_on_send(queue("send")).boxed(),
        ),
        (
            "a long poll wakes when a message becomes visible",
            receives::wakes_on_visible(queue("wake")).boxed(),
        ),
        (
            "an empty long poll lasts its wait time",
            receives::lasts_wait_time(queue("wait")).boxed(),
        ),
        (
            "a received message is hidden, then comes again with a new handle",
            receives::hides(queue("hide")).boxed(),
        ),
        (
            "a receive tells count and times",
            receives::tells_attributes(queue("told")).boxed(),
        ),
        (
            "a stale receipt handle deletes nothing and is no error",
            receipts::keeps_on_stale(queue("stale")).boxed(),
        ),
        (
            "a message may be deleted twice",
            receipts::deletes_twice(queue("twice")).boxed(),
        ),
        (
            "a garbage receipt handle is invalid",
            receipts::refuses_garbage(queue("garbage")).boxed(),
        ),
        (
            "visibility 0 gives a message back at once",
            receipts::gives_back(queue("back")).boxed(),
        ),
        (
            "a changed visibility counts from now",
            receipts::extends(queue("extend")).boxed(),
        ),
        (
            "only a message in flight can change visibility",
            receipts::needs_flight(queue("flight")).boxed(),
        ),
        (
            "a batch fails by entry",
            receipts::fails_by_entry(queue("entry")).boxed(),
        ),
        (
            "a malformed batch fails whole",
            receipts::fails_whole(queue("whole")).boxed(),
        ),
        (
            "a message received too often goes to the dead letter queue",
            receives::redrives(queue("live"), queue("dead")).boxed(),
        ),
        (
            "the attributes count messages",
            receives::counts(queue("count")).boxed(),
        ),
        (
            "a missing queue is told by its code",
            receives::misses(queue("missing")).boxed(),
        ),
    ]
}
