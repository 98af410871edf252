//! From aws-node-termination-handler: a values file of its chart in, the policy that does the same out.
//!
//! The policy does as that installation does wherever a policy can; what it can not do, what means something else
//! here and what is set elsewhere stands in comments above it. Text in, text out: nothing is called.

mod note;
mod queue;
mod setting;
mod spec;
mod values;
mod webhook;

use serde_yaml::{Mapping, Value};

use crate::api::GROUP;
use crate::api::policy::{TerminationPolicySpec, defaults};
use note::Notes;
use values::Values;

/// Why no policy can be made of a values file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no YAML. The source says where.
    #[error("the values are no YAML")]
    Yaml(#[source] serde_yaml::Error),
    /// It is YAML, but no mapping.
    #[error("the values are {found} (line {line}), not a mapping of settings to their values")]
    NoMapping {
        /// What it is.
        found: &'static str,
        /// Where it begins, from 1.
        line: usize,
    },
    /// `extraEnv` is not what a container takes.
    #[error("extraEnv: must be a list of variables, each with name and value or valueFrom")]
    ExtraEnv,
    /// A value that NTH could not read either.
    #[error("{name}: {text} is not {wanted}")]
    Value {
        /// How the file calls the setting.
        name: String,
        /// What it says.
        text: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// Queue mode without a queue.
    #[error(
        "queueURL: missing; in queue mode (enableSqsTerminationDraining) the policy needs the queue's URL"
    )]
    NoQueue,
    /// The queue's URL is in a Secret or a `ConfigMap`.
    #[error(
        "queueURL: its value stands in a Secret or a ConfigMap; write the queue's URL as queueURL"
    )]
    QueueUnreadable,
    /// The API server would refuse the URL.
    #[error(
        "queueURL: `{0}` does not look like https://sqs.REGION.amazonaws.com/ACCOUNT/QUEUE, the account with 12 digits"
    )]
    QueueUrl(String),
    /// Neither the URL nor a setting names the region.
    #[error("awsRegion: missing; the queue's URL names no region")]
    NoRegion,
    /// What could not be written as YAML.
    #[error("the policy could not be written")]
    Write(#[source] serde_yaml::Error),
}

/// The TerminationPolicy that does what the installation with these Helm values does, as YAML with comments. Fails if
/// the values can not be read, or if they are of an installation that could not work.
pub fn policy(values: &str) -> Result<String, Error> {
    let mut notes = Notes::default();
    let values = Values::read(values, &mut notes)?;
    values.note(&mut notes);
    let spec = spec::spec(&values, &mut notes)?;
    let mode = if values.queue { "queue" } else { "metadata" };
    let object = object(&spec).map_err(Error::Write)?;
    Ok(format!(
        "# From the Helm values of aws-node-termination-handler (NTH), {mode} mode.\n{}{object}",
        notes.comments()
    ))
}

/// The object, without what every policy has by default. The mode and the actions are always said.
fn object(spec: &TerminationPolicySpec) -> Result<String, serde_yaml::Error> {
    let silent = TerminationPolicySpec {
        ttl_seconds_after_finished: defaults::ttl_seconds_after_finished(),
        history_limit: defaults::history_limit(),
        ..TerminationPolicySpec::default()
    };
    let mut said = serde_yaml::to_value(spec)?;
    let mut silent = serde_yaml::to_value(silent)?;
    if let Value::Mapping(fields) = &mut silent {
        fields.remove("mode");
        fields.remove("actions");
    }
    leave_out(&mut said, &silent);
    let name = Mapping::from_iter([("name".into(), "default".into())]);
    let object = Mapping::from_iter([
        ("apiVersion".into(), format!("{GROUP}/v1alpha1").into()),
        ("kind".into(), "TerminationPolicy".into()),
        ("metadata".into(), Value::Mapping(name)),
        ("spec".into(), said),
    ]);
    serde_yaml::to_string(&object)
}

/// Takes out of a tree whatever another one says as well.
fn leave_out(said: &mut Value, silent: &Value) {
    let (Value::Mapping(said), Value::Mapping(silent)) = (said, silent) else {
        return;
    };
    for (key, default) in silent {
        let Some(value) = said.get_mut(key) else {
            continue;
        };
        leave_out(value, default);
        let empty = matches!(value, Value::Mapping(rest) if rest.is_empty());
        if value == default || empty {
            said.shift_remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
