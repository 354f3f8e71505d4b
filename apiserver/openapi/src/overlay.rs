//! The facts of the schema table, laid over the schemas k8s-openapi writes.

use crate::enums;
use kubeplane_core::schema::{self, Field, Kind, ListType, Presence, Schema};
use serde_json::{Map, Value, json};

const LIST_TYPE: &str = "x-kubernetes-list-type";
const MAP_TYPE: &str = "x-kubernetes-map-type";

/// What the schema table does not tell, as it is so of few fields or has no such definition: definition without
/// `io.k8s.`, field, word and value.
const EXCEPTIONS: [(&str, &str, &str, &str); 12] = [
    ("api.core.v1.PersistentVolumeClaimStatus", "allocatedResourceStatuses", MAP_TYPE, "granular"),
    ("api.core.v1.PersistentVolumeSpec", "claimRef", MAP_TYPE, "granular"),
    ("api.policy.v1.PodDisruptionBudgetSpec", "selector", "x-kubernetes-patch-strategy", "replace"),
    ("apimachinery.pkg.apis.meta.v1.APIGroup", "serverAddressByClientCIDRs", LIST_TYPE, "atomic"),
    ("apimachinery.pkg.apis.meta.v1.APIGroup", "versions", LIST_TYPE, "atomic"),
    ("apimachinery.pkg.apis.meta.v1.APIGroupList", "groups", LIST_TYPE, "atomic"),
    ("apimachinery.pkg.apis.meta.v1.APIResource", "categories", LIST_TYPE, "atomic"),
    ("apimachinery.pkg.apis.meta.v1.APIResource", "shortNames", LIST_TYPE, "atomic"),
    ("apimachinery.pkg.apis.meta.v1.APIResourceList", "resources", LIST_TYPE, "atomic"),
    (
        "apimachinery.pkg.apis.meta.v1.APIVersions",
        "serverAddressByClientCIDRs",
        LIST_TYPE,
        "atomic",
    ),
    ("apimachinery.pkg.apis.meta.v1.APIVersions", "versions", LIST_TYPE, "atomic"),
    ("kube-aggregator.pkg.apis.apiregistration.v1.APIServiceSpec", "caBundle", LIST_TYPE, "atomic"),
];

/// Completes one named definition, and names the values of enumerations if `listed`.
pub(crate) fn complete(name: &str, definition: &mut Value, listed: bool) {
    if let Some(known) = scalar(name, definition) {
        *definition = known;
        return;
    }
    // Events need it: the original forgot to say otherwise.
    if name != "io.k8s.api.core.v1.Event" {
        optional_metadata(definition);
    }
    exceptions(name, definition);
    let Some(schema) = schema::builtin(name) else { return };
    if let Kind::Object { atomic: true, .. } = schema.kind {
        definition[MAP_TYPE] = "atomic".into();
    }
    required(&schema, definition);
    let Some(properties) = definition.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    for (field, property) in properties {
        if let Some(property) = property.as_object_mut() {
            if listed {
                enums::complete(name, field, property);
            }
            if let Some(field) = schema.field(field) {
                complete_field(field, property);
            }
        }
    }
}

fn exceptions(name: &str, definition: &mut Value) {
    let name = name.strip_prefix("io.k8s.").unwrap_or_default();
    for (_, field, word, value) in EXCEPTIONS.iter().filter(|(of, ..)| *of == name) {
        if let Some(Value::Object(property)) = definition["properties"].get_mut(field) {
            property.insert((*word).into(), (*value).into());
        }
    }
}

/// What must be sent, in the order of the fields: k8s-openapi also names what is only never null.
fn required(schema: &Schema, definition: &mut Value) {
    let Some(map) = definition.as_object_mut() else { return };
    let Some(Value::Array(required)) = map.get_mut("required") else { return };
    let field = |name: &Value| name.as_str().and_then(|name| schema.field(name));
    required.retain(|name| field(name).is_none_or(|field| field.presence != Presence::OmitEmpty));
    required.sort_by_key(|name| field(name).map(|field| field.tag));
    if required.is_empty() {
        map.remove("required");
    }
}

/// No kind needs metadata to be sent, whatever k8s-openapi says.
fn optional_metadata(definition: &mut Value) {
    let is_kind = definition["properties"]["kind"].is_object();
    let Some(map) = definition.as_object_mut().filter(|_| is_kind) else { return };
    let Some(Value::Array(required)) = map.get_mut("required") else { return };
    required.retain(|name| name != "metadata");
    if required.is_empty() {
        map.remove("required");
    }
}

/// Types whose JSON is not one type.
fn scalar(name: &str, definition: &Value) -> Option<Value> {
    let description = &definition["description"];
    match name {
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString" => Some(json!({
            "description": description, "format": "int-or-string",
            "oneOf": [{"type": "integer"}, {"type": "string"}],
        })),
        "io.k8s.apimachinery.pkg.api.resource.Quantity" => Some(json!({
            "description": description, "oneOf": [{"type": "string"}, {"type": "number"}],
        })),
        _ => {
            // A value of any kind, and the JSONSchemaProps or something else of a definition's schema.
            let part =
                name.strip_prefix("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.")?;
            let any = part == "JSON" || part.starts_with("JSONSchemaPropsOr");
            any.then(|| json!({"description": description}))
        }
    }
}

/// What a field that is always written holds when nothing was sent.
fn empty(schema: &Schema) -> Option<Value> {
    match schema.kind {
        Kind::Object { .. } => Some(json!({})),
        Kind::String => Some(json!("")),
        Kind::Integer { .. } | Kind::Number => Some(json!(0)),
        Kind::Boolean => Some(json!(false)),
        _ => None,
    }
}

fn complete_field(field: &Field, property: &mut Map<String, Value>) {
    if let Some(default) = field.default_value() {
        property.insert("default".into(), default);
    } else if field.presence == Presence::Always
        && let Some(default) = empty(&field.schema)
    {
        property.insert("default".into(), default);
    }
    match &field.schema.kind {
        Kind::List { list, .. } => list_facts(list, property),
        Kind::Map { atomic: true, .. } => {
            property.insert(MAP_TYPE.into(), "atomic".into());
        }
        _ => {}
    }
    patch_facts(field, property);
}

/// How a field merges in a strategic merge patch.
pub(crate) fn patch_facts(field: &Field, property: &mut Map<String, Value>) {
    let strategy = match (field.patch.merge, field.patch.retain_keys) {
        (true, true) => "merge,retainKeys",
        (true, false) => "merge",
        (false, true) => "retainKeys",
        (false, false) => return,
    };
    property.insert("x-kubernetes-patch-strategy".into(), strategy.into());
    if !field.patch.merge_key.is_empty() {
        property
            .insert("x-kubernetes-patch-merge-key".into(), field.patch.merge_key.as_ref().into());
    }
}

/// How a list merges in server-side apply.
pub(crate) fn list_facts(list: &ListType, property: &mut Map<String, Value>) {
    let word = match list {
        ListType::Atomic => "atomic",
        ListType::Set => "set",
        ListType::Map(keys) => {
            property.insert("x-kubernetes-list-map-keys".into(), json!(keys));
            "map"
        }
    };
    property.insert(LIST_TYPE.into(), word.into());
}
