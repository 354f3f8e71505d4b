//! The resources of one version.

use crate::registry::Registry;
use base64::{Engine, engine::general_purpose::STANDARD};
use kubeplane_core::{Definition, GroupVersion, definition::Verb, schema::SchemaRef};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// `/api/{version}` and `/apis/{group}/{version}`; `None` when the version is not served. Unless `hashed`, only kinds made at run
/// time tell of their stored version: the gate is not asked for those.
pub(super) fn list(registry: &Registry, version: &GroupVersion, hashed: bool) -> Option<Value> {
    let mut resources = Vec::new();
    for resource in registry.of_version(version) {
        let definition = resource.definition();
        resources.push(whole(definition, hashed));
        resources.extend(definition.subresources.iter().map(|subresource| {
            let mut value = json!({
                "name": format!("{}/{}", definition.plural, subresource.name),
                "singularName": "", "namespaced": definition.is_namespaced(),
                "kind": subresource.kind.kind, "verbs": verbs(&subresource.verbs),
            });
            if subresource.kind.group_version() != *version {
                value["group"] = subresource.kind.group.clone().into();
                value["version"] = subresource.kind.version.clone().into();
            }
            value
        }));
    }
    resources.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    (!resources.is_empty()).then(|| {
        json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version.to_string(), "resources": resources,
        })
    })
}

fn whole(definition: &Definition, hashed: bool) -> Value {
    let mut value = json!({
        "name": definition.plural, "singularName": definition.singular,
        "namespaced": definition.is_namespaced(), "kind": definition.kind.kind,
        "verbs": of_kind(definition),
    });
    if !definition.short_names.is_empty() {
        value["shortNames"] = definition.short_names.clone().into();
    }
    if !definition.categories.is_empty() {
        value["categories"] = definition.categories.clone().into();
    }
    let hashed = hashed || matches!(definition.schema, SchemaRef::Shared(_));
    if hashed && definition.verbs.contains(&Verb::Get) {
        value["storageVersionHash"] = storage_hash(definition).into();
    }
    value
}

/// Tells clients when the stored version of a resource changes.
fn storage_hash(definition: &Definition) -> String {
    let (group, version) = (&definition.kind.group, &definition.storage_version);
    let text = format!("{group}/{version}/{}", definition.kind.kind);
    STANDARD.encode(&Sha256::digest(text.as_bytes())[..8])
}

/// The verbs of a kind; in the original those of kinds made at run time have an order of their own.
pub(super) fn of_kind(definition: &Definition) -> Value {
    use Verb::{Create, Delete, DeleteCollection, Get, List, Patch, Update, Watch};
    const CUSTOM: [Verb; 8] = [Delete, DeleteCollection, Get, List, Patch, Create, Update, Watch];
    if let SchemaRef::Static(_) = definition.schema {
        return verbs(&definition.verbs);
    }
    let served = CUSTOM.iter().filter(|verb| definition.verbs.contains(verb));
    served.map(|verb| verb.as_str()).collect()
}

/// Verbs as discovery prints them.
pub(super) fn verbs(verbs: &[Verb]) -> Value {
    let mut names: Vec<_> = verbs.iter().map(|verb| verb.as_str()).collect();
    names.sort_unstable();
    names.into()
}
