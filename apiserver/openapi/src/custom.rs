//! What a CustomResourceDefinition says about its objects.

use crate::operations::reference;
use kubeplane_apiserver::Api;
use kubeplane_core::{Definition, GroupResource, Object, schema::SchemaRef};
use serde_json::{Value, json};
use std::sync::Arc;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The object a custom kind comes from, and its state.
#[derive(Debug, Clone)]
pub(crate) struct Custom(Option<Arc<Object>>);

impl Custom {
    /// Of a kind; built-in kinds have none.
    pub(crate) async fn of(api: &Api, definition: &Definition) -> Self {
        if matches!(definition.schema, SchemaRef::Static(_)) {
            return Self(None);
        }
        let name = format!("{}.{}", definition.plural, definition.kind.group);
        Self(api.reader().get(&resource(), "", &name).await.ok().flatten())
    }

    /// The state of the specification, to be compared.
    pub(crate) fn state(&self) -> Option<(String, i64)> {
        self.0.as_ref().map(|crd| (crd.uid().to_owned(), crd.generation()))
    }

    /// The schema of a version, as an OpenAPI definition.
    pub(crate) fn schema(&self, version: &str) -> Option<Value> {
        let versions = self.0.as_ref()?.at(&["spec", "versions"])?.as_array()?;
        let wanted = versions.iter().find(|candidate| candidate["name"] == version)?;
        let mut schema = wanted["schema"]["openAPIV3Schema"].clone();
        schema.as_object()?;
        embedded(&mut schema);
        as_resource(&mut schema);
        Some(schema)
    }
}

/// The resource custom kinds are stored as.
pub(crate) fn resource() -> GroupResource {
    GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions")
}

/// Gives every embedded resource the fields all resources have.
fn embedded(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(embedded);
            let is_resource = map.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true));
            if is_resource {
                as_resource(schema);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(embedded),
        _ => {}
    }
}

fn as_resource(schema: &mut Value) {
    let texts = [
        (
            "apiVersion",
            "APIVersion defines the schema that the object follows: a group and a version.",
        ),
        ("kind", "Kind is what type of object this is, in CamelCase."),
    ];
    for (name, text) in texts {
        schema["properties"][name] = json!({"type": "string", "description": text});
    }
    schema["properties"]["metadata"] =
        json!({"allOf": [reference(META)], "description": "Standard object's metadata."});
}
