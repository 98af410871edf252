//! Who calls and in what form: roles are told apart, malformed requests are refused.

use anyhow::ensure;
use aws_config::sts::AssumeRoleProvider;
use testbed::aws::Aws;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{PATIENCE, client};

#[tokio::test]
async fn calls_of_an_assumed_role_are_told_apart() -> anyhow::Result<()> {
    let aws = Aws::start()?;
    let role = "arn:aws:iam::210987654321:role/drain";
    aws.demand_external_id(role, "tenant-1");
    let queue = aws.create_queue("events")?;
    let base = client::config(&aws.endpoint(), client::credentials(&aws.env())).await;
    for (external_id, allowed) in [("tenant-1", true), ("tenant-2", false)] {
        let provider = AssumeRoleProvider::builder(role)
            .external_id(external_id)
            .session_name("test");
        let provider = provider.configure(&base).build().await;
        let config = aws_sdk_sqs::config::Builder::from(&base).credentials_provider(provider);
        let client = aws_sdk_sqs::Client::from_conf(config.build());
        let request = client.receive_message().queue_url(queue.url());
        ensure!(request.send().await.is_ok() == allowed, "{external_id}");
    }
    let call = aws
        .await_call(PATIENCE, |call| call.operation == "ReceiveMessage")
        .await?;
    ensure!(
        call.role_arn.as_deref() == Some(role) && call.external_id.as_deref() == Some("tenant-1")
    );
    ensure!(call.region.as_deref() == Some("eu-central-1"));
    ensure!(aws.violations().is_empty(), "{:?}", aws.violations());
    Ok(())
}

#[tokio::test]
async fn malformed_requests_are_refused_and_listed() -> anyhow::Result<()> {
    let aws = Aws::start()?;
    aws.create_queue("events")?;
    let url = r#""QueueUrl":"http://x/123456789012/events""#;
    let signed = |service: &str| {
        format!(
            "Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/eu-central-1/\
             {service}/aws4_request, SignedHeaders=host, Signature=00\r\n"
        )
    };
    let json = "Content-Type: application/x-amz-json-1.0\r\nX-Amz-Target: AmazonSQS.";
    let receive = format!("{json}ReceiveMessage\r\n");
    let cases = [
        (
            receive.clone(),
            format!("{{{url}}}"),
            403,
            "MissingAuthenticationToken",
        ),
        (
            signed("autoscaling") + &receive,
            format!("{{{url}}}"),
            403,
            "MissingAuthenticationToken",
        ),
        (
            signed("sqs") + &receive,
            format!("{{{url},\"Odd\":1}}"),
            400,
            "unknown field",
        ),
        (
            signed("sqs") + &receive,
            format!("{{{url},\"WaitTimeSeconds\":\"1\"}}"),
            400,
            "invalid type",
        ),
        (
            signed("sqs") + &receive,
            "{}".into(),
            400,
            "MissingParameter",
        ),
        (
            signed("sqs") + json + "TagQueue\r\n",
            format!("{{{url}}}"),
            400,
            "UnknownOperation",
        ),
        (
            signed("autoscaling"),
            "Action=Odd&Version=2011-01-01".into(),
            400,
            "InvalidAction",
        ),
        (
            signed("autoscaling"),
            "Action=DescribeAutoScalingInstances&Version=2011-01-01&Odd=1".into(),
            400,
            "ValidationError",
        ),
    ];
    let expected = cases.len();
    for (headers, body, status, text) in cases {
        let answer = post(&aws, &headers, &body).await?;
        ensure!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{body}: {answer}"
        );
        ensure!(answer.contains(text), "{body}: {answer}");
    }
    ensure!(aws.violations().len() == expected, "{:?}", aws.violations());
    Ok(())
}

/// Posts without an SDK, which would not let such requests out.
async fn post(aws: &Aws, headers: &str, body: &str) -> anyhow::Result<String> {
    let endpoint = aws.endpoint();
    let host = endpoint.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).await?;
    let length = body.len();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
