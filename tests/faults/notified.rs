//! The leader is killed while somebody is to be told: nothing is told twice that is on record, and nothing is left out.

use node_termination_operator::api::policy::Stage as Told;
use node_termination_operator::api::termination::{NodeTermination, NotificationState};
use serde_json::{Value, json};
use testbed::receiver::{Posted, Reply};
use testbed::{Receiver, Tunnel};

use crate::stage::{Stage, status};

const PATH: &str = "/hook";
/// The path of whoever is told without TLS, and not through the proxy.
const PLAIN: &str = "/plain";

fn stages(posted: &[Posted]) -> Vec<String> {
    let stage = |p: &Posted| {
        let body: Value = serde_json::from_str(&p.body).unwrap();
        body["stage"].as_str().unwrap().to_owned()
    };
    posted.iter().map(stage).collect()
}

fn stands(incident: &NodeTermination, stage: Told, as_what: NotificationState) -> bool {
    let rows = status(incident).notifications;
    rows.iter().any(|r| r.stage == stage && r.state == as_what)
}

#[tokio::test]
async fn what_is_on_record_is_not_told_again_by_the_next_leader_and_the_rest_is_through_the_proxy()
{
    let (receiver, tunnel) = (Receiver::start().unwrap(), Tunnel::start().unwrap());
    let url = receiver.url(PATH);
    let certificate = receiver.certificate().to_str().unwrap();
    // HTTPS_PROXY would be taken for the API server too, which a kubeconfig names.
    let environment = [
        ("SSL_CERT_FILE", certificate),
        ("ALL_PROXY", tunnel.url()),
        ("NO_PROXY", "localhost"),
        ("NTO_ALLOW_HTTP_NOTIFICATIONS", "true"),
    ];
    let told = json!(["Received", "Draining", "Drained", "Completed"]);
    let notification = json!({"name": "hook", "url": url, "stages": told});
    let plain = json!({"name": "plain", "url": receiver.plain_url(PLAIN), "stages": ["Received"]});
    let settings = json!({"notifications": [notification, plain]});
    let stage = Stage::equipped(settings, &environment).await;
    let node = &stage.nodes[0];
    let pods = stage.blocked_pods(node, 1).await;
    stage.interrupt(node);
    let sent = |i: &NodeTermination| stands(i, Told::Draining, NotificationState::Sent);
    stage.await_incident(node, "the drain is told", sent).await;
    assert_eq!(stages(&receiver.posted(PATH)), ["Received", "Draining"]);
    let plainly = stage.within("http is allowed", receiver.await_posted(PLAIN, 1));
    plainly.await;

    receiver.reply(PATH, [Reply::Status(503)]);
    stage.unblock().await;
    stage.await_gone(&pods).await;
    let waits = |i: &NodeTermination| stands(i, Told::Drained, NotificationState::Pending);
    stage
        .await_incident(node, "the end is to be told", waits)
        .await;
    let tried = stage.within("it is tried", receiver.await_posted(PATH, 3));
    assert_eq!(stages(&tried.await)[2], "Drained");

    let killed = stage.kill_first();
    let before = receiver.posted(PATH).len();
    receiver.reply(PATH, [Reply::Status(200)]);
    stage.await_second(killed).await;
    let sent = |i: &NodeTermination| stands(i, Told::Drained, NotificationState::Sent);
    stage.await_incident(node, "its end is told", sent).await;
    stage.end(node).await;
    let sent = |i: &NodeTermination| stands(i, Told::Completed, NotificationState::Sent);
    stage.await_incident(node, "all is told", sent).await;
    let after = receiver.posted(PATH).split_off(before);
    assert_eq!(stages(&after), ["Drained", "Completed"]);

    assert_eq!(receiver.posted(PLAIN).len(), 1);
    let address = url.trim_start_matches("https://").trim_end_matches(PATH);
    let asked = tunnel.asked();
    assert!(
        !asked.is_empty() && asked.iter().all(|a| a == address),
        "{asked:?}"
    );
}
