//! The component schemas of a group version.

use crate::{
    custom::Custom,
    kinds,
    operations::{META, reference},
    overlay, shape,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use kubeplane_core::{
    Definition,
    definition::{Subresource, Verb},
    schema::SchemaRef,
};
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The OpenAPI name of a kind.
pub(crate) fn open_name(definition: &Definition) -> String {
    if let SchemaRef::Static(schema) = &definition.schema
        && !schema.name.is_empty()
    {
        return schema.name.to_string();
    }
    let kind = &definition.kind;
    let group: Vec<_> = kind.group.split('.').rev().filter(|part| !part.is_empty()).collect();
    format!("{}.{}.{}", group.join("."), kind.version, kind.kind)
}

/// The OpenAPI name of a kind's list.
pub(crate) fn list_name(definition: &Definition) -> String {
    let name = open_name(definition);
    let package = name.rsplit_once('.').map_or("", |(package, _)| package);
    format!("{package}.{}", definition.list_kind)
}

/// The OpenAPI name of what a subresource reads and writes, where it is known.
pub(crate) fn subresource_name(
    definition: &Definition,
    subresource: &Subresource,
) -> Option<String> {
    if subresource.kind == definition.kind {
        return Some(open_name(definition));
    }
    kinds::of_kind(&subresource.kind).map(kinds::Described::name)
}

/// All schemas the paths of these kinds refer to; with the values of enumerations if `listed`, as by the gate `OpenAPIEnums`.
pub(crate) fn of_version(kinds: &[(Arc<Definition>, Custom)], listed: bool) -> Map<String, Value> {
    let mut generator = SchemaSettings::openapi3().into_generator();
    shared(&mut generator);
    for (definition, _) in kinds {
        if let Some(known) = described(definition) {
            known.add(&mut generator);
        }
        let subresources = definition.subresources.iter();
        subresources
            .filter_map(|sub| kinds::of_kind(&sub.kind))
            .for_each(|known| known.add(&mut generator));
    }
    let mut schemas = generator.take_definitions(true);
    for (name, schema) in &mut schemas {
        overlay::complete(name, schema, listed);
    }
    for (definition, custom) in kinds {
        own(definition, custom, &mut schemas);
        of_subresources(definition, &mut schemas);
    }
    stand_alone(&mut schemas);
    if let Some((definition, _)) = kinds.first() {
        of_all(definition, &mut schemas);
    }
    schemas
}

pub(crate) const IDENTITY: &str = "x-kubernetes-group-version-kind";

/// Says what kinds those are that subresources read and write.
fn of_subresources(definition: &Definition, schemas: &mut Map<String, Value>) {
    for sub in definition.subresources.iter().filter(|sub| sub.kind != definition.kind) {
        let known = kinds::of_kind(&sub.kind);
        if let Some(schema) = known.and_then(|known| schemas.get_mut(&known.name())) {
            let kind = &sub.kind;
            let (group, version) = (&kind.group, &kind.version);
            schema[IDENTITY] = json!([{"group": group, "version": version, "kind": kind.kind}]);
        }
    }
}

/// The same of what every group version has of its own.
fn of_all(definition: &Definition, schemas: &mut Map<String, Value>) {
    let core = |kind| json!({"group": "", "version": "v1", "kind": kind});
    for kind in ["APIResourceList", "DeleteOptions", "Status", "WatchEvent"] {
        let Some(schema) = schemas.get_mut(&format!("{META}.{kind}")) else { continue };
        let mut identities = vec![core(kind)];
        let own = matches!(kind, "DeleteOptions" | "WatchEvent");
        if own && !definition.kind.group.is_empty() {
            let (group, version) = (&definition.kind.group, &definition.kind.version);
            identities.push(json!({"group": group, "version": version, "kind": kind}));
        }
        schema[IDENTITY] = identities.into();
    }
}

fn described(definition: &Definition) -> Option<&'static kinds::Described> {
    let builtin = matches!(definition.schema, SchemaRef::Static(_));
    kinds::of_kind(&definition.kind).filter(|_| builtin)
}

/// What every group version refers to.
fn shared(generator: &mut SchemaGenerator) {
    generator.subschema_for::<meta::APIResourceList>();
    generator.subschema_for::<meta::DeleteOptions>();
    generator.subschema_for::<meta::ListMeta>();
    generator.subschema_for::<meta::ObjectMeta>();
    generator.subschema_for::<meta::Status>();
}

fn own(definition: &Definition, custom: &Custom, schemas: &mut Map<String, Value>) {
    let name = open_name(definition);
    let kind = &definition.kind;
    let mut schema = match schemas.remove(&name).or_else(|| custom.schema(&kind.version)) {
        Some(schema) => schema,
        None => shape::written_out(&definition.schema, schemas),
    };
    schema[IDENTITY] = identity(definition, &kind.kind);
    schemas.insert(name.clone(), schema);
    if definition.verbs.contains(&Verb::List) {
        schemas.insert(list_name(definition), list(definition, &name));
    }
}

fn identity(definition: &Definition, kind: &str) -> Value {
    json!([{"group": definition.kind.group, "version": definition.kind.version, "kind": kind}])
}

fn list(definition: &Definition, item: &str) -> Value {
    let kind = &definition.kind.kind;
    json!({
        "description": format!("{} is a list of {kind} objects.", definition.list_kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": "The group and version of the list."},
            "kind": {"type": "string", "description": "The kind of the list."},
            "metadata": {
                "allOf": [reference(&format!("{META}.ListMeta"))], "default": {},
                "description": "The version of the list, and how to get its next part.",
            },
            "items": {
                "type": "array", "description": format!("The {kind} objects."),
                "items": reference(item),
            },
        },
        "x-kubernetes-group-version-kind": identity(definition, &definition.list_kind),
    })
}

/// Shapes of requests and streams that are no kinds.
fn stand_alone(schemas: &mut Map<String, Value>) {
    let raw = json!({"description": "Any object.", "type": "object"});
    schemas.entry("io.k8s.apimachinery.pkg.runtime.RawExtension").or_insert(raw);
    let patch =
        json!({"description": "A patch, in the form of its content type.", "type": "object"});
    schemas.insert(format!("{META}.Patch"), patch);
    let event = json!({
        "description": "One event of a watch.",
        "type": "object",
        "required": ["type", "object"],
        "properties": {
            "type": {"type": "string", "default": ""},
            "object": {
                "allOf": [reference("io.k8s.apimachinery.pkg.runtime.RawExtension")],
                "description": "The object; a Status when the type is ERROR.",
            },
        },
    });
    schemas.insert(format!("{META}.WatchEvent"), event);
}
