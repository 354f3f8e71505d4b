//! What an extension API server says of itself: discovery and OpenAPI.

use crate::{availability::aggregator, proxy::Extension, services::Registered};
use bytes::Bytes;
use http::{Response, StatusCode, header};
use kubeplane_apiserver::{Api, Described};
use kubeplane_core::auth::UserInfo;
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, sync::Arc};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
const JSON: &str = "application/json";

/// What an extension says of one of its group versions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Documents {
    /// Items of `versions[].resources`.
    pub(crate) resources: Arc<Vec<Value>>,
    /// Its OpenAPI v3 document.
    pub(crate) openapi: Described,
    /// `paths` and `definitions` of OpenAPI v2; null for none.
    pub(crate) swagger: Arc<Value>,
}

/// Asks for everything. Without OpenAPI a group version is served all the same; where that cannot be fetched, what it said
/// before stays.
///
/// # Errors
/// When there is no discovery.
pub(crate) async fn fetch(
    api: &Api,
    registered: &Registered,
    extension: &Extension,
    before: Option<&Documents>,
) -> Result<Documents, String> {
    let resources = resources(api, registered, extension).await?;
    let user = UserInfo::new("system:aggregator", Vec::<String>::new());
    let read = |path: &'static str| extension.fetch(api, &user, path, JSON);
    let (index, whole) = (read("/openapi/v3").await, read("/openapi/v2").await);
    let own = registered.path().trim_start_matches('/').to_owned();
    let part = whole.as_ref().ok().and_then(|answer| swagger(answer, &own));
    let described = index.ok().and_then(|index| described(&index, whole.ok(), &own));
    Ok(Documents {
        resources: Arc::new(resources),
        openapi: described.or_else(|| before.map(|old| old.openapi.clone())).unwrap_or_default(),
        swagger: match part {
            Some(part) => Arc::new(part),
            None => before.map(|old| old.swagger.clone()).unwrap_or_default(),
        },
    })
}

/// Where the OpenAPI v3 document is. An extension that has no such path is taken by its OpenAPI v2 document.
/// `None` when the answers say nothing of that.
fn described(
    index: &Response<Bytes>,
    whole: Option<Response<Bytes>>,
    own: &str,
) -> Option<Described> {
    if index.status() == StatusCode::NOT_FOUND {
        let whole = whole?;
        return parsed(&whole)
            .is_ok_and(|document| document.is_object())
            .then(|| Described::Swagger(whole.into_body()));
    }
    let index = parsed(index).ok()?;
    Some(match index["paths"][own]["serverRelativeURL"].as_str() {
        Some(url) if !url.is_empty() => Described::At(url.to_owned()),
        _ => Described::Nowhere,
    })
}

/// What an OpenAPI v2 document says of the group version; null for nothing, `None` for an answer that is none.
fn swagger(answer: &Response<Bytes>, own: &str) -> Option<Value> {
    match parsed(answer) {
        Ok(document) => Some(part(document, &format!("/{own}/"))),
        Err(_) if answer.status() == StatusCode::NOT_FOUND => Some(Value::Null),
        Err(_) => None,
    }
}

fn parsed(answer: &Response<Bytes>) -> Result<Value, String> {
    let status = answer.status();
    if !status.is_success() {
        return Err(format!("the answer has status {}", status.as_u16()));
    }
    serde_json::from_slice(answer.body()).map_err(|error| error.to_string())
}

async fn resources(
    api: &Api,
    registered: &Registered,
    extension: &Extension,
) -> Result<Vec<Value>, String> {
    let version = &registered.version;
    let answer = extension.fetch(api, &aggregator(), "/apis", AGGREGATED).await?;
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if kind.is_some_and(|kind| kind.contains("as=APIGroupDiscoveryList")) {
        let document = parsed(&answer)?;
        let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
        let groups = list(&document, "items").into_iter();
        let own = groups.filter(|group| group["metadata"]["name"] == version.group.as_ref());
        let versions = own.flat_map(|group| list(&group, "versions"));
        let mut own = versions.filter(|found| found["version"] == version.version.as_ref());
        return Ok(own.next().map(|found| list(&found, "resources")).unwrap_or_default());
    }
    let answer = extension.fetch(api, &aggregator(), &registered.path(), JSON).await?;
    Ok(from_list(&parsed(&answer)?, &version.group, &version.version))
}

/// The resources of an `APIResourceList` in the aggregated form.
fn from_list(list: &Value, group: &str, version: &str) -> Vec<Value> {
    let all = list["resources"].as_array().map_or(&[][..], Vec::as_slice);
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let kind = |resource: &Value| {
        let or = |own: String, other: &str| if own.is_empty() { other.to_owned() } else { own };
        json!({"group": or(text(resource, "group"), group), "version": or(text(resource, "version"), version),
            "kind": text(resource, "kind")})
    };
    let mut found: Vec<Value> = Vec::new();
    for resource in all.iter().filter(|resource| !text(resource, "name").contains('/')) {
        let namespaced = resource["namespaced"].as_bool().unwrap_or(false);
        let mut described = json!({
            "resource": resource["name"], "responseKind": kind(resource),
            "scope": if namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": text(resource, "singularName"), "verbs": resource["verbs"],
        });
        for key in ["shortNames", "categories"] {
            if resource[key].is_array() {
                described[key] = resource[key].clone();
            }
        }
        let name = text(resource, "name");
        let parts: Vec<_> = all
            .iter()
            .filter_map(|part| Some((part, part["name"].as_str()?.strip_prefix(&name)?)))
            .filter_map(|(part, rest)| Some((part, rest.strip_prefix('/')?)))
            .map(|(part, rest)| {
                json!({"subresource": rest, "responseKind": kind(part), "verbs": part["verbs"]})
            })
            .collect();
        if !parts.is_empty() {
            described["subresources"] = parts.into();
        }
        found.push(described);
    }
    found
}

/// The paths below a prefix, and the definitions they need.
fn part(mut document: Value, prefix: &str) -> Value {
    let Value::Object(paths) = document["paths"].take() else { return Value::Null };
    let Value::Object(mut definitions) = document["definitions"].take() else { return Value::Null };
    let paths: Map<_, _> = paths.into_iter().filter(|(path, _)| path.starts_with(prefix)).collect();
    let mut kept = Map::new();
    let mut wanted = BTreeSet::new();
    let paths = Value::Object(paths);
    references(&paths, &mut wanted);
    while let Some(name) = wanted.pop_first() {
        if let Some(definition) = definitions.remove(&name) {
            references(&definition, &mut wanted);
            kept.insert(name, definition);
        }
    }
    json!({"paths": paths, "definitions": kept})
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            let name = map.get("$ref").and_then(Value::as_str);
            found.extend(
                name.and_then(|name| name.strip_prefix("#/definitions/")).map(str::to_owned),
            );
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_discovery_becomes_new() {
        let list = json!({"resources": [
            {"name": "things", "singularName": "thing", "namespaced": true, "kind": "Thing", "verbs": ["get"],
                "shortNames": ["t"]},
            {"name": "things/scale", "singularName": "", "namespaced": true, "kind": "Scale", "verbs": ["get"],
                "group": "autoscaling", "version": "v1"},
        ]});
        let want = json!([{
            "resource": "things", "responseKind": {"group": "g", "version": "v1", "kind": "Thing"},
            "scope": "Namespaced", "singularResource": "thing", "verbs": ["get"], "shortNames": ["t"],
            "subresources": [{"subresource": "scale", "verbs": ["get"],
                "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}}],
        }]);
        assert_eq!(Value::from(from_list(&list, "g", "v1")), want);
    }

    #[test]
    fn without_openapi_v3_that_of_v2_is_kept_whole() {
        let answer = |code: u16, body: &'static str| {
            Response::builder().status(code).body(Bytes::from_static(body.as_bytes())).unwrap()
        };
        let said = |index, whole| described(&index, Some(whole), "apis/g/v1");
        let document = r#"{"swagger":"2.0","paths":{}}"#;
        let index =
            r#"{"paths":{"apis/g/v1":{"serverRelativeURL":"/openapi/v3/apis/g/v1?hash=A"}}}"#;
        let at = Described::At("/openapi/v3/apis/g/v1?hash=A".to_owned());
        assert_eq!(said(answer(200, index), answer(200, document)), Some(at));
        let nothing = Some(Described::Nowhere);
        assert_eq!(said(answer(200, r#"{"paths":{}}"#), answer(200, document)), nothing);
        let kept = Described::Swagger(Bytes::from_static(document.as_bytes()));
        assert_eq!(said(answer(404, ""), answer(200, document)), Some(kept));
        // What failed says nothing: neither an index that is broken, nor a document that is.
        assert_eq!(said(answer(503, ""), answer(200, document)), None);
        assert_eq!(said(answer(404, ""), answer(500, "no")), None);
        assert_eq!(swagger(&answer(404, "no"), "apis/g/v1"), Some(Value::Null));
        assert_eq!(swagger(&answer(503, "no"), "apis/g/v1"), None);
    }

    #[test]
    fn a_part_of_a_document_has_what_it_refers_to() {
        let document = json!({
            "paths": {"/apis/g/v1/things": {"$ref": "#/definitions/a"}, "/apis/h/v1/x": {"$ref": "#/definitions/c"}},
            "definitions": {"a": {"p": [{"$ref": "#/definitions/b"}]}, "b": {"$ref": "#/definitions/a"}, "c": {}},
        });
        let kept = part(document, "/apis/g/v1/");
        assert_eq!(kept["paths"].as_object().unwrap().len(), 1);
        let names: Vec<_> = kept["definitions"].as_object().unwrap().keys().collect();
        assert_eq!(names, ["a", "b"]);
    }
}
