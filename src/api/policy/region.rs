//! The region a queue's URL names.

use super::SqsSource;

/// The ends of the host names of SQS: public, China, European Sovereign Cloud, and their dual-stack forms (AWS General
/// Reference, "Amazon SQS endpoints and quotas").
const DOMAINS: [&str; 6] = [
    ".amazonaws.com",
    ".amazonaws.com.cn",
    ".amazonaws.eu",
    ".api.aws",
    ".api.amazonwebservices.com.cn",
    ".api.amazonwebservices.eu",
];

impl SqsSource {
    /// The queue's region: as it is set, else as the URL names it.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        let of_url = || region_of_queue(&self.queue_url);
        self.region.as_deref().or_else(of_url)
    }
}

/// The region in the host of a queue's URL, in any of the forms of the SQS endpoints; `None` for any other host.
#[must_use]
pub fn region_of_queue(url: &str) -> Option<&str> {
    let (_scheme, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?;
    let host = authority.split(':').next()?;
    let service = DOMAINS.iter().find_map(|end| host.strip_suffix(end))?;
    let region = match service.strip_suffix(".vpce") {
        Some(endpoint) => endpoint.split_once(".sqs.")?.1,
        None => of_service(service)?,
    };
    is_region(region).then_some(region)
}

fn of_service(service: &str) -> Option<&str> {
    service
        .strip_prefix("sqs.")
        .or_else(|| service.strip_prefix("sqs-fips."))
        .or_else(|| service.strip_suffix(".queue"))
}

/// Such as `eu-west-1`, `us-gov-east-1`, `eusc-de-east-1`.
fn is_region(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.contains('-') && text.ends_with(|c: char| c.is_ascii_digit()) && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::region_of_queue;

    #[test]
    fn the_region_is_read_from_every_form_of_endpoint() {
        for (host, region) in [
            ("sqs.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("sqs.eu-west-1.amazonaws.com:443", Some("eu-west-1")),
            ("sqs.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("sqs.us-gov-east-1.amazonaws.com", Some("us-gov-east-1")),
            ("sqs.eusc-de-east-1.amazonaws.eu", Some("eusc-de-east-1")),
            ("eu-west-1.queue.amazonaws.com", Some("eu-west-1")),
            ("cn-north-1.queue.amazonaws.com.cn", Some("cn-north-1")),
            ("sqs-fips.us-east-1.amazonaws.com", Some("us-east-1")),
            (
                "vpce-0a1b-2c3d.sqs.eu-west-1.vpce.amazonaws.com",
                Some("eu-west-1"),
            ),
            (
                "vpce-0a1b-2c3d-eu-west-1a.sqs.eu-west-1.vpce.amazonaws.com",
                Some("eu-west-1"),
            ),
            ("sqs.eu-west-1.api.aws", Some("eu-west-1")),
            ("sqs-fips.us-east-1.api.aws", Some("us-east-1")),
            (
                "sqs.cn-north-1.api.amazonwebservices.com.cn",
                Some("cn-north-1"),
            ),
            ("sqs.eu-west-1.amazonaws.com.example.com", None),
            ("sqs.eu-west-1.amazonaws.com@example.com", None),
            ("sns.eu-west-1.amazonaws.com", None),
            ("sqs.amazonaws.com", None),
            ("queue.amazonaws.com", None),
            ("sqs..amazonaws.com", None),
            ("vpce-0a1b.ec2.eu-west-1.vpce.amazonaws.com", None),
            ("localhost:4566", None),
            ("127.0.0.1:4566", None),
        ] {
            let url = format!("https://{host}/123456789012/notices");
            assert_eq!(region_of_queue(&url), region, "{host}");
        }
        assert_eq!(region_of_queue("sqs.eu-west-1.amazonaws.com"), None);
    }
}
