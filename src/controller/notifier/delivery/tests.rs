//! Attempts with a Secret that is missing or was replaced, and those of a leader whose term is over.

use std::sync::Mutex;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::api::termination::EffectivePolicy;
use crate::controller::notifier::queue::Next;
use crate::controller::tests::{Replica, Server, incident};

const SECRET: &str = "/api/v1/namespaces/operator/secrets/chat";
const POLICIES: &str = "/apis/nodetermination.dev/v1alpha1/terminationpolicies";
/// The tokens, as Secrets hold them: in base64.
const OLD: (&str, &str) = ("old", "b2xk");
const NEW: (&str, &str) = ("new", "bmV3");
/// What is known of a Secret is doubted by then.
const LATER: Duration = Duration::from_secs(11);

/// The tokens that a receiver was sent.
type Sent = Arc<Mutex<Vec<String>>>;

/// A receiver that takes the new token only, and its URL.
async fn receiver() -> (String, Sent) {
    let sent = Sent::default();
    let posted = sent.clone();
    let answer = move |request: Request| async move {
        let token = request.headers()["authorization"].to_str().unwrap();
        posted.lock().unwrap().push(token.to_owned());
        if token == NEW.0 {
            StatusCode::OK
        } else {
            StatusCode::UNAUTHORIZED
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer);
    tokio::spawn(async { axum::serve(listener, router).await });
    (url, sent)
}

fn secret(token: (&str, &str)) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "chat", "labels": {"nodetermination.dev/notification": "true"}},
        "data": {"token": token.1},
    })
}

/// A replica that knows one policy, which tells that URL with the token of the Secret.
async fn replica(server: &Server, url: &str) -> Replica {
    let token = json!({"secretKeyRef": {"name": "chat", "key": "token"}});
    let notification = json!({
        "name": "hook",
        "url": url,
        "headers": [{"name": "Authorization", "valueFrom": token}],
    });
    let policy = json!({
        "apiVersion": "nodetermination.dev/v1alpha1",
        "kind": "TerminationPolicy",
        "metadata": {"name": "p"},
        "spec": {"sources": [{"name": "metadata", "imds": {}}], "notifications": [notification]},
    });
    let list = json!({
        "apiVersion": "nodetermination.dev/v1alpha1",
        "kind": "TerminationPolicyList",
        "metadata": {"resourceVersion": "1"},
        "items": [policy],
    });
    server.put(POLICIES, list);
    let replica = Replica::new(server);
    assert!(replica.parts.policies.synced().await);
    replica
}

/// Hands in that the node is drained, which the policy's notification is to tell.
fn offer(notifier: &Notifier) {
    let row =
        json!({"name": "hook", "stage": "Drained", "state": "Pending", "reachedAt": clock::now()});
    let policy = EffectivePolicy {
        name: "p".to_owned(),
        ..EffectivePolicy::default()
    };
    let object = incident(&json!({"policy": policy, "notifications": [row]}));
    assert!(notifier.offer(&object, object.status.as_ref().unwrap()));
}

fn task(notifier: &Notifier) -> Task {
    offer(notifier);
    match notifier.lock().next(Instant::now()) {
        Next::Send(task) => *task,
        Next::At(_) => panic!("it may be sent now"),
    }
}

/// How the notification stands after one more attempt.
async fn attempt(notifier: &Notifier, task: &Task) -> NotificationState {
    match notifier.attempt(task).await {
        End::Settled(state, _, _) => state,
        End::Again(_, _) => NotificationState::Pending,
    }
}

#[tokio::test]
async fn a_token_that_was_replaced_costs_no_notification_and_a_wrong_one_is_not_tried_for_ever() {
    let (server, (url, sent)) = (Server::default(), receiver().await);
    server.put(SECRET, secret(OLD));
    let replica = replica(&server, &url).await;
    let notifier = replica.notifier();
    let task = task(&notifier);
    let (failed, pending) = (NotificationState::Failed, NotificationState::Pending);
    assert_eq!(attempt(&notifier, &task).await, failed, "it was just read");
    notifier.secrets.age(LATER);
    assert_eq!(attempt(&notifier, &task).await, pending, "it is doubted");
    server.put(SECRET, secret(NEW));
    let end = attempt(&notifier, &task).await;
    assert_eq!(end, NotificationState::Sent, "it is read again");
    assert_eq!(*sent.lock().unwrap(), ["old", "old", "new"]);
}

#[tokio::test]
async fn a_secret_that_is_not_there_yet_is_looked_for_again_and_costs_no_notification() {
    let (server, (url, sent)) = (Server::default(), receiver().await);
    let replica = replica(&server, &url).await;
    let notifier = replica.notifier();
    let task = task(&notifier);
    let End::Again(said, wait) = notifier.attempt(&task).await else {
        panic!("it is not given up")
    };
    assert_eq!(
        (said.as_str(), wait),
        (
            "hook: there is no Secret chat in the namespace operator",
            MENDED_AFTER
        )
    );
    server.put(SECRET, secret(NEW));
    notifier.secrets.age(LATER);
    let end = attempt(&notifier, &task).await;
    assert_eq!(end, NotificationState::Sent);
    assert_eq!(*sent.lock().unwrap(), ["new"]);
}

#[tokio::test]
async fn a_leader_whose_term_is_over_sends_nothing_not_even_what_it_had_begun_with() {
    let (server, (url, sent)) = (Server::default(), receiver().await);
    server.put(SECRET, secret(NEW));
    let replica = replica(&server, &url).await;
    let notifier = replica.notifier();
    offer(&notifier);
    let mut sending = JoinSet::new();

    replica.freeze();
    let again = notifier.start_all(&mut sending);
    assert!(again.is_some() && sending.is_empty());
    replica.renew();
    notifier.start_all(&mut sending);
    assert_eq!(sending.len(), 1);
    // Before the task has run, or while it reads the Secret.
    replica.freeze();
    sending.join_next().await.unwrap().unwrap();
    assert!(sent.lock().unwrap().is_empty());
    assert_eq!(notifier.lock().waiting(), 1, "it is still to be sent");
}
