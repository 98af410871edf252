//! The HTTP client of all API clients, and the proxy that the environment names for it.
//!
//! Only `https` goes through the proxy: the metadata of the instance and the agent of EKS Pod Identity, which are asked
//! for credentials with the same client, are `http`, and on the same machine.

use aws_sdk_sqs::config::SharedHttpClient;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};

/// `HTTPS_PROXY` names no proxy.
#[derive(Debug, thiserror::Error)]
#[error("HTTPS_PROXY is not the URL of a proxy, such as http://proxy.example.com:3128: {0}")]
pub struct BadProxy(String);

/// The proxy that `HTTPS_PROXY` and `NO_PROXY` ask for, in capitals or not.
pub(super) fn of_env() -> Result<Option<ProxyConfig>, BadProxy> {
    proxy(variable("HTTPS_PROXY"), variable("NO_PROXY"))
}

fn variable(name: &str) -> Option<String> {
    [name.to_owned(), name.to_lowercase()]
        .into_iter()
        .filter_map(std::env::var_os)
        .map(|text| text.to_string_lossy().into_owned())
        .find(|text| !text.is_empty())
}

fn proxy(url: Option<String>, except: Option<String>) -> Result<Option<ProxyConfig>, BadProxy> {
    let Some(url) = url else {
        return Ok(None);
    };
    let proxy = ProxyConfig::https(url).map_err(|error| BadProxy(error.to_string()))?;
    Ok(Some(match except {
        Some(except) => proxy.no_proxy(except),
        None => proxy,
    }))
}

/// One client for everything, with the TLS provider that the rest of the process has.
pub(super) fn http_client(proxy: Option<ProxyConfig>) -> SharedHttpClient {
    let tls = tls::Provider::Rustls(CryptoMode::Ring);
    let Some(proxy) = proxy else {
        return Builder::new().tls_provider(tls).build_https();
    };
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder();
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        let connector = connector.proxy_config(proxy.clone());
        connector.tls_provider(tls.clone()).build()
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
    use tokio::io::{AsyncBufReadExt, BufReader};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;
    use crate::aws::accounts::own_config;

    /// What comes in first while SQS is asked with this client.
    async fn first_words(
        listener: TcpListener,
        http: &SharedHttpClient,
        endpoint: Option<String>,
    ) -> String {
        let credentials = Credentials::new("AKID", "secret", None, None, "test");
        let mut config = own_config("eu-west-1", http).await.into_builder();
        config.set_endpoint_url(endpoint);
        config.set_credentials_provider(Some(SharedCredentialsProvider::new(credentials)));
        let sqs = aws_sdk_sqs::Client::new(&config.build());
        tokio::spawn(async move { sqs.list_queues().send().await.map(drop) });
        let accepted = timeout(Duration::from_secs(30), listener.accept());
        let (stream, _) = accepted.await.unwrap().unwrap();
        let mut stream = BufReader::new(stream);
        String::from_utf8_lossy(stream.fill_buf().await.unwrap()).into_owned()
    }

    async fn listen() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        (listener, url)
    }

    #[tokio::test]
    async fn https_goes_through_the_proxy() {
        let (listener, url) = listen().await;
        let http = http_client(proxy(Some(url), None).unwrap());
        let asked = first_words(listener, &http, None).await;
        let wanted = "CONNECT sqs.eu-west-1.amazonaws.com:443 HTTP/1.1\r\n";
        assert!(asked.starts_with(wanted), "{asked}");
    }

    #[tokio::test]
    async fn http_and_what_no_proxy_names_are_asked_directly() {
        let (_proxy, proxy_url) = listen().await;
        let (listener, url) = listen().await;
        let http = http_client(proxy(Some(proxy_url.clone()), None).unwrap());
        let asked = first_words(listener, &http, Some(url)).await;
        assert!(asked.starts_with("POST / "), "{asked}");

        let (listener, url) = listen().await;
        let except = Some("example.com,127.0.0.1".to_owned());
        let http = http_client(proxy(Some(proxy_url), except).unwrap());
        let tls = url.replace("http:", "https:");
        let asked = first_words(listener, &http, Some(tls)).await;
        assert!(asked.starts_with('\u{16}'), "a TLS greeting: {asked:?}");
    }

    #[test]
    fn a_proxy_that_is_none_is_refused() {
        for url in ["proxy:3128", "socks5://proxy:1080", "http://a b"] {
            let refused = proxy(Some(url.to_owned()), None).map(drop);
            assert!(
                refused
                    .unwrap_err()
                    .to_string()
                    .starts_with("HTTPS_PROXY is not")
            );
        }
    }
}
