//! Whole resources inside of others: they name their kind and have proper metadata.

use crate::props::{Additional, Props};
use kubeplane_core::{
    GroupVersion, Object,
    decode::{conformed, json_kind},
    definition::NameRule,
    field::{Error, Errors, Path},
    metadata, names,
    schema::builtin,
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
    if let Some(own) = map.get("metadata") {
        errors.extend(metadata_errors(own, &path.child("metadata")));
    }
    errors
}

fn metadata_errors(own: &Value, path: &Path) -> Errors {
    let mut object = match decoded(own) {
        Ok(object) => object,
        Err(why) => return vec![Error::invalid(path, own.clone(), why)],
    };
    if object.name().is_empty() {
        // A name is not asked for, but all else is.
        object.set(&["metadata", "name"], "fakename");
    }
    let namespaced = !object.namespace().is_empty();
    metadata::validate_metadata(&object, namespaced, NameRule::PathSegment, path)
}

/// An object of this metadata, as all metadata is decoded; or why it is none.
fn decoded(own: &Value) -> Result<Object, String> {
    let mut object = Object::default();
    match own {
        Value::Null => {}
        Value::Object(map) => {
            let shape = builtin("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
            let Some(shape) = shape else { return Ok(object) };
            let own = Object::from_value(Value::Object(map.clone())).unwrap_or_default();
            let (own, _) = conformed(&own, &shape).map_err(|error| error.to_string())?;
            object.set(&["metadata"], own.map().clone());
        }
        other => {
            let kind = json_kind(other);
            return Err(format!(
                "json: cannot unmarshal {kind} into Go value of type v1.ObjectMeta"
            ));
        }
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(value: &Value) -> Vec<String> {
        let props =
            Props::parse(&json!({"type": "object", "x-kubernetes-embedded-resource": true}));
        validate(&props, value, &Path::new("e")).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_resource_inside_is_held_to_the_rules_of_resources() {
        assert_eq!(said(&json!({})), ["e.apiVersion: Required value", "e.kind: Required value"]);
        let named = |metadata: Value| {
            said(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata}))
        };
        assert!(named(json!({})).is_empty() && named(Value::Null).is_empty());
        assert!(named(json!({"namespace": "kube-system"})).is_empty());
        assert_eq!(
            named(json!({"name": 5})),
            [
                r#"e.metadata: Invalid value: {"name":5}: json: cannot unmarshal number into Go struct field ObjectMeta.name of type string"#
            ]
        );
        assert_eq!(
            named(json!([1])),
            [
                "e.metadata: Invalid value: [1]: json: cannot unmarshal array into Go value of type v1.ObjectMeta"
            ]
        );
        let found = named(json!({"name": "..", "namespace": "$", "generateName": "a/",
            "labels": {"#": "#"}, "annotations": {"#": ""}, "generation": -1,
            "finalizers": ["#"], "ownerReferences": [{"apiVersion": "v1", "kind": "A", "name": "b"}]}));
        for path in [
            "name: Invalid value: \"..\"",
            "namespace: Invalid value: \"$\"",
            "generateName: Invalid value: \"a/\"",
            "generation: Invalid value: -1",
            "labels: Invalid value",
            "annotations: Invalid value",
            "finalizers",
            "ownerReferences",
        ] {
            let wanted = format!("e.metadata.{path}");
            assert!(found.iter().any(|text| text.starts_with(&wanted)), "{wanted}: {found:#?}");
        }
        let kind = said(&json!({"apiVersion": "a/b/c", "kind": "foo.bar"}));
        assert_eq!(
            kind[0],
            r#"e.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c"#
        );
        assert!(kind[1].contains("may have mixed case, but should otherwise match: "), "{kind:?}");
    }
}
