//! What mutations make of an object.

use crate::attributes::Matched;
use jiff::Timestamp;
use kubeplane_core::{
    Object,
    apply::{self, Filter},
    decode::conform,
    patch::{PatchError, json_patch},
    schema::{Kind, ListType, Schema, SchemaRef},
};
use serde_json::{Map, Value, json};

/// The object with an apply configuration merged into it, by the rules of server-side apply. Nobody comes to own
/// what is merged.
///
/// # Errors
/// In the original's words.
pub(super) fn applied(
    object: &Object,
    configuration: Value,
    matched: &Matched,
    now: Timestamp,
) -> Result<Object, String> {
    let Value::Object(map) = configuration else {
        return Err("unsupported return type from ApplyConfiguration expression".to_owned());
    };
    let schema: &Schema = &matched.definition.schema;
    let mut atomics = Vec::new();
    find_atomics(schema, &Value::Object(map.clone()), "", &mut atomics);
    if !atomics.is_empty() {
        return Err(format!(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}",
            atomics.join(", ")
        ));
    }
    let mut live = object.clone();
    let managed = live.remove(&["metadata", "managedFields"]);
    let mut patch = Object::from_value(Value::Object(map)).unwrap_or_default();
    patch.set(&["apiVersion"], matched.kind.group_version().to_string());
    patch.set(&["kind"], matched.kind.kind.as_ref());
    let request = apply::Request {
        manager: "mutating-admission-policy",
        subresource: "",
        kind: &matched.kind,
        schema,
        reset: &Filter::None,
        now,
        versions: None,
    };
    let merged = apply::apply(Some(&live), patch, true, &request);
    let mut merged = merged.map_err(|error| format!("error applying patch: {error}"))?;
    match managed {
        Some(managed) => merged.set(&["metadata", "managedFields"], managed),
        None => drop(merged.remove(&["metadata", "managedFields"])),
    }
    Ok(merged)
}

/// The places of a configuration that could only be replaced as a whole.
fn find_atomics(schema: &Schema, value: &Value, path: &str, found: &mut Vec<String>) {
    let atomic = match (&schema.kind, value) {
        (Kind::Map { atomic, .. } | Kind::Object { atomic, .. }, Value::Object(_)) => *atomic,
        (Kind::List { list, .. }, Value::Array(_)) => *list == ListType::Atomic,
        _ => false,
    };
    if atomic {
        found.push(path.to_owned());
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if let Some(below) = schema.child(key) {
                    find_atomics(below, value, &format!("{path}.{key}"), found);
                }
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                if let Some(items) = schema.items() {
                    find_atomics(items, value, &format!("{path}[{index}]"), found);
                }
            }
        }
        _ => {}
    }
}

/// The object with JSON patch operations applied; as it was when a test among them fails.
///
/// # Errors
/// In the original's words.
pub(super) fn patched(object: &Object, operations: Value) -> Result<Object, String> {
    let Value::Array(list) = operations else {
        return Err("type mismatch: JSONPatchType.expression should evaluate to array".to_owned());
    };
    let tests = list.iter().any(|operation| operation["op"] == "test");
    let operations = list.into_iter().map(operation).collect::<Result<Vec<_>, _>>()?;
    let bytes = serde_json::to_vec(&operations).unwrap_or_default();
    match json_patch(object.clone().into_value(), &bytes) {
        Ok(value) => Object::from_value(value)
            .ok_or_else(|| "JSON Patch: the result is no object".to_owned()),
        Err(PatchError::Unprocessable(why)) if tests && why.contains("test") => Ok(object.clone()),
        Err(error) => Err(format!("JSON Patch: {error}")),
    }
}

fn operation(value: Value) -> Result<Value, String> {
    let Value::Object(made) = value else {
        return Err(
            "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch"
                .to_owned(),
        );
    };
    let mut out = Map::new();
    for key in ["op", "path", "from"] {
        match made.get(key) {
            Some(Value::String(text)) if key == "from" && text.is_empty() => {}
            Some(text @ Value::String(_)) => drop(out.insert(key.to_owned(), text.clone())),
            _ if key == "from" => {}
            _ => drop(out.insert(key.to_owned(), json!(""))),
        }
    }
    if let Some(value) = made.get("value") {
        out.insert("value".to_owned(), value.clone());
    }
    Ok(Value::Object(out))
}

/// Makes a mutated object fit its kind again, with defaults; and says which fields a built-in kind does not know.
///
/// # Errors
/// When a value has the wrong type.
pub(super) fn fitted(
    mut object: Object,
    matched: &Matched,
) -> Result<(Object, Vec<String>), String> {
    let mut found = Vec::new();
    if matched.kind == matched.definition.kind {
        let schema = &matched.definition.schema;
        let unknown = conform(&mut object, schema).map_err(|error| error.to_string())?;
        if matches!(schema, SchemaRef::Static(_)) {
            found = unknown;
        }
        matched.definition.strategy.default(&mut object);
    }
    Ok((object, found))
}
