//! The real SDK over HTTP against canned answers on loopback.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use axum::Router;
use axum::http::StatusCode;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::TcpListener;

use super::accounts::{assume_role, own_config};
use super::*;

/// A server that answers everything alike and keeps the bodies it was sent.
struct Canned {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Canned {
    async fn start(status: u16, body: &str) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (kept, body) = (Arc::clone(&requests), body.to_owned());
        let answer = async move |request: String| {
            kept.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(request);
            (StatusCode::from_u16(status).unwrap(), body)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer);
        tokio::spawn(async { axum::serve(listener, router).await });
        Self { url, requests }
    }

    async fn config(&self) -> SdkConfig {
        let credentials = Credentials::new("AKID", "secret", None, None, "test");
        let own = config().await.into_builder().endpoint_url(&self.url);
        own.credentials_provider(SharedCredentialsProvider::new(credentials))
            .build()
    }

    async fn queue(&self) -> (Queue, Registry) {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let clients = Clients::new(self.config().await);
        (Queue::new(clients.sqs, "queue", metrics), registry)
    }

    async fn lifecycle(&self) -> Lifecycle {
        let metrics = Metrics::register(&mut Registry::default());
        let clients = Clients::new(self.config().await);
        Lifecycle::new(clients.auto_scaling, Arc::new(Semaphore::new(1)), metrics)
    }

    fn requests(&self) -> Vec<String> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// What production runs with, but for the endpoint and the credentials.
async fn config() -> SdkConfig {
    let aws = Aws::new(Metrics::register(&mut Registry::default())).unwrap();
    own_config("eu-west-1", &aws.shared.http).await
}

fn action() -> LifecycleAction {
    LifecycleAction {
        group: "workers".to_owned(),
        hook: "drain".to_owned(),
        token: Some("0f4ae510".to_owned()),
        instance_id: "i-0123456789abcdef0".to_owned(),
    }
}

fn receipt(handle: &str) -> ReceiptHandle {
    handle.to_owned().into()
}

fn refusal(code: &str, message: &str) -> String {
    format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{message}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    )
}

#[tokio::test]
async fn a_message_is_received_with_its_count_and_time() {
    let answer = json!({ "Messages": [{
        "MessageId": "m", "ReceiptHandle": "r", "Body": "text",
        "Attributes": { "ApproximateReceiveCount": "3", "SentTimestamp": "1700000000123" },
    }] });
    let server = Canned::start(200, &answer.to_string()).await;
    let (queue, registry) = server.queue().await;

    let visibility = Duration::from_millis(29_500);
    let messages = queue.receive(Duration::from_secs(1), visibility).await;

    let expected = Message {
        id: "m".to_owned(),
        receipt: receipt("r"),
        body: "text".to_owned(),
        receive_count: 3,
        sent_at: Some("2023-11-14T22:13:20.123Z".parse().unwrap()),
    };
    assert_eq!(messages, Ok(vec![expected]));
    assert!(server.requests()[0].contains(r#""VisibilityTimeout":30"#));
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    let line = r#"aws_calls_total{operation="ReceiveMessage",result="Success"} 1"#;
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn a_batch_tells_which_of_its_messages_failed() {
    let answer = json!({ "Successful": [], "Failed": [{
        "Id": "1", "SenderFault": true, "Code": "ReceiptHandleIsInvalid", "Message": "not two",
    }] });
    let server = Canned::start(200, &answer.to_string()).await;
    let (queue, _) = server.queue().await;

    let failed = queue.delete(&[receipt("one"), receipt("two")]).await;

    let [(handle, error)] = &failed[..] else {
        panic!("{failed:?}");
    };
    assert_eq!(*handle, receipt("two"));
    assert_eq!(error.reason, Reason::InvalidRequest);
    assert!(!error.to_string().contains("two"));
}

#[tokio::test]
async fn a_batch_that_is_refused_failed_for_all_its_messages() {
    let answer = json!({ "__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "none" });
    let server = Canned::start(400, &answer.to_string()).await;
    let (queue, registry) = server.queue().await;
    let messages: Vec<_> = (0..11)
        .map(|n| (receipt(&n.to_string()), Duration::ZERO))
        .collect();

    let failed = queue.release(&messages).await;

    assert_eq!(failed.len(), 11);
    assert!(failed.iter().all(|(_, e)| e.reason == Reason::NotFound));
    assert_eq!(server.requests().len(), 2, "no retries, ten to a call");
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    let line = r#"operation="ChangeMessageVisibilityBatch",result="NotFound"} 2"#;
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn an_action_that_is_over_is_told_apart() {
    let message = "No active Lifecycle Action found with token 0f4ae510";
    let server = Canned::start(400, &refusal("ValidationError", message)).await;
    let lifecycle = server.lifecycle().await;

    let heartbeat = lifecycle.heartbeat(&action()).await;
    let complete = lifecycle
        .complete(&action(), LifecycleResult::Continue)
        .await;

    assert_eq!(heartbeat.unwrap_err().reason, Reason::NoActiveAction);
    assert_eq!(complete.unwrap_err().reason, Reason::NoActiveAction);
    let sent = server.requests();
    assert!(
        sent[1].contains("LifecycleActionToken=0f4ae510"),
        "{sent:?}"
    );
    assert!(
        sent[1].contains("LifecycleActionResult=CONTINUE"),
        "{sent:?}"
    );
}

#[tokio::test]
async fn hooks_are_read_with_their_timeouts() {
    let answer = "<DescribeLifecycleHooksResponse><DescribeLifecycleHooksResult><LifecycleHooks>\
        <member><LifecycleHookName>drain</LifecycleHookName>\
        <LifecycleTransition>autoscaling:EC2_INSTANCE_TERMINATING</LifecycleTransition>\
        <HeartbeatTimeout>300</HeartbeatTimeout><GlobalTimeout>30000</GlobalTimeout>\
        <DefaultResult>CONTINUE</DefaultResult></member>\
        </LifecycleHooks></DescribeLifecycleHooksResult></DescribeLifecycleHooksResponse>";
    let server = Canned::start(200, answer).await;

    let hooks = server.lifecycle().await.hooks("workers").await.unwrap();

    let hook = Hook {
        name: "drain".to_owned(),
        transition: "autoscaling:EC2_INSTANCE_TERMINATING".to_owned(),
        heartbeat_timeout: Duration::from_mins(5),
        global_timeout: Duration::from_mins(500),
        default_result: "CONTINUE".to_owned(),
    };
    assert_eq!(hooks, vec![hook]);
}

/// An account of that region, all of whose calls go to `url`.
async fn account(aws: &Aws, region: &str, server: &Canned) -> Account {
    let account = Account {
        region: region.to_owned(),
        role_arn: None,
        external_id: None,
    };
    let clients = Clients::new(server.config().await);
    let mut accounts = aws.shared.accounts.lock().await;
    accounts.keep(account.clone(), clients);
    account
}

#[tokio::test]
async fn a_groups_hooks_are_asked_for_once_in_each_account_and_a_silent_one_holds_up_no_other() {
    let answer = "<DescribeLifecycleHooksResponse><DescribeLifecycleHooksResult><LifecycleHooks/>\
        </DescribeLifecycleHooksResult></DescribeLifecycleHooksResponse>";
    let aws = Aws::new(Metrics::register(&mut Registry::default())).unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = Canned {
        url: format!("http://{}", silent.local_addr().unwrap()),
        requests: Arc::default(),
    };
    let silent = account(&aws, "eu-west-1", &silent).await;
    let server = Canned::start(200, answer).await;
    let answers = account(&aws, "eu-west-2", &server).await;
    let cache = HookCache::default();
    let twice = async {
        for _twice in 0..2 {
            let hooks = cache.hooks(&aws, &answers, "workers").await;
            assert_eq!(hooks, Ok(Vec::new()));
        }
    };
    tokio::select! {
        biased;
        late = cache.hooks(&aws, &silent, "workers") => panic!("{late:?}"),
        () = twice => {}
    }
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_instance_is_read_with_its_group_and_state_or_is_in_no_group() {
    let member = "<member><InstanceId>i-0123456789abcdef0</InstanceId>\
        <AutoScalingGroupName>workers</AutoScalingGroupName><AvailabilityZone>eu-west-1a</AvailabilityZone>\
        <LifecycleState>Terminating:Wait</LifecycleState><HealthStatus>HEALTHY</HealthStatus>\
        <ProtectedFromScaleIn>false</ProtectedFromScaleIn></member>";
    let found = Instance {
        group: "workers".to_owned(),
        state: "Terminating:Wait".to_owned(),
    };
    for (members, expected) in [(member, Some(found)), ("", None)] {
        let answer = format!(
            "<DescribeAutoScalingInstancesResponse><DescribeAutoScalingInstancesResult><AutoScalingInstances>{members}\
            </AutoScalingInstances></DescribeAutoScalingInstancesResult></DescribeAutoScalingInstancesResponse>"
        );
        let server = Canned::start(200, &answer).await;

        let id = action().instance_id;

        let instance = server.lifecycle().await.instance(&id).await;

        assert_eq!(instance.unwrap(), expected);
        let asked = format!("InstanceIds.member.1={id}");
        assert!(server.requests()[0].contains(&asked));
    }
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    let server = Canned {
        url: "http://127.0.0.1:1".to_owned(),
        requests: Arc::default(),
    };

    let error = server.lifecycle().await.hooks("workers").await.unwrap_err();

    assert_eq!(error.reason, Reason::Unreachable, "{error}");
}

#[tokio::test]
async fn a_role_that_is_not_ours_to_assume_is_a_matter_of_credentials() {
    let message = "User u is not authorized to perform sts:AssumeRole";
    let server = Canned::start(403, &refusal("AccessDenied", message)).await;
    let role = "arn:aws:iam::123456789012:role/notices";
    let config = assume_role(&server.config().await, role, Some("external")).await;
    let metrics = Metrics::register(&mut Registry::default());
    let queue = Queue::new(Clients::new(config).sqs, "queue", metrics);

    let error = queue.receive(Duration::ZERO, Duration::ZERO).await;

    let error = error.unwrap_err();
    assert_eq!(error.reason, Reason::Credentials);
    assert!(error.message.contains(message), "{error}");
    let sent = server.requests();
    assert_eq!(sent.len(), 1, "STS is asked once, SQS not at all");
    assert!(sent[0].contains("ExternalId=external"), "{sent:?}");
}

#[tokio::test]
async fn no_credentials_are_a_matter_of_credentials() {
    let own = config().await;
    let environment = ProviderConfig::empty().with_http_client(own.http_client().unwrap());
    let none = ProfileFileCredentialsProvider::builder()
        .configure(&environment)
        .profile_name("no-such-profile")
        .build();
    let config = own
        .into_builder()
        .credentials_provider(SharedCredentialsProvider::new(none))
        .build();
    let metrics = Metrics::register(&mut Registry::default());
    let queue = Queue::new(Clients::new(config).sqs, "queue", metrics);

    let failed = queue.delete(&[receipt("one")]).await;

    assert_eq!(failed[0].1.reason, Reason::Credentials, "{failed:?}");
}
