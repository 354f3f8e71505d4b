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
}

impl VersionForm {
    fn of(version: &Value, preserves: bool) -> Self {
        let json = version.pointer("/schema/openAPIV3Schema").filter(|json| json.is_object());
        let schema = json.map(Props::parse);
        let shape = match schema.as_ref().filter(|_| !preserves) {
            Some(schema) => schema::of_resource(schema),
            None => schema::of_nothing(),
        };
        Self { shape, schema }
    }

    /// Fills in defaults, and takes away nulls where null is no value.
    pub(crate) fn default(&self, object: &mut Object) {
        let mut value = Value::Object(std::mem::take(object.map_mut()));
        decode::apply_schema_defaults(&mut value, &self.shape);
        if let Some(schema) = &self.schema {
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
