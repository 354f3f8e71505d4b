//! What the documents say.

use crate::server::{Answer, ask, build, builder};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

async fn document(path: &str) -> Value {
    ask(&build(), path, &[("accept", "application/json")]).await.json()
}

/// Every `$ref` in a document.
pub(crate) fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(target)) = map.get("$ref") {
                found.insert(target);
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_index_leads_to_complete_documents() {
    let server = build();
    let index = ask(&server, "/openapi/v3", &[]).await.json();
    let paths = index["paths"].as_object().unwrap();
    assert!(paths.contains_key("api/v1") && paths.contains_key("apis/apps/v1"));
    let mut kept = 0;
    for (path, entry) in paths {
        let url = entry["serverRelativeURL"].as_str().unwrap();
        assert!(url.starts_with(&format!("/openapi/v3/{path}?hash=")), "{url}");
        let answer = ask(&server, url, &[]).await;
        assert!(answer.header("cache-control").contains("immutable"));
        kept += ask(&server, url, &[("accept-encoding", "gzip")]).await.bytes.len();
        let document = answer.json();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for target in found {
            assert!(document.pointer(&target[1..]).is_some(), "{path}: {target} is missing");
        }
    }
    assert!(kept < 1 << 20, "{kept} bytes are kept");
}

#[tokio::test]
async fn schemas_carry_texts_and_facts() {
    let document = document("/openapi/v3/apis/apps/v1").await;
    let schemas = &document["components"]["schemas"];
    let deployment = &schemas["io.k8s.api.apps.v1.Deployment"];
    let identity = &deployment["x-kubernetes-group-version-kind"][0];
    assert_eq!((&identity["group"], &identity["kind"]), (&"apps".into(), &"Deployment".into()));
    assert!(deployment["description"].as_str().unwrap().contains("Deployment"));
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-list-map-keys"][0], "name");
    let protocol = &schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"];
    assert_eq!(protocol["default"], "TCP");
    let list = &schemas["io.k8s.api.apps.v1.DeploymentList"]["properties"]["items"]["items"];
    assert_eq!(list["$ref"], "#/components/schemas/io.k8s.api.apps.v1.Deployment");
    let policy = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["restartPolicy"];
    assert_eq!(policy["enum"], json!(["Always", "Never", "OnFailure"]));
    let name = &schemas["io.k8s.api.core.v1.Container"]["properties"]["name"];
    assert_eq!(name["default"], "");
    assert!(schemas["io.k8s.api.core.v1.ConfigMapEnvSource"].get("required").is_none());
}

/// What a schema or a property says of how it merges.
fn facts(of: &Value) -> Value {
    const WORDS: [&str; 5] =
        ["patch-strategy", "patch-merge-key", "list-type", "list-map-keys", "map-type"];
    let said =
        |word: &str| Some((word.to_owned(), of.get(format!("x-kubernetes-{word}"))?.clone()));
    Value::Object(WORDS.into_iter().filter_map(said).collect())
}

#[tokio::test]
async fn schemas_merge_as_those_of_the_original() {
    let recorded = include_str!("facts.jsonl").lines();
    let recorded = recorded.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let place = |definition: &str, field: &str| format!("{definition} {field}");
    let recorded: BTreeMap<String, Value> = recorded
        .map(|record| {
            let text = |field: &str| record[field].as_str().unwrap();
            (place(text("definition"), text("field")), record["facts"].clone())
        })
        .collect();
    let none = json!({});
    let server = build();
    let index = ask(&server, "/openapi/v3", &[]).await.json();
    let mut seen = BTreeSet::new();
    for path in index["paths"].as_object().unwrap().keys() {
        let document = ask(&server, &format!("/openapi/v3/{path}"), &[]).await.json();
        for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
            let properties = schema["properties"].as_object().into_iter().flatten();
            let properties = properties.map(|(field, property)| (place(name, field), property));
            for (place, of) in properties.chain([(place(name, ""), schema)]) {
                let wanted = recorded.get(&place).unwrap_or(&none);
                assert_eq!(&facts(of), wanted, "{place}");
                seen.extend((*wanted != none).then_some(place));
            }
        }
    }
    let missing: Vec<_> = recorded.keys().filter(|place| !seen.contains(*place)).collect();
    assert!(seen.len() > 280, "{missing:?}");
}

#[tokio::test]
async fn paths_carry_every_verb() {
    let document = document("/openapi/v3/apis/apps/v1").await;
    let item = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
    for (method, action) in
        [("get", "get"), ("put", "put"), ("patch", "patch"), ("delete", "delete")]
    {
        assert_eq!(item[method]["x-kubernetes-action"], action);
    }
    let patch = &item["patch"];
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
    assert!(
        patch["parameters"].as_array().unwrap().iter().any(|one| one["name"] == "fieldValidation")
    );
    assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object());
    let collection = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments"];
    assert_eq!(collection["delete"]["x-kubernetes-action"], "deletecollection");
    let scale = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"];
    assert_eq!(scale["put"]["x-kubernetes-group-version-kind"]["group"], "autoscaling");
}

#[tokio::test]
async fn a_known_document_is_not_sent_again() {
    let server = build();
    let first = ask(&server, "/openapi/v3/api/v1", &[("accept-encoding", "gzip")]).await;
    assert_eq!(first.header("content-encoding"), "gzip");
    let etag = first.header("etag");
    let second = ask(&server, "/openapi/v3/api/v1", &[("if-none-match", etag)]).await;
    assert_eq!((second.code.as_u16(), second.bytes.len()), (304, 0));
    let moved = ask(&server, "/openapi/v3/api/v1?hash=OLD", &[]).await;
    assert_eq!(moved.code.as_u16(), 301);
    assert!(moved.header("location").contains(etag.trim_matches('"')));
    let nowhere = ask(&server, "/openapi/v3/apis/nowhere/v1", &[]).await;
    assert_eq!((nowhere.code.as_u16(), nowhere.bytes.len()), (404, 0));
    let html = [("accept", "text/html")];
    for path in ["/openapi/v2", "/openapi/v3/api/v1"] {
        let refused = ask(&server, path, &html).await;
        assert_eq!((refused.code.as_u16(), refused.bytes.len()), (406, 0), "{path}");
    }
    let index = ask(&server, "/openapi/v3", &html).await;
    assert_eq!(index.header("content-type"), "text/plain; charset=utf-8");
    assert!(index.json()["paths"]["api/v1"].is_object());
    let other = ask(&server, "/openapi/v2/other", &[]).await;
    assert_eq!((other.code.as_u16(), &other.bytes[..]), (404, &b"404 page not found\n"[..]));
}

#[tokio::test]
async fn swagger_has_no_words_of_version_three() {
    let document = document("/openapi/v2").await;
    assert_eq!(document["swagger"], "2.0");
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for target in found {
        assert!(document.pointer(&target[1..]).is_some(), "{target} is missing");
    }
    let patch = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    assert!(patch["parameters"].as_array().unwrap().iter().any(|one| one["in"] == "body"));
    assert!(patch["consumes"].as_array().unwrap().contains(&"application/json-patch+json".into()));
    let port = &document["definitions"]["io.k8s.apimachinery.pkg.util.intstr.IntOrString"];
    assert_eq!((&port["type"], &port["format"]), (&"string".into(), &"int-or-string".into()));
}

#[tokio::test]
async fn kinds_that_go_are_documented_no_more() {
    let server = build();
    let before: Answer = ask(&server, "/openapi/v3", &[]).await;
    let api = server.api();
    let version = kubeplane_core::GroupVersion::new("networking.k8s.io", "v1");
    api.registry().remove(&version, "ingresses");
    let after = ask(&server, "/openapi/v3", &[]).await;
    assert_ne!(before.header("etag"), after.header("etag"));
    let document = ask(&server, "/openapi/v3/apis/networking.k8s.io/v1", &[]).await.json();
    let paths = document["paths"].as_object().unwrap();
    assert!(!paths.keys().any(|path| path.ends_with("/ingresses")));
    assert!(paths.keys().any(|path| path.ends_with("/networkpolicies")));
}

#[tokio::test]
async fn what_leads_to_group_versions_is_documented_too() {
    let index = document("/openapi/v3").await;
    for (path, url, id) in [
        ("api", "/api/", "getCoreAPIVersions"),
        ("apis", "/apis/", "getAPIVersions"),
        ("apis/apps", "/apis/apps/", "getAppsAPIGroup"),
        (
            "apis/rbac.authorization.k8s.io",
            "/apis/rbac.authorization.k8s.io/",
            "getRbacAuthorizationAPIGroup",
        ),
        ("apis/apps/v1", "/apis/apps/v1/", "getAppsV1APIResources"),
        ("version", "/version/", "getCodeVersion"),
    ] {
        assert!(index["paths"][path].is_object(), "{path}");
        let document = document(&format!("/openapi/v3/{path}")).await;
        assert_eq!(document["paths"][url]["get"]["operationId"], id);
    }
    let swagger = document("/openapi/v2").await;
    let listed = &swagger["paths"]["/api/v1/"]["get"]["responses"]["200"]["schema"]["$ref"];
    assert_eq!(listed, "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList");
    assert_eq!(swagger["paths"]["/apis/apps/"]["get"]["operationId"], "getAppsAPIGroup");
}

#[tokio::test]
async fn connections_and_logs_say_what_they_take() {
    let document = document("/openapi/v3/api/v1").await;
    let pod = "/api/v1/namespaces/{namespace}/pods/{name}";
    let names = |path: &str| -> Vec<String> {
        let listed = document["paths"][format!("{pod}/{path}")]["parameters"].as_array().unwrap();
        listed.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    let exec = ["name", "namespace", "command", "container", "stderr", "stdin", "stdout", "tty"];
    assert_eq!(names("exec"), exec);
    assert!(names("log").iter().any(|name| name == "tailLines"));
    assert_eq!(names("proxy/{path}"), ["name", "namespace", "path", "path"]);
    let id = |path: &str, method: &str| {
        document["paths"][format!("{pod}/{path}")][method]["operationId"].clone()
    };
    assert_eq!(id("exec", "post"), "connectCoreV1PostNamespacedPodExec");
    assert_eq!(id("proxy", "head"), "connectCoreV1HeadNamespacedPodProxy");
    assert_eq!(id("proxy/{path}", "get"), "connectCoreV1GetNamespacedPodProxyWithPath");
}

#[tokio::test]
async fn where_tokens_are_explained_is_described_if_it_is_served() {
    use kubeplane_openapi::OpenApi;
    let [(_, any), _] = OpenApi::routes();
    let paths = ["/openid/v1/jwks", "/.well-known/openid-configuration"];
    let server = paths.iter().fold(builder(), |builder, path| builder.route(*path, any.clone()));
    let server = server.build().unwrap();
    let index = ask(&server, "/openapi/v3", &[]).await.json();
    let v2 = ask(&server, "/openapi/v2", &[("accept", "application/json")]).await.json();
    for (path, media_type, id) in [
        (paths[0], "application/jwk-set+json", "getServiceAccountIssuerOpenIDKeyset"),
        (paths[1], "application/json", "getServiceAccountIssuerOpenIDConfiguration"),
    ] {
        let url = index["paths"][&path[1..]]["serverRelativeURL"].as_str().unwrap();
        let document = ask(&server, url, &[]).await.json();
        let get = &document["paths"][format!("{path}/")]["get"];
        assert_eq!(get["operationId"], id);
        let answer = &get["responses"]["200"]["content"][media_type];
        assert_eq!(answer, &json!({"schema": {"type": "string"}}));
        let get = &v2["paths"][format!("{path}/")]["get"];
        assert_eq!(get["produces"], json!([media_type]));
        assert!(get.get("consumes").is_none(), "{get}");
        assert_eq!(get["responses"]["200"]["schema"], json!({"type": "string"}));
    }
    assert!(v2["paths"].get("/logs/").is_none());
    assert_eq!(v2["paths"]["/version/"]["get"]["consumes"], json!(["application/json"]));
    let index = ask(&build(), "/openapi/v3", &[]).await.json();
    assert!(index["paths"].get("openid/v1/jwks").is_none());
}
