//! Whatever discovery names, the documents tell of: its kind with texts, and a path for each verb.

use crate::{
    documents::references,
    server::{ask, builder},
};
use kubeplane_apiserver::ApiServer;
use kubeplane_core::features::Features;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// With the alpha and beta kinds too.
fn whole() -> ApiServer {
    let features: Features = "GenericWorkload=true,DRADeviceTaintRules=true".parse().unwrap();
    let optional = kubeplane_builtin::optional(&features);
    let builder = builder().resources(optional).features(features);
    builder.versions("api/all=true".parse().unwrap()).build().unwrap()
}

async fn get(server: &ApiServer, path: &str) -> Value {
    ask(server, path, &[("accept", "application/json")]).await.json()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// As `apis/apps/v1`.
async fn versions(server: &ApiServer) -> Vec<String> {
    let mut found = vec!["api/v1".to_owned()];
    for group in items(&get(server, "/apis").await["groups"]) {
        let versions = items(&group["versions"]).iter();
        found.extend(versions.map(|one| format!("apis/{}", text(&one["groupVersion"]))));
    }
    found
}

/// The kind of a resource; its group version is not named where it is that of the list.
fn identity(version: &str, resource: &Value) -> Value {
    let own = version.strip_prefix("apis/").and_then(|own| own.split_once('/'));
    let (group, version) = own.unwrap_or(("", "v1"));
    let group = resource["group"].as_str().unwrap_or(group);
    let version = resource["version"].as_str().unwrap_or(version);
    json!({"group": group, "version": version, "kind": resource["kind"]})
}

fn is_of(schema: &Value, identity: &Value) -> bool {
    items(&schema["x-kubernetes-group-version-kind"]).contains(identity)
}

/// Where a verb goes, and by which method.
fn place(version: &str, resource: &Value, verb: &str) -> (String, &'static str) {
    let name = text(&resource["name"]);
    let (plural, part) = match name.split_once('/') {
        Some((plural, part)) => (plural, format!("/{part}")),
        None => (name, String::new()),
    };
    let within = if resource["namespaced"] == true { "namespaces/{namespace}/" } else { "" };
    let all = part.is_empty() && matches!(verb, "create" | "list" | "deletecollection");
    let one = if all { "" } else { "/{name}" };
    let method = match verb {
        "create" => "post",
        "update" => "put",
        "patch" => "patch",
        "delete" | "deletecollection" => "delete",
        _ => "get",
    };
    (format!("/{version}/{within}{plural}{one}{part}"), method)
}

#[tokio::test]
async fn every_kind_of_discovery_is_explained() {
    let server = whole();
    let versions = versions(&server).await;
    let mut seen = 0;
    for version in &versions {
        let document = get(&server, &format!("/openapi/v3/{version}")).await;
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for target in found {
            assert!(document.pointer(&target[1..]).is_some(), "{version}: {target} is missing");
        }
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for resource in items(&get(&server, &format!("/{version}")).await["resources"]) {
            // What connections take are parameters of theirs.
            if text(&resource["kind"]).ends_with("Options") {
                continue;
            }
            let identity = identity(version, resource);
            let schema = schemas.values().find(|schema| is_of(schema, &identity));
            let schema = schema.unwrap_or_else(|| panic!("{}: {identity}", resource["name"]));
            assert_ne!(text(&schema["description"]), "", "{identity}");
            for (field, property) in schema["properties"].as_object().unwrap() {
                // The original has no text for it either.
                let untold = identity["kind"] == "CertificateSigningRequest" && field == "metadata";
                assert!(untold || property["description"].is_string(), "{identity} {field}");
            }
            seen += 1;
        }
    }
    assert!(versions.len() > 22 && seen > 100, "{} versions, {seen} kinds", versions.len());
}

#[tokio::test]
async fn every_verb_of_discovery_has_its_path_in_both_documents() {
    let server = whole();
    let swagger = get(&server, "/openapi/v2").await;
    for version in versions(&server).await {
        let document = get(&server, &format!("/openapi/v3/{version}")).await;
        for resource in items(&get(&server, &format!("/{version}")).await["resources"]) {
            let verbs = items(&resource["verbs"]).iter().map(text);
            // A watch is a list that goes on.
            for verb in verbs.filter(|verb| *verb != "watch") {
                let (path, method) = place(&version, resource, verb);
                for paths in [&document["paths"], &swagger["paths"]] {
                    assert!(paths[&path][method].is_object(), "{verb} {method} {path}");
                }
            }
        }
    }
}

#[tokio::test]
async fn values_of_enumerations_are_named_unless_the_gate_is_off() {
    let off: Features = "OpenAPIEnums=false".parse().unwrap();
    for (builder, named) in [(builder(), true), (builder().features(off), false)] {
        let server = builder.build().unwrap();
        let core = get(&server, "/openapi/v3/api/v1").await;
        let policy = core
            .pointer("/components/schemas/io.k8s.api.core.v1.Container/properties/imagePullPolicy");
        assert_eq!(policy.unwrap()["enum"].is_array(), named);
        let swagger = get(&server, "/openapi/v2").await;
        let policy =
            swagger.pointer("/definitions/io.k8s.api.core.v1.Container/properties/imagePullPolicy");
        assert_eq!(policy.unwrap()["enum"].is_array(), named);
    }
}
