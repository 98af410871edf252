//! Notifications: who is told what, how often, and what becomes of those that can not be told.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use node_termination_operator::api::policy::{Stage, TerminationPolicy};
use node_termination_operator::api::termination::{
    NodeTermination, NotificationState, NotificationStatus, Phase,
};
use serde_json::{Value, json};
use testbed::cluster::{PodOptions, delete_node};
use testbed::operator;
use testbed::receiver::{Posted, Reply};

use crate::scene::{Corner, something_else_is_drained, status, within, world};

/// What must not be seen anywhere but at the receiver.
const SECRET: &str = "not-to-be-printed";

/// A path of the receiver that nobody else uses.
fn path(corner: &str) -> String {
    format!("/{corner}/{SECRET}")
}

/// A Secret in the operator's namespace, with the label that gives it to notifications or without.
async fn make_secret(name: &str, labelled: bool, data: &[(&str, &str)]) {
    let client = world().await.control_plane.client().await.unwrap();
    let label = ("nodetermination.dev/notification", "true");
    let data = data.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: labelled.then(|| testbed::cluster::map(&[label])),
            ..ObjectMeta::default()
        },
        string_data: Some(data.collect()),
        ..Secret::default()
    };
    let api = Api::<Secret>::namespaced(client, operator::NAME);
    api.create(&PostParams::default(), &secret).await.unwrap();
}

/// A corner whose policy has these notifications, to the URL of its own path in a Secret, and no source that is
/// waited for before.
async fn corner(name: &str, nodes: usize, mut notification: Value) -> (Corner, String) {
    let corner = Corner::without_policy(name, nodes).await;
    let path = path(&corner.name);
    let url = corner.world.receiver.url(&path);
    make_secret(&corner.name, true, &[("url", &url), ("token", SECRET)]).await;
    let more = json!({
        "name": "hook",
        "urlFrom": {"secretKeyRef": {"name": corner.name, "key": "url"}},
    });
    let fields = notification.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    corner
        .apply_policy(json!({"notifications": [notification]}))
        .await;
    corner.await_polling().await;
    (corner, path)
}

fn rows(incident: &NodeTermination) -> Vec<NotificationStatus> {
    status(incident).notifications
}

/// Waits until nothing is left to be told of the incident.
async fn await_told(corner: &Corner, name: &str, count: usize) -> Vec<NotificationStatus> {
    let told = |i: &NodeTermination| {
        let rows = rows(i);
        rows.len() == count && rows.iter().all(|r| r.state != NotificationState::Pending)
    };
    rows(&corner.await_incident(name, told).await)
}

async fn posted(path: &str, count: usize) -> Vec<Posted> {
    within(world().await.receiver.await_posted(path, count)).await
}

fn bodies(posted: &[Posted]) -> Vec<Value> {
    let parse = |p: &Posted| serde_json::from_str(&p.body).unwrap();
    posted.iter().map(parse).collect()
}

/// The policy's condition about its notifications: its reason and its message.
async fn await_condition(corner: &Corner, reason: &str) -> String {
    let said = |p: &TerminationPolicy| {
        let conditions = p.status.iter().flat_map(|s| &s.conditions);
        let mut of_kind = conditions.filter(|c| c.type_ == "NotificationsValid");
        let said = of_kind.find(|c| c.reason == reason)?;
        Some((said.status.clone(), said.message.clone()))
    };
    corner.await_policy(|p| said(p).is_some()).await;
    let api = Api::<TerminationPolicy>::all(corner.client.clone());
    let policy = api.get(&corner.name).await.unwrap();
    let (status, message) = said(&policy).unwrap();
    assert_eq!(status == "True", reason == "Valid");
    assert!(!message.contains(SECRET), "{message}");
    message
}

#[tokio::test]
async fn each_stage_is_told_once_with_the_documented_body_and_headers_from_secrets() {
    let name = "told";
    let corner = Corner::without_policy(name, 1).await;
    let path = path(&corner.name);
    let url = corner.world.receiver.url(&path);
    let secret = format!("Bearer {SECRET}");
    make_secret(&corner.name, true, &[("url", &url), ("token", &secret)]).await;
    let from = |key: &str| json!({"secretKeyRef": {"name": corner.name, "key": key}});
    let all: Vec<Stage> = Stage::ALL.to_vec();
    let notification = json!({"name": "hook", "urlFrom": from("url"), "stages": all,
        "headers": [{"name": "Authorization", "valueFrom": from("token")}, {"name": "X-Team", "value": "web"}]});
    corner
        .apply_policy(json!({"notifications": [notification]}))
        .await;
    corner.await_polling().await;
    await_condition(&corner, "Valid").await;

    let node = &corner.nodes[0];
    let slow = PodOptions::default().gone_after(Duration::from_secs(3));
    let pods = corner.make_pods(node, 2, slow).await;
    corner.interrupt(node);
    corner.await_gone(&pods).await;
    corner.await_phase(&node.instance_id, Phase::Released).await;
    // Nothing is left to do for the incident but to tell of its end.
    delete_node(&corner.client, &node.name).await.unwrap();
    let stages = [
        Stage::Received,
        Stage::Draining,
        Stage::Drained,
        Stage::Released,
        Stage::Completed,
    ];
    let rows = await_told(&corner, &node.instance_id, stages.len()).await;
    assert_eq!(rows.iter().map(|r| r.stage).collect::<Vec<_>>(), stages);
    assert!(
        rows.iter()
            .all(|r| r.state == NotificationState::Sent && r.sent_at.is_some())
    );
    something_else_is_drained().await;

    let posted = posted(&path, stages.len()).await;
    assert_eq!(posted.len(), stages.len(), "{posted:?}");
    let incident = corner.incident(&node.instance_id).await.unwrap();
    let uid = incident.metadata.uid.clone().unwrap();
    for ((post, body), stage) in posted.iter().zip(bodies(&posted)).zip(stages) {
        assert_eq!(post.method, "POST");
        for (name, value) in [
            ("authorization", secret.as_str()),
            ("x-team", "web"),
            ("content-type", "application/json"),
            ("idempotency-key", body["id"].as_str().unwrap()),
        ] {
            assert_eq!(post.headers[name], value);
        }
        assert_eq!(body["id"], format!("{uid}/hook/{}", stage.as_str()));
        assert_eq!(body["stage"], stage.as_str());
        assert_eq!(body["cluster"], "testbed");
        assert_eq!(body["node"], node.name.as_str());
        assert_eq!(body["instanceID"], node.instance_id.as_str());
        assert_eq!(body["kind"], "SpotInterruption");
    }
    let end = bodies(&posted).pop().unwrap();
    assert_eq!(
        (&end["phase"], &end["outcome"]),
        (&json!("Completed"), &json!("Drained"))
    );
    assert_eq!(end["pods"]["summary"], "2/2");

    let shown = serde_json::to_string(&incident).unwrap();
    let log = world().await.operator.process().tail();
    assert!(!shown.contains(SECRET) && !log.contains(SECRET));
}

#[tokio::test]
async fn a_receiver_that_fails_is_told_again_and_one_that_refuses_is_not() {
    let (corner, path) = corner("again", 2, json!({"stages": ["Received"]})).await;
    let [first, second] = &corner.nodes[..] else {
        panic!("two nodes")
    };
    let receiver = &corner.world.receiver;
    receiver.reply(&path, [Reply::Status(500), Reply::Status(200)]);
    corner.interrupt(first);
    let told = await_told(&corner, &first.instance_id, 1).await;
    assert_eq!(told[0].state, NotificationState::Sent);
    let tried = posted(&path, 2).await;
    assert_eq!(tried.len(), 2);
    // The second attempt says the same, and can be told to be the second.
    assert_eq!(tried[0].body, tried[1].body);
    let key = |p: &Posted| p.headers["idempotency-key"].clone();
    assert_eq!(key(&tried[0]), key(&tried[1]));

    let elsewhere = receiver.url(&format!("{path}/elsewhere"));
    receiver.reply(&path, [Reply::Redirect(elsewhere)]);
    corner.interrupt(second);
    let told = await_told(&corner, &second.instance_id, 1).await;
    assert_eq!(told[0].state, NotificationState::Failed);
    let said = told[0].message.as_deref().unwrap();
    assert_eq!(
        said,
        "answered 307 Temporary Redirect: redirects are not followed"
    );
    something_else_is_drained().await;
    assert_eq!(receiver.posted(&path).len(), 3);
    assert!(receiver.posted(&format!("{path}/elsewhere")).is_empty());
    let failed = "node_termination_operator_notifications_total";
    let labels = ["stage=\"Received\"", "result=\"Failed\""];
    let count = world().await.operator.metric(failed, &labels).await;
    assert!(count.unwrap() >= 1.0);
}

#[tokio::test]
async fn a_receiver_that_never_answers_holds_up_no_drain_and_no_other_receiver() {
    let corner = Corner::without_policy("silent", 1).await;
    let receiver = &corner.world.receiver;
    let (silent, well) = (path(&corner.name), format!("/{}/well", corner.name));
    receiver.reply(&silent, [Reply::Nothing]);
    let stages = json!(["Received", "Drained"]);
    let notification = |name: &str, path: &str| json!({"name": name, "url": receiver.url(path), "stages": stages, "timeoutSeconds": 30});
    let notifications = [notification("silent", &silent), notification("well", &well)];
    corner
        .apply_policy(json!({"notifications": notifications}))
        .await;
    corner.await_polling().await;
    let node = &corner.nodes[0];
    let pods = corner.make_pods(node, 2, PodOptions::default()).await;
    corner.interrupt(node);
    corner.await_gone(&pods).await;
    let incident = corner.await_phase(&node.instance_id, Phase::Released).await;
    posted(&well, 2).await;
    let asked = posted(&silent, 1).await;
    let waited = Timestamp::now().duration_since(rows(&incident)[0].reached_at.0);
    assert!(
        waited.as_secs() < 30,
        "the first attempt has not ended: {waited:?}"
    );
    // The second stage waits for the first: they are told in their order.
    assert_eq!(asked.len(), 1);
}

#[tokio::test]
async fn a_template_makes_the_body_and_one_that_makes_nothing_sends_nothing() {
    let template = r#"{% if stage == "Drained" %}{"text": {{ (node ~ " " ~ object.status.pods.summary ~ " " ~ variables.word) | tojson }}}{% endif %}"#;
    let notification = json!({"template": template, "stages": ["Received", "Drained"],
        "variables": [{"name": "word", "value": "\"quoted\""}]});
    let (corner, path) = corner("words", 1, notification).await;
    let node = &corner.nodes[0];
    let pods = corner.make_pods(node, 1, PodOptions::default()).await;
    corner.interrupt(node);
    corner.await_gone(&pods).await;
    let told = await_told(&corner, &node.instance_id, 2).await;
    let states: Vec<_> = told.iter().map(|r| (r.stage, r.state)).collect();
    let skipped = (Stage::Received, NotificationState::Skipped);
    assert_eq!(states, [skipped, (Stage::Drained, NotificationState::Sent)]);
    let posted = posted(&path, 1).await;
    let text = format!("{} 1/1 \"quoted\"", node.name);
    assert_eq!(bodies(&posted), [json!({"text": text})]);
}

#[tokio::test]
async fn what_can_not_be_sent_is_told_on_the_policy_at_once_and_when_it_is_mended() {
    let corner = Corner::without_policy("trouble", 1).await;
    let path = path(&corner.name);
    let good = corner.world.receiver.url(&path);
    let hidden = format!("{}-hidden", corner.name);
    make_secret(&hidden, false, &[("url", &good)]).await;
    let insecure = format!("http://example.com/{SECRET}");
    let from = |name: &str| json!({"name": "hook", "urlFrom": {"secretKeyRef": {"name": name, "key": "url"}}});
    let cases = [
        (
            json!({"name": "hook", "url": good, "template": "{\n{{ nodename | tojson }}"}),
            "TemplateInvalid",
            "hook: the template, line 2: nothing is called nodename".to_owned(),
        ),
        (
            json!({"name": "hook", "url": insecure}),
            "HTTPNotAllowed",
            "hook: the URL is not https, and --allow-http-notifications is not set".to_owned(),
        ),
        (
            from(&hidden),
            "SecretNotLabelled",
            format!(
                "hook: Secret {hidden} does not have the label nodetermination.dev/notification=true"
            ),
        ),
        (
            from(&corner.name),
            "SecretMissing",
            format!(
                "hook: there is no Secret {} in the namespace node-termination-operator",
                corner.name
            ),
        ),
    ];
    let polls = json!({"notifications": []});
    corner.apply_policy(polls).await;
    corner.await_polling().await;
    for (notification, reason, message) in cases {
        corner
            .change_policy(json!({"notifications": [notification]}))
            .await;
        assert_eq!(await_condition(&corner, reason).await, message);
    }
    // An incident goes on all the same, and is told of when the Secret is there.
    let node = &corner.nodes[0];
    corner.interrupt(node);
    corner.await_phase(&node.instance_id, Phase::Released).await;
    assert!(corner.world.receiver.posted(&path).is_empty());
    make_secret(&corner.name, true, &[("url", &good)]).await;
    await_condition(&corner, "Valid").await;
    posted(&path, 1).await;
}

#[tokio::test]
async fn a_notification_that_comes_later_tells_nothing_of_what_was_before() {
    let corner = Corner::new("later", 1, json!({"limits": {"maxConcurrent": 1}})).await;
    let node = &corner.nodes[0];
    corner.interrupt(node);
    corner.await_phase(&node.instance_id, Phase::Released).await;
    let path = path(&corner.name);
    let notification =
        json!({"name": "hook", "url": corner.world.receiver.url(&path), "stages": Stage::ALL});
    corner
        .change_policy(json!({"notifications": [notification]}))
        .await;
    await_condition(&corner, "Valid").await;
    delete_node(&corner.client, &node.name).await.unwrap();
    let over = corner
        .await_phase(&node.instance_id, Phase::Completed)
        .await;
    something_else_is_drained().await;
    assert!(rows(&over).is_empty());
    assert!(corner.world.receiver.posted(&path).is_empty());
}

#[tokio::test]
async fn a_drain_that_tells_nobody_reads_no_secret_and_one_that_does_writes_a_few_times_more() {
    let (corner, path) = corner("priced", 1, json!({"stages": ["Received", "Drained"]})).await;
    let node = &corner.nodes[0];
    let pods = corner.make_pods(node, 1, PodOptions::default()).await;
    corner.interrupt(node);
    corner.await_gone(&pods).await;
    await_told(&corner, &node.instance_id, 2).await;
    posted(&path, 2).await;
    let writes = corner.requests(|e| e.name == node.instance_id && e.subresource == "status");
    assert!(writes.len() <= 7, "{writes:?}");
    let reads = corner.requests(|e| e.resource == "secrets");
    let of = |name: &str| reads.iter().filter(|e| e.name == name).count();
    assert!((1..=2).contains(&of(&corner.name)), "{reads:?}");
    assert!(reads.iter().all(|e| e.verb == "get"), "{reads:?}");
}

#[tokio::test]
async fn the_examples_are_taken_by_the_api_server() {
    let world = world().await;
    let folder = format!(
        "{}/manifests/examples/notifications",
        env!("CARGO_MANIFEST_DIR")
    );
    let apply = ["apply", "--dry-run=server", "-f", &folder];
    let said = world.control_plane.kubectl(&apply).await.unwrap();
    let mut kinds = BTreeMap::<&str, usize>::new();
    for line in said.lines() {
        *kinds.entry(line.split('/').next().unwrap()).or_default() += 1;
    }
    let policies = kinds.get("terminationpolicy.nodetermination.dev");
    assert_eq!(
        (policies, kinds.get("secret")),
        (Some(&3), Some(&3)),
        "{said}"
    );
}
