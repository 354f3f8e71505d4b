//! Whole resources inside of others: they name their kind and have proper metadata.

use crate::props::{Additional, Props};
use kubeplane_core::{
    GroupVersion, Object,
    definition::NameRule,
    field::{Error, Errors, Path},
    metadata, names,
};
use serde_json::{Map, Value};

/// What is wrong with the kinds and the metadata of embedded resources.
pub(crate) fn validate(props: &Props, value: &Value, path: &Path) -> Errors {
    let mut errors = Vec::new();
    match value {
        Value::Object(map) => {
            if props.embedded {
                errors.extend(resource(map, path));
            }
            for (key, value) in map {
                if let Some(below) = props.properties.get(key) {
                    errors.extend(validate(below, value, &path.child(key)));
                } else if let Some(below) = props.additional.as_ref().and_then(Additional::schema) {
                    errors.extend(validate(below, value, &path.key(key)));
                }
            }
        }
        Value::Array(items) => {
            if let Some(below) = &props.items {
                let each = items.iter().enumerate();
                errors.extend(
                    each.flat_map(|(index, item)| validate(below, item, &path.index(index))),
                );
            }
        }
        _ => {}
    }
    errors
}

fn resource(map: &Map<String, Value>, path: &Path) -> Errors {
    let mut errors = Vec::new();
    for name in ["apiVersion", "kind"] {
        let at = path.child(name);
        match map.get(name) {
            None => errors.push(Error::required(&at, "")),
            Some(Value::String(text)) if text.is_empty() => {
                errors.push(Error::invalid(&at, text.as_str(), "must not be empty"));
            }
            Some(Value::String(text)) if name == "apiVersion" => {
                if GroupVersion::parse(text).is_none() {
                    let detail = format!("unexpected GroupVersion string: {text}");
                    errors.push(Error::invalid(&at, text.as_str(), detail));
                }
            }
            Some(Value::String(text)) => {
                let wrong = names::is_dns1035_label(&text.to_lowercase());
                if !wrong.is_empty() {
                    let detail = format!(
                        "may have mixed case, but should otherwise match: {}",
                        wrong.join(",")
                    );
                    errors.push(Error::invalid(&at, text.as_str(), detail));
                }
            }
            Some(other) => errors.push(Error::invalid(&at, other.clone(), "must be a string")),
        }
    }
    match map.get("metadata") {
        None => {}
        Some(Value::Object(own)) => {
            let mut object = Object::default();
            object.set(&["metadata"], own.clone());
            if object.name().is_empty() {
                // A name is not asked for, but all else is.
                object.set(&["metadata", "name"], "fakename");
            }
            let namespaced = !object.namespace().is_empty();
            let at = path.child("metadata");
            errors.extend(metadata::validate_metadata(
                &object,
                namespaced,
                NameRule::PathSegment,
                &at,
            ));
        }
        Some(other) => {
            errors.push(Error::invalid(&path.child("metadata"), other.clone(), "must be an object"))
        }
    }
    errors
}
