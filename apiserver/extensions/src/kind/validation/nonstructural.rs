//! The condition `NonStructuralSchema`, for definitions from before schemas had to be structural.

use super::{preserves, structural, versions::Version};
use crate::{conditions, props::Props};
use kubeplane_core::{
    Object,
    field::{Error, Errors, Path, aggregate},
};

const CONDITION: &str = "NonStructuralSchema";

/// What a structural schema has no word for, in the order it is looked for.
const UNREADABLE: [&str; 6] =
    ["id", "$ref", "patternProperties", "dependencies", "additionalItems", "definitions"];

/// Whether there may be something to say: what came in as `v1` is structural, and stays so.
pub(crate) fn is_possible(crd: &Object) -> bool {
    preserves(crd) || conditions::status(crd, CONDITION).is_some()
}

/// Says in a condition what keeps the schemas of a definition from being structural; whether that is something new.
pub(crate) fn note(crd: &mut Object, now: &str) -> bool {
    if !is_possible(crd) {
        return false;
    }
    match found(crd) {
        Some((status, reason, message)) => {
            conditions::set_at(crd, CONDITION, status, reason, &message, now)
        }
        None => conditions::remove(crd, CONDITION),
    }
}

fn found(crd: &Object) -> Option<(&'static str, &'static str, String)> {
    let mut errors = Errors::new();
    if preserves(crd) {
        let at = Path::new("spec.preserveUnknownFields");
        errors.push(Error::invalid(&at, true, "must be false"));
    }
    for (index, version) in Version::all(crd).iter().enumerate() {
        let Some(schema) = &version.schema else { continue };
        if let Some(why) = unreadable(schema) {
            let message =
                format!("failed to check validation schema for version {}: {why}", version.name);
            return Some(("Unknown", "StructuralError", message));
        }
        let at = Path::new("spec.versions").index(index).child("schema").child("openAPIV3Schema");
        errors.extend(structural::validate(schema, &at));
    }
    Some(("True", "Violations", aggregate(&errors)?))
}

/// Why a schema cannot be read as a structural one at all.
pub(super) fn unreadable(schema: &Props) -> Option<String> {
    let mut why = None;
    schema.walk(&mut |node| {
        if why.is_none() {
            why = unreadable_node(node);
        }
    });
    why
}

fn unreadable_node(node: &Props) -> Option<String> {
    if node.dialect && !node.unsupported.contains(&"id") {
        return Some("OpenAPIV3Schema 'schema' is not supported".to_owned());
    }
    if let Some(name) = UNREADABLE.iter().find(|name| node.unsupported.contains(name)) {
        return Some(format!("OpenAPIV3Schema '{name}' is not supported"));
    }
    if node.preserve_unknown == Some(false) {
        let why =
            "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined";
        return Some(why.to_owned());
    }
    node.items_list.then(|| "OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn definition(schema: Value) -> Object {
        let versions = json!([{"name": "v1", "schema": {"openAPIV3Schema": schema}}]);
        let crd = json!({"spec": {"preserveUnknownFields": true, "versions": versions}});
        Object::from_value(crd).unwrap()
    }

    fn said(crd: &Object) -> [String; 3] {
        let all = crd.at(&["status", "conditions"]).unwrap();
        ["status", "reason", "message"].map(|key| all[0][key].as_str().unwrap().to_owned())
    }

    #[test]
    fn what_is_not_structural_is_told_until_it_is() {
        let mut crd = definition(json!({"type": "object", "properties": {"spec": {}}}));
        assert!(note(&mut crd, "t1"));
        let [status, reason, message] = said(&crd);
        assert_eq!((status.as_str(), reason.as_str()), ("True", "Violations"));
        assert_eq!(
            message,
            "[spec.preserveUnknownFields: Invalid value: true: must be false, \
             spec.versions[0].schema.openAPIV3Schema.properties[spec].type: Required value: \
             must not be empty for specified object fields]"
        );
        assert!(!note(&mut crd, "t2"));
        let mut plain =
            definition(json!({"type": "object", "properties": {"spec": {"type": "string"}}}));
        assert!(note(&mut plain, "t1"));
        assert_eq!(
            said(&plain)[2],
            "spec.preserveUnknownFields: Invalid value: true: must be false"
        );

        crd.remove(&["spec", "preserveUnknownFields"]);
        let schema = json!({"type": "object", "properties": {"spec": {"type": "string"}}});
        let versions = json!([{"name": "v1", "schema": {"openAPIV3Schema": schema}}]);
        crd.set(&["spec", "versions"], versions);
        assert!(note(&mut crd, "t3"));
        assert_eq!(crd.at(&["status", "conditions"]), Some(&json!([])));
        assert!(!note(&mut crd, "t4"));
    }

    #[test]
    fn what_cannot_be_read_is_unknown() {
        let schema = json!({"type": "object", "definitions": {"a": {"type": "string"}}});
        let mut crd = definition(schema);
        assert!(note(&mut crd, "t1"));
        assert_eq!(
            said(&crd),
            [
                "Unknown",
                "StructuralError",
                "failed to check validation schema for version v1: OpenAPIV3Schema 'definitions' is not supported"
            ]
        );
    }
}
