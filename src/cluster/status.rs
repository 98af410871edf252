//! Writing what we know onto our own objects: status, finalizer, deletion.

use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Error, FIELD_MANAGER, call};
use crate::api::policy::{TerminationPolicy, TerminationPolicyStatus};
use crate::api::termination::{FINALIZER, NodeTermination, NodeTerminationStatus};

/// Writes a termination's status. With `finishing` the write fails if a signal slipped in since it was seen.
///
/// # Errors
/// See [`Error`]; a conflict means: look again.
pub async fn report(
    client: &Client,
    seen: &NodeTermination,
    status: &NodeTerminationStatus,
    finishing: bool,
) -> Result<(), Error> {
    let resource_version = finishing.then(|| seen.resource_version()).flatten();
    apply::<NodeTermination>(client, "write status", seen, resource_version, status).await
}

/// Writes a policy's status.
///
/// # Errors
/// See [`Error`].
pub async fn report_policy(
    client: &Client,
    seen: &TerminationPolicy,
    status: &TerminationPolicyStatus,
) -> Result<(), Error> {
    apply::<TerminationPolicy>(client, "write policy status", seen, None, status).await
}

async fn apply<K>(
    client: &Client,
    act: &'static str,
    seen: &K,
    resource_version: Option<String>,
    status: &impl Serialize,
) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = kube::core::ClusterResourceScope>
        + Clone
        + std::fmt::Debug,
{
    let api: Api<PartialObjectMeta<K>> = Api::all(client.clone());
    // A resource version that is null would be read as 0.
    let mut metadata = json!({"name": seen.name_any(), "uid": seen.uid()});
    if let Some(version) = resource_version {
        metadata["resourceVersion"] = json!(version);
    }
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": metadata,
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    call(
        act,
        api.patch_status(&seen.name_any(), &params, &Patch::Apply(body)),
    )
    .await
    .map(drop)
}

/// Makes the object's deletion wait for our undo.
///
/// # Errors
/// Not found: it was deleted meanwhile. A conflict: look again.
pub async fn add_finalizer(client: &Client, seen: &NodeTermination) -> Result<(), Error> {
    let mut finalizers = seen.finalizers().to_vec();
    finalizers.push(FINALIZER.to_owned());
    patch_finalizers(client, seen, &finalizers).await
}

/// Lets the object's deletion go on.
///
/// # Errors
/// A conflict: look again. An object that is gone already is no error.
pub async fn remove_finalizer(client: &Client, seen: &NodeTermination) -> Result<(), Error> {
    let finalizers: Vec<_> = seen
        .finalizers()
        .iter()
        .filter(|f| *f != FINALIZER)
        .cloned()
        .collect();
    match patch_finalizers(client, seen, &finalizers).await {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

async fn patch_finalizers(
    client: &Client,
    seen: &NodeTermination,
    finalizers: &[String],
) -> Result<(), Error> {
    let api: Api<PartialObjectMeta<NodeTermination>> = Api::all(client.clone());
    let body: Value = json!({"metadata": {"uid": seen.uid(), "resourceVersion": seen.resource_version(), "finalizers": finalizers}});
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    call(
        "patch finalizers",
        api.patch(&seen.name_any(), &params, &Patch::Merge(&body)),
    )
    .await
    .map(drop)
}

/// Deletes a finished record, if it is still the one that was seen.
///
/// # Errors
/// See [`Error`]. A record that is gone already is no error.
pub async fn prune(client: &Client, name: &str, uid: Option<String>) -> Result<(), Error> {
    let api: Api<NodeTermination> = Api::all(client.clone());
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid,
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match call("delete record", api.delete(name, &params)).await {
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
        other => other.map(drop),
    }
}

/// Whether an object of that name exists at this moment, asked of the API server itself.
///
/// # Errors
/// See [`Error`].
pub async fn exists(client: &Client, name: &str) -> Result<bool, Error> {
    let api: Api<NodeTermination> = Api::all(client.clone());
    call("get record", api.get_metadata_opt(name))
        .await
        .map(|found| found.is_some())
}
