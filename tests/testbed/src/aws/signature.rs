//! Who signed a request. The signature's form and scope are checked, its digest is not.

use std::collections::HashMap;

use axum::http::{HeaderMap, HeaderValue};
use uuid::Uuid;

use super::{answer::ApiError, request::Service};

/// The access key id of the base credentials.
pub(super) const ACCESS_KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
/// The secret of the base credentials: AWS's own documentation example.
pub(super) const SECRET_ACCESS_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// What a signature says about the caller.
#[derive(Clone, Debug, Default)]
pub(super) struct Signer {
    pub region: String,
    pub role_arn: Option<String>,
    pub external_id: Option<String>,
}

/// A role's temporary credentials.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub token: String,
    role_arn: String,
    external_id: Option<String>,
}

/// The credentials that were handed out, by access key id.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    sessions: HashMap<String, Session>,
    /// The external ID that a role demands, by role ARN.
    pub demanded: HashMap<String, String>,
}

impl Credentials {
    /// Hands out credentials of a role, unless it demands another external ID.
    pub fn assume(
        &mut self,
        role_arn: &str,
        external_id: Option<&str>,
    ) -> Result<Session, ApiError> {
        if let Some(demanded) = self.demanded.get(role_arn)
            && external_id != Some(demanded)
        {
            let message =
                format!("not authorized to perform: sts:AssumeRole on resource: {role_arn}");
            return Err(ApiError::coral(403, "AccessDenied", message));
        }
        let session = Session {
            access_key_id: format!("ASIA{:016X}", self.sessions.len()),
            secret_access_key: Uuid::new_v4().to_string(),
            token: Uuid::new_v4().to_string(),
            role_arn: role_arn.into(),
            external_id: external_id.map(Into::into),
        };
        self.sessions
            .insert(session.access_key_id.clone(), session.clone());
        Ok(session)
    }

    /// Finds out who signed; refuses unsigned requests, a wrong service's scope and unknown credentials.
    pub fn signer(&self, headers: &HeaderMap, service: Service) -> Result<Signer, ApiError> {
        let (access_key_id, region) = scope(headers, service).ok_or_else(|| {
            let message = "Request is missing Authentication Token";
            ApiError::coral(403, "MissingAuthenticationToken", message).broken_rule()
        })?;
        if access_key_id == ACCESS_KEY_ID {
            return Ok(Signer {
                region,
                ..Signer::default()
            });
        }
        let token = headers
            .get("x-amz-security-token")
            .map(HeaderValue::as_bytes);
        match self.sessions.get(&access_key_id) {
            Some(session) if token == Some(session.token.as_bytes()) => Ok(Signer {
                region,
                role_arn: Some(session.role_arn.clone()),
                external_id: session.external_id.clone(),
            }),
            _ => {
                let message = "The security token included in the request is invalid.";
                Err(ApiError::coral(403, "InvalidClientTokenId", message).broken_rule())
            }
        }
    }
}

/// Access key id and region of a Signature Version 4 header for this service.
fn scope(headers: &HeaderMap, service: Service) -> Option<(String, String)> {
    let header = headers.get("authorization")?.to_str().ok()?;
    let fields = header.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let field = |name| {
        fields
            .split(',')
            .find_map(|field| field.trim().strip_prefix(name))
    };
    field("SignedHeaders=")?;
    field("Signature=")?;
    let mut scope = field("Credential=")?.split('/');
    let (access_key_id, _date, region) = (scope.next()?, scope.next()?, scope.next()?);
    let signed_for = (scope.next()?, scope.next()?, scope.next());
    let expected = (service.signing_name(), "aws4_request", None);
    (signed_for == expected).then(|| (access_key_id.into(), region.into()))
}
