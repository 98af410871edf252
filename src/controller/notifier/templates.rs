//! Templates at work beside everything else: one may take long, or never have been meant so, and nothing waits for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::api::policy::Notification;
use crate::api::termination::NodeTermination;
use crate::notify::{Fault, Message, template};

/// What a body takes at most; it is a matter of milliseconds.
const LIMIT: Duration = Duration::from_secs(2);
/// One that took longer is not tried before this is over: the machine may have been busy, or it takes a lot each time.
const SLOW: Duration = Duration::from_mins(5);
/// Verdicts that are kept. With more all are found anew.
const KEPT: usize = 1024;

/// What is known of templates: each is looked at once, for it can not change without its notification.
#[derive(Default)]
pub(super) struct Templates(Mutex<HashMap<String, Verdict>>);

#[derive(Clone)]
struct Verdict {
    said: Result<(), Fault>,
    /// That it is too slow is not said for ever.
    until: Option<Instant>,
}

impl Templates {
    /// Whether the template makes a body of whatever may happen, as [`template::check`] finds.
    pub(super) async fn check(&self, notification: &Notification) -> Result<(), Fault> {
        if let Some(verdict) = self.known(notification) {
            return verdict.said;
        }
        let looked = notification.clone();
        let Some(said) = in_time(move || template::check(&looked)).await else {
            return Err(self.slow(notification));
        };
        self.keep(notification, said.clone(), None);
        said
    }

    /// The body of that notification: the message itself, or what its template makes of it.
    pub(super) async fn body(
        &self,
        notification: &Notification,
        message: Message,
        object: Arc<NodeTermination>,
        variables: BTreeMap<String, String>,
    ) -> Result<String, Fault> {
        let Some(text) = notification.template.clone() else {
            return Ok(serde_json::to_string(&message).unwrap_or_default());
        };
        if let Some(Verdict {
            said: Err(fault),
            until: Some(_),
        }) = self.known(notification)
        {
            return Err(fault);
        }
        let body = in_time(move || template::render(&text, &message, &object, &variables)).await;
        body.unwrap_or_else(|| Err(self.slow(notification)))
    }

    fn known(&self, notification: &Notification) -> Option<Verdict> {
        let verdict = self.lock().get(&key(notification)).cloned();
        verdict.filter(|v| v.until.is_none_or(|until| Instant::now() < until))
    }

    /// Takes down that it was not over in time, which is the fault.
    fn slow(&self, notification: &Notification) -> Fault {
        let fault = Fault::new(format!("it takes longer than {} s", LIMIT.as_secs()));
        let until = Instant::now() + SLOW;
        self.keep(notification, Err(fault.clone()), Some(until));
        fault
    }

    fn keep(&self, notification: &Notification, said: Result<(), Fault>, until: Option<Instant>) {
        let mut verdicts = self.lock();
        if verdicts.len() >= KEPT {
            verdicts.clear();
        }
        verdicts.insert(key(notification), Verdict { said, until });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Verdict>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(notification: &Notification) -> String {
    serde_json::to_string(notification).unwrap_or_default()
}

/// What the work makes, on a thread of its own. `None`: it is not over in time. It can not be stopped, so it goes on.
async fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let work = tokio::task::spawn_blocking(work);
    tokio::time::timeout(LIMIT, work).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use serde_json::json;

    use super::*;
    use crate::controller::tests::incident;

    fn notification(template: &str) -> Notification {
        Notification {
            name: "hook".to_owned(),
            template: Some(template.to_owned()),
            ..Notification::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_work_that_takes_long() {
        let (release, held) = mpsc::channel::<()>();
        let working = tokio::spawn(in_time(move || held.recv()));
        tokio::task::yield_now().await;
        tokio::time::advance(LIMIT).await;
        assert_eq!(working.await.unwrap(), None);
        release.send(()).unwrap();
        assert_eq!(in_time(|| 1).await, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_template_is_told_of_and_left_alone_for_a_while() {
        let templates = Templates::default();
        let good = notification("{}");
        assert_eq!(templates.check(&good).await, Ok(()));
        let fault = templates.slow(&good);
        assert_eq!(fault.to_string(), "the template: it takes longer than 2 s");
        assert_eq!(templates.check(&good).await, Err(fault.clone()));
        let row = json!({"name": "hook", "stage": "Drained", "state": "Pending", "reachedAt": "2026-01-01T00:00:00Z"});
        let object = Arc::new(incident(&json!({"notifications": [row]})));
        let row = &object.status.as_ref().unwrap().notifications[0];
        let message = || Message::of(&object, row, None);
        let render = || templates.body(&good, message(), object.clone(), BTreeMap::new());
        assert_eq!(render().await, Err(fault));
        tokio::time::advance(SLOW).await;
        assert_eq!(render().await, Ok("{}".to_owned()));
        assert_eq!(templates.check(&good).await, Ok(()));
    }

    #[tokio::test]
    async fn what_is_known_of_a_template_is_not_said_of_another() {
        let templates = Templates::default();
        for _ in 0..2 {
            assert_eq!(templates.check(&notification("{}")).await, Ok(()));
            assert!(
                templates
                    .check(&notification("{{ nodename }}"))
                    .await
                    .is_err()
            );
        }
    }
}
