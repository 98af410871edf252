//! Recording a signal: one server-side apply, and what its answer means.

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::Status;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};

use super::{Error, call, denied};
use crate::api::termination::{
    NodeTermination, NodeTerminationSpec, Phase, SIGNALS_MAX, Signal, refusal,
};

/// Proof that a signal is in etcd, on an object that is not being deleted. Only [`apply`] makes one, and a message
/// can not be acknowledged without one.
#[derive(Debug)]
pub struct Recorded(());

/// Whom a signal is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The Node's name.
    pub node_name: String,
    /// The Node's UID.
    pub node_uid: String,
    /// The EC2 instance.
    pub instance_id: String,
}

impl Identity {
    fn is_of(&self, spec: &NodeTerminationSpec) -> bool {
        self.node_name == spec.node_name
            && Some(&self.node_uid) == spec.node_uid.as_ref()
            && Some(&self.instance_id) == spec.instance_id.as_ref()
    }
}

/// What the API server said to a recording.
#[derive(Debug)]
pub enum Answer {
    /// The signal is recorded, or was before.
    Recorded(Recorded),
    /// The object is being deleted, or just was: what was written goes with it. Try again once it is gone.
    Dying,
    /// The object is finished.
    Finished,
    /// The object is about another node or instance.
    OtherIdentity,
    /// The object is open and holds as many signals as it may.
    Full,
    /// The API server will never take this signal.
    Invalid(String),
}

/// Applies the signal to the object of that name, which is made if it is missing. Each signal has a field manager of
/// its own: a shared one would drop the signal that it applied before.
///
/// # Errors
/// The API server did not answer or could not serve it: nothing is known to be recorded.
pub async fn apply(
    client: &Client,
    name: &str,
    field_manager: &str,
    identity: &Identity,
    signal: &Signal,
) -> Result<Answer, Error> {
    let api: Api<NodeTermination> = Api::all(client.clone());
    let metadata = json!({"name": name});
    put(&api, metadata, field_manager, identity, signal).await
}

/// Applies a signal that only follows others to the object of that name, which is never made. `None`: there is none.
///
/// # Errors
/// As for [`apply`].
pub async fn follow(
    client: &Client,
    name: &str,
    field_manager: &str,
    identity: &Identity,
    signal: &Signal,
) -> Result<Option<Answer>, Error> {
    let api: Api<NodeTermination> = Api::all(client.clone());
    let Some(object) = call("get record", api.get_opt(name)).await? else {
        return Ok(None);
    };
    let phase = object.phase();
    let answer = if !identity.is_of(&object.spec) {
        Answer::OtherIdentity
    } else if phase.is_some_and(Phase::is_finished) {
        Answer::Finished
    } else {
        // An apply under the UID of an object that is gone is refused; without it the object would be made.
        let metadata = json!({"name": name, "uid": object.uid()});
        put(&api, metadata, field_manager, identity, signal).await?
    };
    Ok(Some(answer))
}

async fn put(
    api: &Api<NodeTermination>,
    metadata: Value,
    field_manager: &str,
    identity: &Identity,
    signal: &Signal,
) -> Result<Answer, Error> {
    let name = metadata["name"].as_str().unwrap_or_default().to_owned();
    let body = json!({
        "apiVersion": NodeTermination::api_version(&()),
        "kind": NodeTermination::kind(&()),
        "metadata": metadata,
        "spec": {
            "nodeName": identity.node_name,
            "nodeUID": identity.node_uid,
            "instanceID": identity.instance_id,
            "signals": [signal],
        },
    });
    let params = PatchParams::apply(field_manager).force();
    match call(
        denied::RECORD,
        api.patch(&name, &params, &Patch::Apply(body)),
    )
    .await
    {
        Ok(object) => {
            if is_new(&object, field_manager) {
                denied::allowed(denied::MAKE_RECORD, denied::CLUSTER);
            }
            Ok(read(&object, signal))
        }
        // The object whose UID was asked for is gone.
        Err(error) if error.is_conflict() => Ok(Answer::Dying),
        Err(Error::Call { act, source }) => match source.as_ref() {
            kube::Error::Api(status) if status.is_invalid() => match refused(status) {
                Some(answer) => Ok(answer),
                None => look(api, &name, identity, signal).await,
            },
            _ => Err(Error::Call { act, source }),
        },
        Err(error) => Err(error),
    }
}

/// Whether the apply has made the object: nobody else has written to it yet.
fn is_new(object: &NodeTermination, field_manager: &str) -> bool {
    let managers = object.managed_fields().iter().map(|m| m.manager.as_deref());
    managers.eq([Some(field_manager)])
}

fn read(object: &NodeTermination, signal: &Signal) -> Answer {
    if object.meta().deletion_timestamp.is_some() {
        Answer::Dying
    } else if object.spec.signals.iter().any(|s| s.id == signal.id) {
        Answer::Recorded(Recorded(()))
    } else {
        Answer::Invalid(format!(
            "the answer does not show the signal on {}",
            object.name_any()
        ))
    }
}

/// What a refusal says of the object. `None`: it must be looked at. A list that is too long is refused before any
/// rule is asked, and a signal that is there with another content may be on an object that is being deleted.
fn refused(status: &Status) -> Option<Answer> {
    let causes = status.details.iter().flat_map(|d| &d.causes);
    let says = |prefix: &str| causes.clone().any(|c| c.message.contains(prefix));
    if says(refusal::IDENTITY) {
        Some(Answer::OtherIdentity)
    } else if says(refusal::FINISHED) {
        Some(Answer::Finished)
    } else if says(refusal::SIGNALS) || causes.clone().any(|c| c.reason == "FieldValueTooMany") {
        None
    } else {
        Some(Answer::Invalid(status.message.clone()))
    }
}

/// The answer that the object itself gives. One that is gone, or was replaced since the refusal, is tried again.
async fn look(
    api: &Api<NodeTermination>,
    name: &str,
    identity: &Identity,
    signal: &Signal,
) -> Result<Answer, Error> {
    let Some(object) = call("get record", api.get_opt(name)).await? else {
        return Ok(Answer::Dying);
    };
    let phase = object.status.as_ref().and_then(|s| s.phase);
    Ok(match read(&object, signal) {
        _ if !identity.is_of(&object.spec) => Answer::OtherIdentity,
        Answer::Invalid(_) if phase.is_some_and(Phase::is_finished) => Answer::Finished,
        Answer::Invalid(_) if object.spec.signals.len() >= SIGNALS_MAX => Answer::Full,
        Answer::Invalid(_) => Answer::Dying,
        other => other,
    })
}

/// When the object of that name was finished, asked of the API server itself.
///
/// # Errors
/// See [`Error`]. An object that is gone has no such time.
pub async fn completed_at(client: &Client, name: &str) -> Result<Option<Timestamp>, Error> {
    let api: Api<NodeTermination> = Api::all(client.clone());
    let object = call("get record", api.get_opt(name)).await?;
    Ok(object
        .and_then(|o| o.status)
        .and_then(|s| s.completed_at)
        .map(|t| t.0))
}
