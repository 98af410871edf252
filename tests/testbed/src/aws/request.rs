//! Reads a request: which service, which operation, which parameters.

use axum::{
    body::Bytes,
    http::{HeaderMap, Method, header::CONTENT_TYPE},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::answer::ApiError;

/// The services that stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Sqs,
    AutoScaling,
    Ec2,
    Sts,
    Unknown,
}

impl Service {
    /// The name in a signature's credential scope.
    pub fn signing_name(self) -> &'static str {
        match self {
            Self::Sqs => "sqs",
            Self::AutoScaling => "autoscaling",
            Self::Ec2 => "ec2",
            Self::Sts => "sts",
            Self::Unknown => "unknown",
        }
    }

    /// The XML namespace of the service's answers.
    pub fn namespace(self) -> &'static str {
        match self {
            Self::AutoScaling => "http://autoscaling.amazonaws.com/doc/2011-01-01/",
            Self::Ec2 => "http://ec2.amazonaws.com/doc/2016-11-15/",
            Self::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
            Self::Sqs | Self::Unknown => "http://queue.amazonaws.com/doc/2012-11-05/",
        }
    }
}

/// A request as it was understood; `flaw` says why it cannot be served.
#[derive(Debug)]
pub(super) struct Asked {
    pub service: Service,
    pub operation: String,
    pub params: Value,
    pub flaw: Option<ApiError>,
}

impl Asked {
    /// Takes the parameters as the operation's input; unknown, missing and mistyped members are refused.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        T::deserialize(&self.params).map_err(|error| {
            let error = error.to_string();
            let code = match (self.service, error.starts_with("missing field")) {
                (Service::Sqs, true) => "MissingParameter",
                (Service::Sqs, false) => "Serialization",
                _ => "ValidationError",
            };
            ApiError::coral(400, code, error).broken_rule()
        })
    }

    /// Whether the request is about the queue of this name.
    pub fn concerns_queue(&self, name: &str) -> bool {
        let url = self.params["QueueUrl"].as_str().unwrap_or_default();
        url.rsplit('/').next() == Some(name) || self.params["QueueName"] == name
    }
}

impl Asked {
    /// Whether one of the request's filters has this value.
    pub fn concerns_filter(&self, of: &str) -> bool {
        let params = self.params.as_object().into_iter().flatten();
        let mut filters = params.filter(|(name, _)| name.starts_with("Filter."));
        filters.any(|(_, value)| value == of)
    }
}

/// Reads the JSON form when there is a target header, else the Query form.
pub(super) fn read(method: &Method, headers: &HeaderMap, body: &Bytes) -> Asked {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let mut asked = match header("x-amz-target") {
        Some(target) => read_json(target, header(CONTENT_TYPE.as_str()), body),
        None => read_query(body),
    };
    if method != Method::POST {
        asked.flaw = Some(refusal("InvalidAction", "only POST is accepted"));
    }
    asked
}

fn read_json(target: &str, content_type: Option<&str>, body: &Bytes) -> Asked {
    let (prefix, operation) = target.split_once('.').unwrap_or(("", target));
    let params = serde_json::from_slice(body);
    let flaw = match (prefix, content_type, &params) {
        ("AmazonSQS", Some("application/x-amz-json-1.0"), Ok(Value::Object(_))) => None,
        ("AmazonSQS", Some("application/x-amz-json-1.0"), _) => {
            Some(refusal("Serialization", "the body is no JSON object"))
        }
        ("AmazonSQS", ..) => Some(refusal("Serialization", "wrong content type")),
        _ => Some(refusal("UnknownOperation", "unknown target")),
    };
    Asked {
        service: if prefix == "AmazonSQS" {
            Service::Sqs
        } else {
            Service::Unknown
        },
        operation: operation.into(),
        params: params.unwrap_or_default(),
        flaw,
    }
}

fn read_query(body: &Bytes) -> Asked {
    let mut params = Map::new();
    for (key, value) in form_urlencoded::parse(body) {
        insert(&mut params, &key, value.into_owned());
    }
    let mut take = |key| {
        params
            .remove(key)
            .and_then(|value| value.as_str().map(String::from))
    };
    let operation = take("Action").unwrap_or_default();
    let service = match take("Version").as_deref() {
        Some("2011-01-01") => Service::AutoScaling,
        Some("2011-06-15") => Service::Sts,
        Some("2016-11-15") => Service::Ec2,
        _ => Service::Unknown,
    };
    let unknown = || refusal("InvalidAction", "no known API version");
    Asked {
        service,
        operation,
        params: Value::Object(params),
        flaw: (service == Service::Unknown).then(unknown),
    }
}

/// Lists are flattened to `Name.member.1` and so on, in order.
fn insert(params: &mut Map<String, Value>, key: &str, value: String) {
    match key.split_once(".member.") {
        Some((list, index)) if index.parse::<u32>().is_ok() => {
            let list = params
                .entry(list)
                .or_insert_with(|| Value::Array(Vec::new()));
            if let Some(list) = list.as_array_mut() {
                list.push(Value::String(value));
            }
        }
        _ => {
            params.insert(key.into(), Value::String(value));
        }
    }
}

/// The refusal of an operation that the service, or this stand-in, does not have.
pub(super) fn unknown_operation(asked: &Asked) -> ApiError {
    let message = format!("Could not find operation {}", asked.operation);
    match asked.service {
        Service::Sqs => refusal("UnknownOperation", &message),
        _ => refusal("InvalidAction", &message),
    }
}

fn refusal(code: &str, message: &str) -> ApiError {
    ApiError::coral(400, code, message).broken_rule()
}
