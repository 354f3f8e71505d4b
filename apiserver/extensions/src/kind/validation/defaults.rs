//! Defaults must themselves be what the schema asks for.

use crate::{embedded, props::Props, rules::Rules, schema::shape, value};
use kubeplane_core::{
    Object,
    admission::Warnings,
    decode,
    field::{Error, Errors, Path, aggregate},
    schema::{Field, Kind, PatchStrategy, Presence, Schema},
};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What is wrong with the defaults of a schema.
pub(super) fn validate(props: &Props, json: &Value, pruned: bool, path: &Path) -> Errors {
    below(&Place::default(), props, json, pruned, path)
}

/// Where a node stands in a resource inside the object.
#[derive(Debug, Default, Clone)]
struct Place<'a> {
    /// The innermost one.
    resource: Option<&'a Props>,
    /// How the node is reached from there; `None` is an index.
    steps: Vec<Option<&'a str>>,
}

impl<'a> Place<'a> {
    fn step(&self, to: Option<&'a str>) -> Self {
        let steps = self.steps.iter().copied().chain([to]).collect();
        Self { resource: self.resource, steps }
    }

    /// The resource, where the node says what it is or belongs to its metadata.
    fn in_metadata(&self) -> Option<&'a Props> {
        let named = matches!(self.steps.first(), Some(Some("apiVersion" | "kind" | "metadata")));
        self.resource.filter(|_| named)
    }

    /// The smallest resource that has this value at this place.
    fn around(&self, value: &Value) -> Value {
        let wrap = |inner, step: &Option<&str>| match step {
            Some(key) => Value::Object(Map::from_iter([((*key).to_owned(), inner)])),
            None => Value::Array(vec![inner]),
        };
        let mut whole = self.steps.iter().rev().fold(value.clone(), wrap);
        if let Value::Object(map) = &mut whole {
            map.entry("apiVersion").or_insert_with(|| "validation/v1".into());
            map.entry("kind").or_insert_with(|| "Validation".into());
        }
        whole
    }

    /// What is wrong with a default as part of a resource.
    fn errors(&self, props: &Props, default: &Value, at: &Path) -> Errors {
        let Some(resource) = self.in_metadata() else {
            return embedded::validate(props, default, at);
        };
        let found = embedded::validate(resource, &self.around(default), &Path::root());
        match aggregate(&found) {
            None => Vec::new(),
            Some(all) => {
                let detail = format!("must result in valid metadata: {all}");
                vec![Error::invalid(at, default.clone(), detail)]
            }
        }
    }
}

fn below<'a>(
    place: &Place<'a>,
    props: &'a Props,
    json: &Value,
    pruned: bool,
    path: &Path,
) -> Errors {
    static NULL: Value = Value::Null;
    let own = Place { resource: Some(props), steps: Vec::new() };
    let place = if props.embedded { &own } else { place };
    let mut errors = Vec::new();
    if let Some(default) = &props.default {
        let at = path.child("default");
        if pruned && place.in_metadata().is_none() && !is_pruned(props, default) {
            errors.push(Error::invalid(&at, default.clone(), "must not have unknown fields"));
        }
        let mut found = place.errors(props, default, &at);
        if found.is_empty() {
            found = value::validate(props, default, &at);
        }
        if found.is_empty()
            && let Some(rules) = Rules::of(json, props, props.embedded)
        {
            let unheard = Warnings::default();
            found = rules.validate(props, default, Some(default), &at, &unheard);
            if found.is_empty() {
                found = rules.validate(props, default, None, &at, &unheard);
            }
        }
        errors.extend(found);
    }
    if let Some(items) = &props.items {
        errors.extend(below(
            &place.step(None),
            items,
            json.get("items").unwrap_or(&NULL),
            pruned,
            &path.child("items"),
        ));
    }
    for (name, property) in &props.properties {
        let json =
            json.get("properties").and_then(|properties| properties.get(name)).unwrap_or(&NULL);
        let (place, path) = (place.step(Some(name.as_str())), path.child("properties").key(name));
        errors.extend(below(&place, property, json, pruned, &path));
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
