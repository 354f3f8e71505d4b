use crate::harness::Server;
use http::StatusCode;
use kubeplane_core::features::Features;
use serde_json::json;
use std::sync::Arc;

#[tokio::test]
async fn the_old_forms_list_groups_versions_and_resources() {
    let server = Server::start();
    let api = server.get("/api").await.expect(200);
    assert_eq!((&api["kind"], &api["versions"]), (&json!("APIVersions"), &json!(["v1"])));
    let groups = server.get("/apis").await.expect(200);
    let names: Vec<_> = groups["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| group["name"].as_str().unwrap())
        .collect();
    assert!(names.starts_with(&["apiregistration.k8s.io", "apps", "events.k8s.io"]), "{names:?}");
    assert_eq!(server.get("/apis/apps").await.expect(200)["preferredVersion"]["version"], "v1");
    let core = server.get("/api/v1").await.expect(200);
    let pods = core["resources"]
        .as_array()
        .unwrap()
        .iter()
        .find(|resource| resource["name"] == "pods")
        .unwrap()
        .clone();
    assert_eq!(
        (&pods["shortNames"], &pods["namespaced"], &pods["kind"]),
        (&json!(["po"]), &json!(true), &json!("Pod"))
    );
    assert_eq!(server.get("/version").await.expect(200)["minor"], "36");
    let paths = server.get("/").await.expect(200)["paths"].clone();
    assert!(paths.as_array().unwrap().contains(&json!("/apis/apps/v1")));
}

#[tokio::test]
async fn the_aggregated_form_has_a_tag() {
    let server = Server::start();
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
    let answer = server.call("GET", "/apis", &[("accept", accept)], b"").await;
    let tag = answer.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(
        answer.headers["content-type"],
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    let document = answer.expect(200);
    assert_eq!(document["items"][0]["metadata"]["name"], "apiregistration.k8s.io");
    let known =
        server.call("GET", "/apis", &[("accept", accept), ("if-none-match", &tag)], b"").await;
    assert_eq!(known.code, StatusCode::NOT_MODIFIED);
    let definition = kubeplane_builtin::all()
        .into_iter()
        .find(|definition| definition.plural == "configmaps")
        .unwrap();
    let mut other = (*definition).clone();
    other.kind.group = "example.com".into();
    server.api.api().registry().install(Arc::new(other));
    let changed =
        server.call("GET", "/apis", &[("accept", accept), ("if-none-match", &tag)], b"").await;
    assert_eq!(changed.code, StatusCode::OK);
}

#[tokio::test]
async fn kinds_come_and_go_at_run_time() {
    let server = Server::ready().await;
    let definition = kubeplane_builtin::all()
        .into_iter()
        .find(|definition| definition.plural == "configmaps")
        .unwrap();
    let mut other = (*definition).clone();
    other.kind.group = "example.com".into();
    let version = other.group_version();
    let registry = server.api.api().registry().clone();
    registry.install(Arc::new(other));
    let path = "/apis/example.com/v1/namespaces/default/configmaps";
    server.post(path, &json!({"metadata": {"name": "one"}})).await.expect(201);
    let mut events = server.watch(&format!("{path}?watch=1")).await;
    assert_eq!(events.brief().await.1, "one");
    registry.remove(&version, "configmaps");
    assert!(events.next().await.is_none());
    assert_eq!(server.get(path).await.text, "404 page not found\n");
}

#[tokio::test]
async fn documents_are_there_in_protobuf_too() {
    let server = Server::start();
    let plain = [("accept", "application/vnd.kubernetes.protobuf")];
    for (path, kind) in [
        ("/api", "APIVersions"),
        ("/apis", "APIGroupList"),
        ("/apis/apps", "APIGroup"),
        ("/apis/apps/v1", "APIResourceList"),
    ] {
        let answer = server.call("GET", path, &plain, b"").await;
        assert_eq!(answer.headers["content-type"], plain[0].1, "{path}");
        assert_eq!(kubeplane_core::protobuf::unwrap(&answer.bytes).unwrap().kind, kind);
    }
    let accept =
        "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let answer = server.call("GET", "/apis", &[("accept", accept)], b"").await;
    assert_eq!(answer.headers["content-type"], accept);
    let tag = answer.headers["etag"].to_str().unwrap().to_owned();
    let message = kubeplane_core::protobuf::unwrap(&answer.bytes).unwrap();
    assert_eq!(message.kind, "APIGroupDiscoveryList");
    let deployments = b"deployments";
    assert!(message.raw.windows(deployments.len()).any(|bytes| bytes == deployments));
    let json = accept.replace("vnd.kubernetes.protobuf", "json");
    let known = [("accept", json.as_str()), ("if-none-match", tag.as_str())];
    let known = server.call("GET", "/apis", &known, b"").await;
    assert_eq!(known.code, StatusCode::NOT_MODIFIED, "all forms have one tag");
}

#[tokio::test]
async fn people_get_indented_answers_failures_too() {
    let server = Server::start();
    let curl = [("user-agent", "curl/8.0"), ("accept", "*/*")];
    for path in ["/apis", "/api/v1/namespaces", "/api/v1/namespaces/none", "/api/nowhere"] {
        let answer = server.call("GET", path, &curl, b"").await;
        assert!(answer.text.starts_with("{\n  \""), "{path}: {}", answer.text);
        let plain = server.call("GET", &format!("{path}?pretty=false"), &curl, b"").await;
        assert!(plain.text.starts_with("{\""), "{path}: {}", plain.text);
        let asked = server.get(&format!("{path}?pretty=true")).await;
        assert!(asked.text.starts_with("{\n  \""), "{path}: {}", asked.text);
    }
}

#[tokio::test]
async fn the_stored_version_is_told_unless_the_gate_is_off() {
    let off: Features = "StorageVersionHash=false".parse().unwrap();
    for (server, told) in [(Server::start(), true), (Server::with(|one| one.features(off)), false)]
    {
        let list = server.get("/api/v1").await.expect(200);
        let pods = list["resources"].as_array().unwrap().iter().find(|one| one["name"] == "pods");
        assert_eq!(pods.unwrap()["storageVersionHash"].is_string(), told);
    }
}
