//! What is read fits the schema of a `NodeTermination`, so that the API server takes it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray,
};
use serde_json::{Value, json};

use super::{RESERVATIONS, SIGNALS, fixture, heard, signals};
use crate::api::termination::Signal;
use crate::event::parse;

/// The schema of one signal, as the API server holds it against a record.
pub(super) fn signal_schema() -> JSONSchemaProps {
    let crd = crate::api::crds()
        .into_iter()
        .find(|crd| crd.spec.names.kind == "NodeTermination")
        .unwrap();
    let root = crd.spec.versions[0].schema.clone().unwrap();
    let spec = root
        .open_api_v3_schema
        .unwrap()
        .properties
        .unwrap()
        .remove("spec");
    let signals = spec.unwrap().properties.unwrap().remove("signals");
    match signals.unwrap().items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => *items,
        other => panic!("{other:?}"),
    }
}

/// Whether the API server takes the value, as far as the signal's schema goes: fields, lengths, words, times.
/// Patterns are not tried: the values that have one have their own tests.
pub(super) fn fits(schema: &JSONSchemaProps, value: &Value) -> Result<(), String> {
    let err = |what: &str| Err(format!("{what}: {value}"));
    match value {
        Value::Object(fields) => {
            let properties = schema.properties.as_ref().ok_or("no properties")?;
            for name in schema.required.iter().flatten() {
                if !fields.contains_key(name) {
                    return err(name);
                }
            }
            fields.iter().try_for_each(|(name, value)| {
                fits(properties.get(name).ok_or("unknown field")?, value)
            })
        }
        Value::String(text) => {
            let length = i64::try_from(text.chars().count()).unwrap();
            if schema.max_length.is_some_and(|max| length > max)
                || schema.min_length.is_some_and(|min| length < min)
            {
                return err("length");
            }
            if let Some(words) = &schema.enum_
                && !words.iter().any(|word| &word.0 == value)
            {
                return err("word");
            }
            if schema.format.as_deref() == Some("date-time") && text.len() != 20 {
                return err("time");
            }
            Ok(())
        }
        _ => err("type"),
    }
}

/// The signal as the source records it: with its queue's region where the message has none.
pub(super) fn recorded(mut signal: Signal) -> Value {
    if let Some(hook) = signal
        .lifecycle_hook
        .as_mut()
        .filter(|h| h.region.is_empty())
    {
        "eu-west-1".clone_into(&mut hook.region);
    }
    serde_json::to_value(signal).unwrap()
}

#[test]
fn every_signal_fits_the_schema() {
    let schema = signal_schema();
    let parsed = SIGNALS.iter().chain(RESERVATIONS);
    let parsed = parsed.map(|name| parse(&fixture(name)).unwrap());
    for heard in parsed.flat_map(signals) {
        fits(&schema, &recorded(heard.signal)).unwrap();
    }
    let mut long = recorded(heard("asg-terminate").signal);
    long["lifecycleHook"]["region"] = json!("r".repeat(33));
    fits(&schema, &long).unwrap_err();
}
