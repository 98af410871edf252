//! The schema of a label selector: Kubernetes' own takes operators that nothing can read.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A `metav1.LabelSelector` with bounds, whose requirements can be read.
pub(super) fn schema(_: &mut SchemaGenerator) -> Schema {
    let value = json_schema!({"type": "string", "maxLength": 63});
    json_schema!({
        "type": "object",
        "properties": {
            "matchLabels": {
                "type": "object",
                "description": "Labels that must be there with these values.",
                "maxProperties": 64,
                "additionalProperties": value,
            },
            "matchExpressions": {
                "type": "array",
                "description": "Requirements that must hold, all of them.",
                "maxItems": 32,
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {"type": "string", "description": "The label's key.", "minLength": 1, "maxLength": 317},
                        "operator": {
                            "type": "string",
                            "description": "In, NotIn, Exists or DoesNotExist.",
                            "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                        },
                        "values": {
                            "type": "array",
                            "description": "For In and NotIn: the values.",
                            "maxItems": 64,
                            "items": value,
                        },
                    },
                    "x-kubernetes-validations": [{
                        "rule": "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
                        "message": "selector: In and NotIn need values, Exists and DoesNotExist take none",
                    }],
                },
            },
        },
        "x-kubernetes-map-type": "atomic",
    })
}
