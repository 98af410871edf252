//! Where a policy hears of events: which sources are refused, and when a region is asked for.

use node_termination_operator::api::policy::{TerminationPolicy, region_of_queue};
use serde_json::{Value, json};

use super::{URL, assert_refused, at, create, queue, queue_at, sources};

#[tokio::test]
async fn a_source_that_can_not_work_is_refused_with_the_reason() {
    let names: Vec<String> = (0..17).map(|n| format!("events-{n}")).collect();
    let seventeen: Vec<Value> = names.iter().map(|n| queue(n, &json!({}))).collect();
    let one_of = "source: exactly one of sqs, imds must be set";
    let url = "queueURL: must look like https://sqs.REGION.amazonaws.com/ACCOUNT/QUEUE";
    let refused = [
        (
            "both sorts of source",
            sources(&[json!({"name": "events", "sqs": {"queueURL": URL}, "imds": {}})]),
            one_of,
        ),
        (
            "no sort of source",
            sources(&[json!({"name": "events"})]),
            one_of,
        ),
        ("a queue's name for its URL", at("node-events-of-all"), url),
        (
            "an ARN for a URL",
            at("arn:aws:sqs:eu-west-1:123456789012:node-events"),
            url,
        ),
        (
            "no account",
            at("https://sqs.eu-west-1.amazonaws.com/node-events"),
            url,
        ),
        ("a query", at(&format!("{URL}?Action=SendMessage")), url),
        (
            "a path of its own",
            at("https://sqs.eu-west-1.amazonaws.com/queues/123456789012/q"),
            url,
        ),
        (
            "an ID without a role",
            sources(&[queue("events", &json!({"externalID": "secret"}))]),
            "externalID: it is sent when a role is assumed, so sqs.roleARN must be set",
        ),
        (
            "no role at all",
            sources(&[queue(
                "events",
                &json!({"roleARN": "arn:aws:iam::123456789012:user/me"}),
            )]),
            "spec.sources[0].sqs.roleARN in body should match",
        ),
        (
            "no source",
            sources(&[]),
            "spec.sources in body should have at least 1 items",
        ),
        (
            "too many sources",
            sources(&seventeen),
            "spec.sources: Too many: 17: must have at most 16 items",
        ),
        (
            "two sources of one name",
            sources(&[queue("events", &json!({})), queue("events", &json!({}))]),
            r#"spec.sources[1]: Duplicate value: {"name":"events"}"#,
        ),
        (
            "no receiver",
            sources(&[queue("events", &json!({"receivers": 0}))]),
            "spec.sources[0].sqs.receivers in body should be greater than or equal to 1",
        ),
    ];
    for (what, object, message) in refused {
        assert_refused(what, &object, message).await;
    }
}

/// The rule and the operator read the same URLs: else a policy would be accepted that can not work.
#[tokio::test]
async fn a_region_is_asked_for_just_when_the_operator_can_not_read_one_from_the_url() {
    let hosts = [
        "sqs.eu-west-1.amazonaws.com",
        "sqs.eu-west-1.amazonaws.com:443",
        "sqs.cn-north-1.amazonaws.com.cn",
        "sqs.us-gov-east-1.amazonaws.com",
        "sqs.eusc-de-east-1.amazonaws.eu",
        "eu-west-1.queue.amazonaws.com",
        "cn-north-1.queue.amazonaws.com.cn",
        "sqs-fips.us-east-1.amazonaws.com",
        "vpce-0a1b-2c3d-eu-west-1a.sqs.eu-west-1.vpce.amazonaws.com",
        "sqs.eu-west-1.api.aws",
        "sqs.cn-north-1.api.amazonwebservices.com.cn",
        "sqs.eu-west-1.amazonaws.com.example.com",
        "sqs.eu-west-1.example.com",
        "example.com.sqs.eu-west-1.amazonaws.com",
        "sqs.amazonaws.com",
        "queue.amazonaws.com",
        "sns.eu-west-1.amazonaws.com",
        "vpce-0a1b.ec2.eu-west-1.vpce.amazonaws.com",
        "localhost:4566",
    ];
    for (scheme, host) in ["https", "http"].iter().flat_map(|s| hosts.map(|h| (s, h))) {
        let url = format!("{scheme}://{host}/123456789012/node-events");
        let said = create::<TerminationPolicy>(&at(&url)).await.err();
        let asked = said.as_ref().is_some_and(|s| {
            s.contains("region: the queue URL names no region, so sqs.region must be set")
        });
        assert_eq!(asked, said.is_some(), "{url}: {said:?}");
        assert_eq!(asked, region_of_queue(&url).is_none(), "{url}");
        let named = queue_at("events", &url, &json!({"region": "eu-west-1"}));
        create::<TerminationPolicy>(&sources(&[named]))
            .await
            .unwrap();
    }
}
