//! What the original says of a map that is no object of a kind, where it goes from maps to structs without JSON between:
//! after a strategic merge patch and after an apply.

use super::{scalar, typed};
use crate::{
    quantity::Quantity,
    schema::{Field, Kind, Schema},
};
use serde_json::Value;

/// The first value that does not fit this shape, in the words of the original; `None` when all do.
#[must_use]
pub fn misfit(value: &Value, schema: &Schema) -> Option<String> {
    match (value, &schema.kind) {
        (Value::Null, _) | (_, Kind::Any) => None,
        (Value::Object(map), Kind::Object { .. }) => {
            let mut fields: Vec<&Field> = schema.fields().iter().collect();
            fields.sort_by_key(|field| field.tag);
            let found = |field: &Field| {
                misfit(map.get(&*field.name).unwrap_or(&Value::Null), &field.schema)
            };
            fields.into_iter().find_map(found)
        }
        (Value::Object(map), Kind::Map { values, .. }) => {
            map.values().find_map(|value| misfit(value, values))
        }
        (Value::Array(list), Kind::List { items, .. }) => {
            list.iter().find_map(|item| misfit(item, items))
        }
        (Value::String(text), Kind::Bytes) => scalar::normal_base64(text)
            .err()
            .map(|error| format!("error decoding from json: {error}")),
        (other, Kind::Object { .. }) => {
            Some(format!("cannot restore struct from: {}", go_kind(other)))
        }
        (other, Kind::Map { .. }) => Some(format!("cannot restore map from {}", go_kind(other))),
        (other, Kind::List { .. } | Kind::Bytes) => {
            Some(format!("cannot restore slice from {}", go_kind(other)))
        }
        (value, _) => scalar_misfit(value, schema),
    }
}

fn scalar_misfit(value: &Value, schema: &Schema) -> Option<String> {
    let what = typed::json_kind(value);
    let unreadable = |go_type: &str| {
        Some(format!("json: cannot unmarshal {what} into Go value of type {go_type}"))
    };
    match (value, &schema.kind) {
        (Value::String(_), Kind::String | Kind::IntOrString)
        | (Value::Bool(_), Kind::Boolean)
        | (Value::Number(_), Kind::Number) => None,
        (Value::String(text), Kind::Time { micro }) => scalar::normal_time(text, *micro).err(),
        (_, Kind::Time { .. }) => unreadable("string"),
        (Value::String(text), Kind::Quantity) => {
            Quantity::parse(text.trim()).err().map(|error| error.to_string())
        }
        (Value::Number(number), Kind::Quantity) => {
            Quantity::parse(&number.to_string()).err().map(|error| error.to_string())
        }
        (Value::Bool(flag), Kind::Quantity) => {
            Quantity::parse(&flag.to_string()).err().map(|error| error.to_string())
        }
        (Value::Number(number), Kind::IntOrString | Kind::Integer { .. }) if whole(number) => None,
        (Value::Number(number), Kind::IntOrString) => {
            Some(format!("json: cannot unmarshal number {number} into Go value of type int32"))
        }
        (_, Kind::IntOrString) => unreadable("int32"),
        // Go finds a way from whole numbers to texts, and refuses it.
        (Value::Number(number), Kind::String) if !number.is_f64() => convert(value, schema),
        (Value::Number(_), Kind::Integer { .. }) => convert(value, schema),
        _ => Some(format!("unrecognized type: {}", plain_type(schema))),
    }
}

fn whole(number: &serde_json::Number) -> bool {
    !number.is_f64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn convert(value: &Value, schema: &Schema) -> Option<String> {
    Some(format!("cannot convert {} to {}", go_kind(value), typed::go_type(schema)))
}

fn plain_type(schema: &Schema) -> String {
    typed::go_type(&Schema::anonymous(schema.kind.clone()))
}

/// What Go calls the kind of a value that came as JSON.
fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::builtin;
    use serde_json::json;

    #[test]
    fn misfits_are_named_as_in_the_original() {
        let pod = builtin("io.k8s.api.core.v1.Pod").unwrap();
        for (value, want) in [
            (json!({"metadata": 5}), "cannot restore struct from: int64"),
            (json!({"metadata": {"labels": {"x": 1}}}), "cannot convert int64 to string"),
            (json!({"metadata": {"labels": [1]}}), "cannot restore map from slice"),
            (json!({"metadata": {"labels": {"x": true}}}), "unrecognized type: string"),
            (json!({"spec": {"containers": "x"}}), "cannot restore slice from string"),
            (json!({"spec": {"hostNetwork": "x"}}), "unrecognized type: bool"),
            (json!({"spec": {"priority": 1.5}}), "cannot convert float64 to int32"),
            (json!({"spec": {"priority": "1"}}), "unrecognized type: int32"),
            (json!({"spec": {"restartPolicy": 3}}), "cannot convert int64 to v1.RestartPolicy"),
            (
                json!({"spec": {"containers": [{"livenessProbe": {"httpGet": {"port": 1.5}}}]}}),
                "json: cannot unmarshal number 1.5 into Go value of type int32",
            ),
            (
                json!({"spec": {"overhead": {"cpu": true}}}),
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            ),
        ] {
            assert_eq!(misfit(&value, &pod).as_deref(), Some(want), "{value}");
        }
        let fine = json!({"metadata": {"labels": null}, "spec": {"priority": 2.0}, "bogus": 1});
        assert_eq!(misfit(&fine, &pod), None);
    }
}
