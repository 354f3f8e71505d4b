//! Schemas made from the schema table alone, for kinds without a description.

use crate::{operations::reference, overlay};
use kubeplane_core::schema::{Kind, Schema};
use serde_json::{Map, Value, json};

/// The deepest nesting written out; deeper objects are free form.
const MAX_DEPTH: usize = 24;

/// The whole shape. What it holds is written out in place, but for objects that have a name: those are added to
/// `named`, where they are not in it already.
pub(crate) fn written_out(schema: &Schema, named: &mut Map<String, Value>) -> Value {
    of(schema, 0, named)
}

fn of(schema: &Schema, depth: usize, named: &mut Map<String, Value>) -> Value {
    if depth > MAX_DEPTH {
        return json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    }
    match &schema.kind {
        Kind::String => json!({"type": "string"}),
        Kind::Bytes => json!({"type": "string", "format": "byte"}),
        Kind::Time { .. } => json!({"type": "string", "format": "date-time"}),
        Kind::Quantity => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        Kind::IntOrString => json!({
            "format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": true,
        }),
        Kind::Integer { wide } => {
            json!({"type": "integer", "format": if *wide { "int64" } else { "int32" }})
        }
        Kind::Number => json!({"type": "number", "format": "double"}),
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::Any => json!({"x-kubernetes-preserve-unknown-fields": true}),
        Kind::Map { values, atomic } => {
            let mut map =
                json!({"type": "object", "additionalProperties": of(values, depth + 1, named)});
            if *atomic {
                map["x-kubernetes-map-type"] = "atomic".into();
            }
            map
        }
        Kind::List { items, list } => {
            let mut written = Map::new();
            written.insert("type".into(), "array".into());
            written.insert("items".into(), of(items, depth + 1, named));
            overlay::list_facts(list, &mut written);
            written.into()
        }
        Kind::Object { .. } if depth > 0 && !schema.name.is_empty() => {
            if !named.contains_key(schema.name.as_ref()) {
                // Noted first: shapes may hold themselves.
                named.insert(schema.name.to_string(), Value::Null);
                let written = object(schema, 0, named);
                named.insert(schema.name.to_string(), written);
            }
            json!({"allOf": [reference(&schema.name)]})
        }
        Kind::Object { .. } => object(schema, depth, named),
    }
}

fn object(schema: &Schema, depth: usize, named: &mut Map<String, Value>) -> Value {
    let Kind::Object { fields, preserve_unknown, atomic } = &schema.kind else {
        return json!({});
    };
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in fields.iter() {
        let mut property = of(&field.schema, depth + 1, named);
        if let Some(default) = field.default_value() {
            property["default"] = default;
        }
        if let Some(property) = property.as_object_mut() {
            overlay::patch_facts(field, property);
        }
        if field.required {
            required.push(field.name.as_ref());
        }
        properties.insert(field.name.to_string(), property);
    }
    let mut written = json!({"type": "object"});
    if !properties.is_empty() {
        written["properties"] = properties.into();
    }
    if !required.is_empty() {
        written["required"] = required.into();
    }
    if *preserve_unknown {
        written["x-kubernetes-preserve-unknown-fields"] = true.into();
    }
    if *atomic {
        written["x-kubernetes-map-type"] = "atomic".into();
    }
    written
}
