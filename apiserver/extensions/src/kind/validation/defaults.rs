//! Defaults must themselves be what the schema asks for.

use crate::{embedded, props::Props, rules::Rules, schema::shape, value};
use kubeplane_core::{
    Object,
    admission::Warnings,
    decode,
    field::{Error, Errors, Path},
    schema::{Field, Kind, PatchStrategy, Presence, Schema},
};
use serde_json::Value;
use std::borrow::Cow;

/// What is wrong with the defaults of a schema.
pub(super) fn validate(props: &Props, json: &Value, pruned: bool, path: &Path) -> Errors {
    static NULL: Value = Value::Null;
    let mut errors = Vec::new();
    if let Some(default) = &props.default {
        let at = path.child("default");
        if pruned && !is_pruned(props, default) {
            errors.push(Error::invalid(&at, default.clone(), "must not have unknown fields"));
        }
        let mut found = embedded::validate(props, default, &at);
        if found.is_empty() {
            found = value::validate(props, default, &at);
        }
        if found.is_empty()
            && let Some(rules) = Rules::of(json, props, props.embedded)
        {
            let unheard = Warnings::default();
            found = rules.validate(default, Some(default), &at, &unheard);
            if found.is_empty() {
                found = rules.validate(default, None, &at, &unheard);
            }
        }
        errors.extend(found);
    }
    if let Some(items) = &props.items {
        errors.extend(validate(
            items,
            json.get("items").unwrap_or(&NULL),
            pruned,
            &path.child("items"),
        ));
    }
    for (name, property) in &props.properties {
        let json =
            json.get("properties").and_then(|properties| properties.get(name)).unwrap_or(&NULL);
        errors.extend(validate(property, json, pruned, &path.child("properties").key(name)));
    }
    errors
}

/// Whether no default of a schema has fields the schema does not know.
pub(super) fn are_pruned(props: &Props) -> bool {
    !props.any(|node| node.default.as_ref().is_some_and(|default| !is_pruned(node, default)))
}

fn is_pruned(props: &Props, default: &Value) -> bool {
    if !default.is_object() && !default.is_array() {
        return true;
    }
    // Pruning works on objects, so the value is put into one.
    let field = Field {
        name: "value".into(),
        schema: shape(props),
        required: false,
        nullable: true,
        presence: Presence::Optional,
        default: None,
        patch: PatchStrategy::default(),
        tag: 0,
    };
    let kind =
        Kind::Object { fields: Cow::Owned(vec![field]), preserve_unknown: false, atomic: false };
    let mut object = Object::default();
    object.set(&["value"], default.clone());
    decode::prune(&mut object, &Schema::anonymous(kind)).is_empty()
}
