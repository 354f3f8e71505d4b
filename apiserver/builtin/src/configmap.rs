//! ConfigMaps.

use crate::{look::sub, row::Row, table::age};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, Strategy, definition::Context, field::Errors};
use serde_json::Value;

pub(crate) mod validation;

pub(crate) fn definition() -> Definition {
    let row = Row {
        kind: "ConfigMap",
        plural: "configmaps",
        short: &["cm"],
        columns: &["Name", "Data", "Age"],
        ..Row::NAMESPACED
    };
    row.define(ConfigMaps)
}

#[derive(Debug)]
struct ConfigMaps;

impl Strategy for ConfigMaps {
    fn validate(&self, _context: &Context<'_>, object: &Object) -> Errors {
        validation::config_map(object)
    }

    fn validate_update(&self, _context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        validation::update(object, old)
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let count = |field| sub(object.map(), field).as_object().map_or(0, serde_json::Map::len);
        vec![object.name().into(), (count("data") + count("binaryData")).into(), age(object, now)]
    }
}

/// Whether the object says that it never changes.
fn is_immutable(object: &Object) -> bool {
    sub(object.map(), "immutable").as_bool().unwrap_or_default()
}

/// The bytes of all values of a map of texts.
fn text_size(map: &Value) -> usize {
    map.as_object().into_iter().flatten().map(|(_, value)| value.as_str().map_or(0, str::len)).sum()
}

/// The decoded bytes of all values of a map of base64 texts.
pub(crate) fn bytes_size(map: &Value) -> usize {
    let decoded = |text: &str| text.trim_end_matches('=').len() * 3 / 4;
    map.as_object().into_iter().flatten().map(|(_, value)| value.as_str().map_or(0, decoded)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sizes_count_decoded_bytes() {
        assert_eq!(bytes_size(&json!({"a": "aGVsbG8=", "b": "aGVsbG8h"})), 11);
        assert_eq!(text_size(&json!({"a": "ab", "b": ""})), 2);
    }
}
