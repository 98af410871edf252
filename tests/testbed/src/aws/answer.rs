//! Answers and errors in AWS's wire forms: JSON 1.0, Query/XML, and EC2's own kind of the latter.

use std::fmt::Write;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::Response,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::request::Service;

/// An error as AWS answers it.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    pub status: u16,
    /// The name of the error's shape with its namespace: the JSON form's `__type`.
    pub shape: String,
    /// The Query form's code, which JSON answers repeat in `x-amzn-query-error`.
    pub code: String,
    pub message: String,
    /// Whether the client broke the API's rules, rather than met a state.
    pub violation: bool,
}

impl ApiError {
    /// An error of the SQS model whose Query code is its shape's name.
    pub fn sqs(name: &str, message: impl Into<String>) -> Self {
        Self::new(400, &format!("com.amazonaws.sqs#{name}"), name, message)
    }

    /// An error of the SQS model whose Query code is older than its shape's name.
    pub fn legacy_sqs(name: &str, code: &str, message: impl Into<String>) -> Self {
        let code = format!("AWS.SimpleQueueService.{code}");
        Self::new(400, &format!("com.amazonaws.sqs#{name}"), &code, message)
    }

    /// An error of the framework under all services: a bad value or a refusal, not in the service's model.
    pub fn coral(status: u16, code: &str, message: impl Into<String>) -> Self {
        let shape = format!("com.amazon.coral.service#{code}Exception");
        Self::new(status, &shape, code, message)
    }

    /// The error that Auto Scaling gives for everything it does not accept.
    pub fn validation(message: impl Into<String>) -> Self {
        Self::coral(400, "ValidationError", message)
    }

    fn new(status: u16, shape: &str, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            shape: shape.into(),
            code: code.into(),
            message: message.into(),
            violation: false,
        }
    }

    /// Marks it as the client's fault.
    pub fn broken_rule(mut self) -> Self {
        self.violation = true;
        self
    }

    /// The error's name without namespace, as the SDKs name it.
    pub fn name(&self, service: Service) -> &str {
        match service {
            Service::Sqs => self.shape.rsplit('#').next().unwrap_or_default(),
            _ => &self.code,
        }
    }

    fn fault(&self) -> &'static str {
        if self.status < 500 {
            "Sender"
        } else {
            "Receiver"
        }
    }
}

/// Renders what an operation came to.
pub(super) fn render(
    service: Service,
    operation: &str,
    result: &Result<Value, ApiError>,
) -> Response {
    let request_id = Uuid::new_v4().to_string();
    let status = result.as_ref().map_or_else(|error| error.status, |_| 200);
    let (content_type, body) = match (service, result) {
        (Service::Sqs, Ok(value)) => ("application/x-amz-json-1.0", value.to_string()),
        (Service::Sqs, Err(error)) => ("application/x-amz-json-1.0", json_error(error)),
        (Service::Ec2, Ok(value)) => ("text/xml", ec2_answer(operation, value, &request_id)),
        (Service::Ec2, Err(error)) => ("text/xml", ec2_error(error, &request_id)),
        (_, Ok(value)) => (
            "text/xml",
            xml_answer(service, operation, value, &request_id),
        ),
        (_, Err(error)) => ("text/xml", xml_error(service, error, &request_id)),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        headers.insert("x-amzn-requestid", id);
    }
    if let (Service::Sqs, Err(error)) = (service, result)
        && let Ok(code) = HeaderValue::from_str(&format!("{};{}", error.code, error.fault()))
    {
        headers.insert("x-amzn-query-error", code);
    }
    response
}

fn json_error(error: &ApiError) -> String {
    json!({ "__type": error.shape, "message": error.message }).to_string()
}

fn xml_answer(service: Service, operation: &str, value: &Value, request_id: &str) -> String {
    let mut body = format!(
        r#"<{operation}Response xmlns="{}"><{operation}Result>"#,
        service.namespace()
    );
    write_xml(&mut body, value, "member");
    let _ = write!(
        body,
        "</{operation}Result><ResponseMetadata><RequestId>{request_id}</RequestId>\
         </ResponseMetadata></{operation}Response>"
    );
    body
}

fn xml_error(service: Service, error: &ApiError, request_id: &str) -> String {
    let mut body = format!(r#"<ErrorResponse xmlns="{}">"#, service.namespace());
    let fields = json!({ "Code": error.code, "Message": error.message, "Type": error.fault() });
    write_xml(&mut body, &json!({ "Error": fields }), "member");
    let _ = write!(body, "<RequestId>{request_id}</RequestId></ErrorResponse>");
    body
}

/// EC2 has no result element, and its lists are of `item`.
fn ec2_answer(operation: &str, value: &Value, request_id: &str) -> String {
    let mut body = format!(
        r#"<{operation}Response xmlns="{}"><requestId>{request_id}</requestId>"#,
        Service::Ec2.namespace()
    );
    write_xml(&mut body, value, "item");
    let _ = write!(body, "</{operation}Response>");
    body
}

fn ec2_error(error: &ApiError, request_id: &str) -> String {
    let fields = json!({ "Code": error.code, "Message": error.message });
    let mut body = String::from("<Response>");
    write_xml(&mut body, &json!({ "Errors": { "Error": fields } }), "item");
    let _ = write!(body, "<RequestID>{request_id}</RequestID></Response>");
    body
}

/// Objects become elements, and lists become elements called `entry`: `member` in the Query protocol.
fn write_xml(out: &mut String, value: &Value, entry: &str) {
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, field)| element(out, name, field, entry)),
        Value::Array(items) => items
            .iter()
            .for_each(|item| element(out, entry, item, entry)),
        Value::String(text) => out.push_str(&escape(text)),
        Value::Null => {}
        scalar => out.push_str(&scalar.to_string()),
    }
}

fn element(out: &mut String, name: &str, value: &Value, entry: &str) {
    let _ = write!(out, "<{name}>");
    write_xml(out, value, entry);
    let _ = write!(out, "</{name}>");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
