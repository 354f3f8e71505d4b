//! What a webhook may change of an object's metadata: labels and annotations.

use kubeplane_core::{
    Object,
    field::{Path, aggregate},
    metadata,
};
use serde_json::{Map, Value};

/// Holds what was converted against what was sent.
pub(super) fn check(sent: &Object, converted: &Object) -> Result<(), String> {
    let same = [
        ("kind", sent.kind(), converted.kind()),
        ("name", sent.name(), converted.name()),
        ("namespace", sent.namespace(), converted.namespace()),
        ("UID", sent.uid(), converted.uid()),
    ];
    match same.into_iter().find(|(_, sent, converted)| sent != converted) {
        Some((what, sent, converted)) => {
            Err(format!("must have the same {what}: {sent} != {converted}"))
        }
        None => Ok(()),
    }
}

/// Puts the metadata back that was sent, with the labels and annotations of the answer.
pub(super) fn restore(sent: &Object, converted: &mut Object) -> Result<(), String> {
    let answer = converted.remove(&["metadata"]);
    let answer = answer.ok_or("missing metadata in converted object")?;
    let Value::Object(mut answer) = answer else {
        return Err(format!("invalid metadata of type {} in converted object", go_type(&answer)));
    };
    let mut metadata = match sent.at(&["metadata"]) {
        Some(Value::Object(metadata)) => metadata.clone(),
        _ => Map::new(),
    };
    for field in ["labels", "annotations"] {
        match answer.remove(field) {
            None | Some(Value::Null) => drop(metadata.remove(field)),
            Some(Value::Object(map)) => {
                let before = metadata.get(field).and_then(Value::as_object);
                strings(field, &map, before)?;
                metadata.insert(field.to_owned(), Value::Object(map));
            }
            Some(other) => {
                let found = go_type(&other);
                return Err(format!(
                    "invalid metadata.{field} of type {found} in converted object"
                ));
            }
        }
    }
    converted.set(&["metadata"], metadata);
    Ok(())
}

/// Labels and annotations that changed must be valid ones.
fn strings(
    field: &str,
    map: &Map<String, Value>,
    before: Option<&Map<String, Value>>,
) -> Result<(), String> {
    if let Some((key, value)) = map.iter().find(|(_, value)| !value.is_string()) {
        let found = go_type(value);
        return Err(format!(
            "metadata.{field}[{key}] must be a string, but is {found} in converted object"
        ));
    }
    if before.map_or(map.is_empty(), |before| before == map) {
        return Ok(());
    }
    let pairs = map.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()));
    let errors = match field {
        "labels" => metadata::validate_labels(pairs, &Path::new("metadata.labels")),
        _ => metadata::validate_annotations(pairs, &Path::new("metadata.annotation")),
    };
    aggregate(&errors).map_or(Ok(()), Err)
}

/// A value's type as Go names it.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
