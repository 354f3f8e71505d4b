//! Everything in one document: `apidiscovery.k8s.io`.

use super::{
    groups,
    resources::{of_kind, verbs},
};
use crate::{output::Media, registry::Registry};
use http::{HeaderMap, header};
use kubeplane_core::{Definition, GroupVersion, GroupVersionKind};
use serde_json::{Value, json};

/// The version of the aggregated form that a client prefers to the old forms, if it does, and how it is written.
pub(super) fn wanted(headers: &HeaderMap) -> Option<(&'static str, Media)> {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for clause in values.flat_map(|value| value.split(',')) {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let Some(media) = Media::named(media) else { continue };
        let parameters: Vec<_> = parts.collect();
        let aggregated = parameters.contains(&"g=apidiscovery.k8s.io")
            && parameters.contains(&"as=APIGroupDiscoveryList");
        match aggregated {
            true if parameters.contains(&"v=v2") => return Some(("v2", media)),
            true if parameters.contains(&"v=v2beta1") => return Some(("v2beta1", media)),
            true => {}
            false => return None,
        }
    }
    None
}

/// The document of `/api` or `/apis`.
pub(super) fn document(registry: &Registry, path: &str, version: &str) -> Value {
    let groups = if path == "api" {
        let core =
            groups::versions(registry).into_iter().filter(|version| version.group.is_empty());
        vec![(String::new(), core.collect())]
    } else {
        groups::grouped(registry)
    };
    let items: Vec<_> =
        groups.iter().map(|(name, versions)| group(registry, name, versions)).collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {}, "items": items,
    })
}

fn group(registry: &Registry, name: &str, versions: &[GroupVersion]) -> Value {
    let delegation = registry.delegation();
    let versions: Vec<_> = versions
        .iter()
        .map(|version| {
            if let Some(other) = delegation.delegated.get(version) {
                let freshness = if other.fresh { "Current" } else { "Stale" };
                let mut said = json!({"version": version.version, "freshness": freshness});
                if !other.resources.is_empty() {
                    said["resources"] = Value::Array(other.resources.to_vec());
                }
                return said;
            }
            let resources: Vec<_> = registry
                .of_version(version)
                .iter()
                .map(|resource| described(resource.definition()))
                .collect();
            json!({"version": version.version, "resources": resources, "freshness": "Current"})
        })
        .collect();
    let metadata = if name.is_empty() {
        json!({"creationTimestamp": null})
    } else {
        json!({"name": name, "creationTimestamp": null})
    };
    json!({"metadata": metadata, "versions": versions})
}

fn described(definition: &Definition) -> Value {
    let mut value = json!({
        "resource": definition.plural, "responseKind": kind(&definition.kind),
        "scope": if definition.is_namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": definition.singular, "verbs": of_kind(definition),
    });
    if !definition.short_names.is_empty() {
        value["shortNames"] = definition.short_names.clone().into();
    }
    if !definition.categories.is_empty() {
        value["categories"] = definition.categories.clone().into();
    }
    let mut parts: Vec<_> = definition.subresources.iter().collect();
    parts.sort_by(|a, b| a.name.cmp(&b.name));
    let parts: Vec<_> = parts
        .iter()
        .map(|part| json!({"subresource": part.name, "responseKind": kind(&part.kind), "verbs": verbs(&part.verbs)}))
        .collect();
    if !parts.is_empty() {
        value["subresources"] = parts.into();
    }
    value
}

fn kind(kind: &GroupVersionKind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}
