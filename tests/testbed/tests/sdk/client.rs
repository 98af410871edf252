//! The real SDK, set up as the operator sets it up: rustls with ring, no retries that would hide an answer.

use aws_config::{Region, SdkConfig, retry::RetryConfig};
use aws_sdk_sqs::config::Credentials;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

/// A configuration for an endpoint, with fixed credentials.
pub async fn config(endpoint: &str, credentials: Credentials) -> SdkConfig {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    aws_config::from_env()
        .http_client(http)
        .region(Region::new("eu-central-1"))
        .endpoint_url(endpoint)
        .credentials_provider(credentials)
        .retry_config(RetryConfig::disabled())
        .load()
        .await
}

/// The credentials that a test environment names.
pub fn credentials(environment: &[(String, String)]) -> Credentials {
    let value = |name| {
        let found = environment.iter().find(|(key, _)| key == name);
        found.map_or("test", |(_, value)| value)
    };
    let (id, secret) = (value("AWS_ACCESS_KEY_ID"), value("AWS_SECRET_ACCESS_KEY"));
    Credentials::new(id, secret, None, None, "test")
}
