//! The Secrets that notifications name: read one by one, from the operator's own namespace, and only if they are marked.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use super::{Error, call};

/// The label that gives a Secret to notifications. Without it whoever may write policies could have any Secret of the
/// namespace sent to wherever they like.
pub const NOTIFICATION_LABEL: (&str, &str) = ("nodetermination.dev/notification", "true");

/// What a Secret holds, or why it gives nothing.
pub enum Found {
    /// Its data.
    Data(BTreeMap<String, Vec<u8>>),
    /// There is none of that name.
    Missing,
    /// It does not have [`NOTIFICATION_LABEL`].
    NotLabelled,
}

/// Reads a Secret of the namespace.
///
/// # Errors
/// See [`Error`].
pub async fn read(client: &Client, namespace: &str, name: &str) -> Result<Found, Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let Some(secret) = call("get secret", api.get_opt(name)).await? else {
        return Ok(Found::Missing);
    };
    let labels = secret.metadata.labels.unwrap_or_default();
    let (key, value) = NOTIFICATION_LABEL;
    if labels.get(key).map(String::as_str) != Some(value) {
        return Ok(Found::NotLabelled);
    }
    let data = secret.data.unwrap_or_default().into_iter();
    Ok(Found::Data(
        data.map(|(key, value)| (key, value.0)).collect(),
    ))
}
