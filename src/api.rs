//! The words of the product: the two kinds that users write and read.
//!
//! [`policy::TerminationPolicy`] says which nodes, which event sources and how to drain;
//! [`termination::NodeTermination`] is one incident of one instance and its record. Every documented field
//! here is what `kubectl explain` prints, and [`crds`] is what `kubectl apply` installs.

// What stands here is what `kubectl explain` prints, where backticks would be noise; and columns share their types.
#![allow(clippy::doc_markdown, clippy::duplicated_attributes)]

pub mod condition;
pub mod policy;
pub mod termination;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::json;

pub use condition::Condition;
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};

/// The API group of both kinds, and the prefix of every label, annotation, taint and finalizer that we write.
pub const GROUP: &str = "nodetermination.dev";

/// The text, cut to at most `max` bytes: what a field, a condition or an Event may hold.
#[must_use]
pub fn bounded(mut text: String, max: usize) -> String {
    text.truncate(text.floor_char_boundary(max));
    text
}

/// The custom resource definitions of both kinds, as `crds/` holds them.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![
        policy::TerminationPolicy::crd(),
        termination::NodeTermination::crd(),
    ];
    for version in crds.iter_mut().flat_map(|crd| &mut crd.spec.versions) {
        if let Some(schema) = version
            .schema
            .as_mut()
            .and_then(|s| s.open_api_v3_schema.as_mut())
        {
            conventional(schema);
            nobody_has_looked(schema);
        }
    }
    crds
}

/// The status of an object that the operator has not seen yet. To kstatus, and so to Flux, an object without a status
/// is one that needs nothing; this one speaks of no generation yet, and so is in progress.
fn nobody_has_looked(schema: &mut JSONSchemaProps) {
    let status = schema.properties.as_mut().and_then(|p| p.get_mut("status"));
    if let Some(status) = status {
        status.default = Some(JSON(json!({"observedGeneration": -1})));
    }
}

/// The schema as the API conventions have it. An optional field is absent, never `null`: the API server then
/// prunes a written `null` before defaulting, and `has()` in a rule means what it says. Integers are `int32`:
/// the server warns of any other format, and no maximum of ours is greater.
fn conventional(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if schema.format.as_deref() == Some("uint32") {
        schema.format = Some("int32".to_owned());
    }
    schema
        .properties
        .iter_mut()
        .flat_map(|p| p.values_mut())
        .for_each(conventional);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        conventional(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        conventional(values);
    }
}
