//! The versions of a custom resource: how objects of each are stored, and fitted to it after a conversion.

use crate::{
    kind::versions,
    props::{Additional, Props},
    schema,
};
use kubeplane_core::{Object, decode, schema::SchemaRef};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// One version: its schema, and the shape that is made of it.
#[derive(Debug)]
pub(crate) struct VersionForm {
    pub(crate) shape: SchemaRef,
    pub(crate) schema: Option<Props>,
    /// There are defaults that the shape does not know.
    beyond_shape: bool,
}

impl VersionForm {
    fn of(version: &Value, preserves: bool) -> Self {
        let json = version.pointer("/schema/openAPIV3Schema").filter(|json| json.is_object());
        let schema = json.map(Props::parse);
        let shape = match schema.as_ref().filter(|_| !preserves) {
            Some(schema) => schema::of_resource(schema),
            None => schema::of_nothing(),
        };
        let beyond_shape = schema.as_ref().is_some_and(|schema| schema.any(is_beyond_shape));
        Self { shape, schema, beyond_shape }
    }

    /// Fills in defaults, and takes away nulls where null is no value.
    pub(crate) fn default(&self, object: &mut Object) {
        let mut value = Value::Object(std::mem::take(object.map_mut()));
        decode::apply_schema_defaults(&mut value, &self.shape);
        if let Some(schema) = &self.schema {
            if self.beyond_shape {
                fill(schema, &mut value);
            }
            drop_nulls(schema, &mut value);
        }
        if let Value::Object(map) = value {
            *object.map_mut() = map;
        }
    }

    /// Drops what this version does not know.
    pub(crate) fn prune(&self, object: &mut Object) {
        decode::prune(object, &self.shape);
    }
}

/// All versions of a definition, shared by the kinds it defines.
#[derive(Debug)]
pub(crate) struct Forms {
    /// By API version, group and all.
    all: BTreeMap<String, Arc<VersionForm>>,
    /// The definition was another one before.
    changed: bool,
}

impl Forms {
    pub(crate) fn of(crd: &Object) -> Arc<Self> {
        let group = crd.text(&["spec", "group"]);
        // Only definitions of old, which the original stored, say so.
        let preserves = crd.at(&["spec", "preserveUnknownFields"]) == Some(&Value::Bool(true));
        let named = |version: &Value| {
            let name = format!("{group}/{}", version.get("name")?.as_str()?);
            Some((name, Arc::new(VersionForm::of(version, preserves))))
        };
        let all = versions(crd).iter().filter_map(named).collect();
        Arc::new(Self { all, changed: crd.generation() > 1 })
    }

    /// The form of an API version, as in `example.com/v1`.
    pub(crate) fn of_version(&self, version: &str) -> Option<&Arc<VersionForm>> {
        self.all.get(version)
    }

    /// Whether objects may have been stored by another schema than today's.
    pub(crate) fn changed(&self) -> bool {
        self.changed
    }

    /// Brings a stored object up to what its own version is today: without fields that are no more, with the defaults that
    /// came since.
    pub(crate) fn restore(&self, object: &mut Object) {
        if let Some(form) = self.all.get(object.api_version()) {
            form.prune(object);
            form.default(object);
        }
    }
}

/// Whether this node has defaults that the shape does not know: of what names a resource inside another, whose shape is
/// that of all metadata, and of a list's nulls.
fn is_beyond_shape(node: &Props) -> bool {
    let named = ["apiVersion", "kind", "metadata"].into_iter();
    let mut named = named.filter(|_| node.embedded).filter_map(|name| node.properties.get(name));
    named.any(|below| below.any(|below| below.default.is_some()))
        || node.items.as_ref().is_some_and(|items| items.default.is_some())
}

/// Fills in all defaults: those below a default too.
fn fill(schema: &Props, value: &mut Value) {
    let missing = |below: &Props, value: Option<&Value>| {
        value.is_none_or(|value| value.is_null() && !below.nullable)
    };
    match value {
        Value::Object(map) => {
            for (name, below) in &schema.properties {
                if let Some(default) = &below.default
                    && missing(below, map.get(name))
                {
                    map.insert(name.clone(), default.clone());
                }
            }
            let values = schema.additional.as_ref().and_then(Additional::schema);
            for (key, value) in map {
                if let Some(below) = schema.properties.get(key).or(values) {
                    fill(below, value);
                }
            }
        }
        Value::Array(list) => {
            let Some(items) = &schema.items else { return };
            for item in list {
                if let Some(default) = &items.default
                    && missing(items, Some(&*item))
                {
                    *item = default.clone();
                }
                fill(items, item);
            }
        }
        _ => {}
    }
}

/// Takes away nulls where null is no value; those with a default have got it.
fn drop_nulls(schema: &Props, value: &mut Value) {
    match value {
        Value::Object(map) => {
            let values = schema.additional.as_ref().and_then(Additional::schema);
            map.retain(|key, value| {
                let below = schema.properties.get(key).or(values);
                below.is_none_or(|below| below.nullable || !value.is_null())
            });
            for (key, value) in map {
                if let Some(below) = schema.properties.get(key).or(values) {
                    drop_nulls(below, value);
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = &schema.items {
                list.iter_mut().for_each(|item| drop_nulls(items, item));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_reach_into_the_metadata_of_resources_and_the_nulls_of_lists() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "inside": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {
                "apiVersion": {"type": "string", "default": "e.com/v1"},
                "kind": {"type": "string", "default": "Thing"},
                "metadata": {"type": "object", "default": {}, "properties": {
                    "name": {"type": "string", "default": "own"},
                }},
            }},
            "all": {"type": "array", "items": {"type": "integer", "default": 7}},
        }}}});
        let version = json!({"name": "v1", "schema": {"openAPIV3Schema": schema}});
        let form = VersionForm::of(&version, false);
        let sent = json!({"spec": {"inside": {"kind": "Other"}, "all": [1, null]}});
        let mut object = Object::from_value(sent).unwrap();
        form.default(&mut object);
        let inside = json!({"apiVersion": "e.com/v1", "kind": "Other",
            "metadata": {"name": "own"}});
        assert_eq!(object.at(&["spec", "inside"]), Some(&inside));
        assert_eq!(object.at(&["spec", "all"]), Some(&json!([1, 7])));
    }
}
