//! From the SDK's errors to our reasons.
//!
//! Codes: the "Common errors" pages of the SQS and Auto Scaling API references, and the errors of each action there.
//! SQS speaks JSON but keeps the codes of its former query protocol in a header, which the SDK prefers: a missing queue
//! arrives as `AWS.SimpleQueueService.NonExistentQueue` or as `QueueDoesNotExist`.

use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{ConnectorError, ErrorMetadata, ProvideErrorMetadata, SdkError};

use super::{Error, Operation, Reason};

/// Our error for whatever the SDK returned.
pub(in crate::aws) fn classify<E>(operation: Operation, error: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error {
        SdkError::ServiceError(context) => {
            let status = context.raw().status().as_u16();
            let code = context.err().code().unwrap_or("no code");
            let message = context.err().message().unwrap_or_default();
            refused(operation, code, message, status)
        }
        // A response that is none of the service's: a proxy, or a connection cut in the middle of the body.
        SdkError::ResponseError(context) => match context.raw().status().as_u16() {
            500.. => Error::new(operation, Reason::Unavailable, &describe(error)),
            _ => Error::new(operation, Reason::Unreachable, &describe(error)),
        },
        SdkError::DispatchFailure(failure) => {
            let reason = failure
                .as_connector_error()
                .map_or(Reason::Unreachable, not_sent);
            Error::new(operation, reason, &describe(error))
        }
        SdkError::TimeoutError(_) => Error::new(operation, Reason::TimedOut, &describe(error)),
        _ => Error::new(operation, Reason::InvalidRequest, &describe(error)),
    }
}

/// Our error for a request, or one entry of a batch, that the service refused.
pub(in crate::aws) fn refused(
    operation: Operation,
    code: &str,
    message: &str,
    status: u16,
) -> Error {
    let reason = reason_of(code, message, status);
    if reason == Reason::InvalidRequest && operation.names_receipts() {
        return Error::new(operation, reason, code);
    }
    Error::new(operation, reason, &said(code, message))
}

/// What the service said. About a credential it may quote it (the answer to a bad signature holds the session token): of
/// such only the code is kept.
fn said(code: &str, message: &str) -> String {
    if is_about_credentials(code) || message.is_empty() {
        return code.to_owned();
    }
    format!("{code}: {message}")
}

fn reason_of(code: &str, message: &str, status: u16) -> Reason {
    if is_about_credentials(code) {
        return Reason::Credentials;
    }
    match code.strip_prefix("AWS.SimpleQueueService.").unwrap_or(code) {
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "KMS.ThrottlingException"
        | "KmsThrottled"
        | "OverLimit" => Reason::Throttled,
        "AccessDenied"
        | "AccessDeniedException"
        | "UnauthorizedOperation"
        | "NotAuthorized"
        | "OptInRequired"
        | "KMS.AccessDeniedException"
        | "KmsAccessDenied" => Reason::AccessDenied,
        "QueueDoesNotExist" | "NonExistentQueue" | "ResourceNotFoundException" | "NoSuchEntity" => {
            Reason::NotFound
        }
        "ValidationError" => invalid(message),
        _ => reason_of_status(status),
    }
}

fn is_about_credentials(code: &str) -> bool {
    matches!(
        code,
        "ExpiredToken"
            | "ExpiredTokenException"
            | "RequestExpired"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "SignatureDoesNotMatch"
            | "InvalidSignatureException"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
    )
}

/// Auto Scaling has one code for everything it does not accept; only the text says which.
fn invalid(message: &str) -> Reason {
    let message = message.to_ascii_lowercase();
    if message.contains("no active lifecycle action") {
        Reason::NoActiveAction
    } else if message.contains("group name not found") {
        Reason::NotFound
    } else {
        Reason::InvalidRequest
    }
}

pub(in crate::aws) fn reason_of_status(status: u16) -> Reason {
    match status {
        401 | 403 => Reason::AccessDenied,
        408 => Reason::TimedOut,
        429 => Reason::Throttled,
        500.. => Reason::Unavailable,
        _ => Reason::InvalidRequest,
    }
}

/// Why a request was not sent, or got no response.
fn not_sent(error: &ConnectorError) -> Reason {
    if error.is_timeout() {
        Reason::TimedOut
    } else if error.is_io() || error.as_other().is_some() {
        Reason::Unreachable
    } else if chain(error).any(|cause| is_identity_error(&cause.to_string())) {
        Reason::Credentials
    } else {
        Reason::InvalidRequest
    }
}

/// The SDK hands a failure to load credentials over as a connector error of no kind, and exports neither its type nor
/// that of the time-out: the words of both are what is left to tell them by.
fn is_identity_error(text: &str) -> bool {
    text.contains("credential") || text.contains("identity resolver")
}

pub(in crate::aws) fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// The causes below an error of the SDK, outermost first; its own text ("dispatch failure") says nothing.
pub(in crate::aws) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = chain(error).skip(1).map(|cause| {
        cause
            .downcast_ref::<ErrorMetadata>()
            .map_or_else(|| cause.to_string(), said_in)
    });
    causes.collect::<Vec<_>>().join(": ")
}

fn said_in(metadata: &ErrorMetadata) -> String {
    let code = metadata.code().unwrap_or("no code");
    said(code, metadata.message().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_reasons() {
        let no_action = "No active Lifecycle Action found with instance ID i-0123456789abcdef0";
        let no_group = "AutoScalingGroup name not found - no such group: workers";
        for (code, message, status, reason) in [
            ("QueueDoesNotExist", "", 400, Reason::NotFound),
            (
                "AWS.SimpleQueueService.NonExistentQueue",
                "",
                400,
                Reason::NotFound,
            ),
            ("ValidationError", no_group, 400, Reason::NotFound),
            ("ValidationError", no_action, 400, Reason::NoActiveAction),
            (
                "ValidationError",
                "1 validation error detected",
                400,
                Reason::InvalidRequest,
            ),
            ("RequestThrottled", "", 403, Reason::Throttled),
            (
                "ThrottlingException",
                "Rate exceeded",
                400,
                Reason::Throttled,
            ),
            ("Throttling", "Rate exceeded", 400, Reason::Throttled),
            ("no code", "", 429, Reason::Throttled),
            ("AccessDenied", "", 403, Reason::AccessDenied),
            ("AccessDeniedException", "", 400, Reason::AccessDenied),
            ("no code", "", 403, Reason::AccessDenied),
            ("ExpiredToken", "", 403, Reason::Credentials),
            ("InvalidClientTokenId", "", 403, Reason::Credentials),
            ("SignatureDoesNotMatch", "", 403, Reason::Credentials),
            ("InternalFailure", "", 500, Reason::Unavailable),
            ("ServiceUnavailable", "", 503, Reason::Unavailable),
            ("ReceiptHandleIsInvalid", "", 400, Reason::InvalidRequest),
            ("InvalidAddress", "", 400, Reason::InvalidRequest),
        ] {
            assert_eq!(reason_of(code, message, status), reason, "{code} {status}");
        }
    }

    #[test]
    fn messages_hold_no_secrets() {
        let quoted = "The input receipt handle \"AQEBhandle\" is not a valid receipt handle.";
        let canonical = "The signature does not match.\n\nx-amz-security-token:FwoGsecret";
        let receive = Operation::ReceiveMessage;
        let delete = Operation::DeleteMessageBatch;
        for (operation, code, message, kept) in [
            (
                delete,
                "ReceiptHandleIsInvalid",
                quoted,
                "ReceiptHandleIsInvalid",
            ),
            (
                receive,
                "SignatureDoesNotMatch",
                canonical,
                "SignatureDoesNotMatch",
            ),
            (
                delete,
                "AccessDenied",
                "User x may not",
                "AccessDenied: User x may not",
            ),
            (receive, "Odd", "first line\nsecond line", "Odd: first line"),
        ] {
            assert_eq!(refused(operation, code, message, 400).message, kept);
        }
    }
}
