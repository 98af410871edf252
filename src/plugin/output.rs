//! Objects as kubectl prints them for programs.

use clap::ValueEnum;
use kube::ResourceExt;
use serde::Serialize;
use serde_json::json;

use crate::api::GROUP;
use crate::api::termination::NodeTermination;

/// How objects are printed for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// The kind and the name, as kubectl takes them.
    Name,
}

/// The kind and the name, as kubectl takes them.
#[must_use]
pub fn name(object: &NodeTermination) -> String {
    format!("nodetermination.{GROUP}/{}", object.name_any())
}

/// One object.
///
/// # Errors
/// It can not be written as YAML, or JSON.
pub fn one(format: Format, object: &NodeTermination) -> Result<String, String> {
    print(format, &bare(object), &[object])
}

/// Objects as a `List`, even if there is one, or none.
///
/// # Errors
/// They can not be written as YAML, or JSON.
pub fn list(format: Format, objects: &[&NodeTermination]) -> Result<String, String> {
    let items: Vec<_> = objects.iter().map(|o| bare(o)).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items});
    print(format, &list, objects)
}

fn print(
    format: Format,
    value: &impl Serialize,
    objects: &[&NodeTermination],
) -> Result<String, String> {
    match format {
        Format::Json => serde_json::to_string_pretty(value)
            .map(|text| text + "\n")
            .map_err(|error| error.to_string()),
        Format::Yaml => serde_yaml::to_string(value).map_err(|error| error.to_string()),
        Format::Name => Ok(objects.iter().map(|o| name(o) + "\n").collect()),
    }
}

/// Without the managed fields, which nobody reads.
fn bare(object: &NodeTermination) -> NodeTermination {
    let mut object = object.clone();
    object.metadata.managed_fields = None;
    object
}
