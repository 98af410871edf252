//! When a failed pass comes again, what a leader does not write once its term is over, and who settles a notification.

use serde_json::{Value, json};

use super::*;
use crate::api::policy::Stage;
use crate::api::termination::{EffectiveNotification, NodeTerminationStatus, NotificationState};
use crate::controller::tests::{Replica, Server, incident};
use crate::lifecycle::Notified;

fn context(replica: &Replica) -> Context {
    let parts = replica.parts.clone();
    let views = Views::new(parts.clients.views.clone(), parts.gate.clone());
    let attachments = Attachments::new(parts.clients.stores.clone(), parts.gate.clone());
    Context::new(parts, views, attachments, replica.notifier())
}

/// The incident's turn to write comes.
async fn is_called(context: &Arc<Context>) {
    let (mut called, stop) = (context.writes.changes(), CancellationToken::new());
    let calling = tokio::spawn(writes::run(context.clone(), stop.clone()));
    assert_eq!(&*called.recv().await.unwrap(), "incident");
    stop.cancel();
    calling.await.unwrap();
}

/// Lets something be written whose turn has not come, and again when it has: the term may have run out since. Returns
/// what came of it then, whether it is looked at again and whether it was written, and the record that is gone by.
async fn frozen_and_not<T>(
    write: impl AsyncFn(&Context) -> Result<Option<T>, cluster::Error>,
) -> [(bool, bool, Option<Phase>); 2] {
    let mut came = Vec::new();
    for freezes in [true, false] {
        let server = Server::default();
        let replica = Replica::new(&server);
        let context = Arc::new(context(&replica));
        let urgent = context.gate.cordon().await;
        assert!(write(&context).await.unwrap().is_none());
        assert!(server.statuses().is_empty(), "cordons go first");
        drop(urgent);
        is_called(&context).await;
        if freezes {
            replica.freeze();
        }
        let again = write(&context).await.unwrap().is_some();
        let left = context.memories.status("incident").and_then(|s| s.phase);
        came.push((again, !server.statuses().is_empty(), left));
    }
    came.try_into().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_report_whose_turn_comes_when_the_term_is_over_is_not_written_and_is_decided_anew() {
    let object = incident(&json!({"phase": "Pending"}));
    let came = frozen_and_not(async |context| {
        let seen = observe::observe(&object, context);
        let before = seen.object.status.as_ref().and_then(|s| s.phase);
        assert_eq!(before, Some(Phase::Pending), "nothing was finished");
        let status = NodeTerminationStatus {
            phase: Some(Phase::Completed),
            ..NodeTerminationStatus::default()
        };
        report::report(&seen, status, true, context).await
    });
    let again = (true, false, Some(Phase::Pending));
    let written = (false, true, Some(Phase::Completed));
    assert_eq!(came.await, [again, written]);
}

#[tokio::test(start_paused = true)]
async fn what_became_of_a_notification_is_not_written_once_the_term_is_over() {
    let object = incident(&over(&Value::Null));
    let sent = [Notified {
        name: "hook".to_owned(),
        stage: Stage::Completed,
        state: NotificationState::Sent,
        sent_at: Some(clock::now()),
        message: None,
    }];
    let came = frozen_and_not(async |context| notices::close(&object, &sent, context).await);
    let written = (false, true, Some(Phase::Completed));
    assert_eq!(came.await, [(true, false, None), written]);
}

#[tokio::test(start_paused = true)]
async fn a_pass_of_a_leader_whose_term_is_over_does_nothing_and_comes_again() {
    let (server, object) = (Server::default(), incident(&Value::Null));
    let replica = Replica::new(&server);
    let context = context(&replica);
    replica.freeze();
    let next = pass(&object, &context).await.unwrap();
    assert_ne!(next, Action::await_change());
    assert!(server.statuses().is_empty());
    replica.renew();
    pass(&object, &context).await.unwrap();
    assert_eq!(server.statuses()[0]["phase"], "Waiting");
}

/// The record of an incident that is over and still has to tell that, under those settings.
fn over(policy: &Value) -> Value {
    let now = clock::now();
    let row = json!({"name": "hook", "stage": "Completed", "state": "Pending", "reachedAt": now});
    json!({
        "phase": "Completed",
        "outcome": "Drained",
        "completedAt": now,
        "observedGeneration": 1,
        "policy": policy,
        "notifications": [row],
    })
}

#[tokio::test(start_paused = true)]
async fn a_row_is_settled_whatever_the_policy_says_by_now_so_that_no_record_is_kept_for_ever() {
    let told = EffectiveNotification {
        name: "hook".to_owned(),
        stages: vec![Stage::Completed],
    };
    for policy in [None, Some(vec![]), Some(vec![told])] {
        let policy = policy.map(|notifications| EffectivePolicy {
            notifications,
            ..EffectivePolicy::default()
        });
        let policy = json!(policy);
        let (server, object) = (Server::default(), incident(&over(&policy)));
        let replica = Replica::new(&server);
        let context = context(&replica);
        let mut changes = context.notifier.changes();
        let stop = CancellationToken::new();
        let sending = tokio::spawn(context.notifier.clone().run(stop.clone()));
        pass(&object, &context).await.unwrap();
        changes.recv().await.unwrap();
        pass(&object, &context).await.unwrap();
        let written = &server.statuses()[0]["notifications"][0];
        assert_eq!(written["state"], "Failed", "{policy}");
        let why = "the policy has no such notification any more";
        assert_eq!(written["message"], why, "{policy}");
        stop.cancel();
        sending.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_report_has_its_turn_before_the_pods_that_it_counts_are_looked_at_no_longer() {
    let (server, mut object) = (Server::default(), incident(&json!({"phase": "Draining"})));
    object.spec.cancel = true;
    let replica = Replica::new(&server);
    let context = Arc::new(context(&replica));
    context.views.open("node", "", clock::now());
    let urgent = context.gate.cordon().await;
    pass(&object, &context).await.unwrap();
    assert_eq!(context.views.open_count(), 1);
    assert!(server.statuses().is_empty());
    drop(urgent);
    is_called(&context).await;
    pass(&object, &context).await.unwrap();
    assert_eq!(context.views.open_count(), 0);
    assert_eq!(server.statuses()[0]["phase"], "Canceled");
}

#[test]
fn a_failed_pass_comes_again_ever_later_but_misses_no_time_that_it_had_named() {
    let second = |s: f64| Duration::from_secs_f64(s);
    for (failures, jitter, forbidden, wake, waits) in [
        (1, 1.0, false, None, 0.5),
        (1, 0.0, false, None, 0.25),
        (3, 1.0, false, None, 2.0),
        (9, 1.0, false, None, 15.0),
        (9, 1.0, false, Some(7.0), 7.0),
        (9, 1.0, false, Some(40.0), 15.0),
        (9, 1.0, false, Some(0.0), 0.5),
        (1, 0.0, false, Some(0.0), 0.25),
        (1, 0.0, true, None, 0.25),
        (9, 1.0, true, None, 5.0),
        (9, 0.5, true, Some(3.0), 3.0),
    ] {
        let found = wait(failures, jitter, forbidden, wake.map(second));
        assert_eq!(found, second(waits), "{failures} {forbidden} {wake:?}");
    }
}
