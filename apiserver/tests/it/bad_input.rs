use crate::harness::Server;
use serde_json::json;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn bodies_that_make_no_sense_are_refused() {
    let server = Server::ready().await;
    let send = |kind: &'static str, body: &'static [u8]| {
        let server = &server;
        async move { server.call("POST", MAPS, &[("content-type", kind)], body).await }
    };
    send("application/json", b"{\"metadata\": {").await.expect(400);
    send("application/yaml", b"a: [b").await.expect(400);
    send("application/xml", b"<a/>").await.expect(415);
    send(
        "application/json",
        br#"{"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "x"}}"#,
    )
    .await
    .expect(400);
    send(
        "application/json",
        br#"{"kind": "ConfigMap", "apiVersion": "v2", "metadata": {"name": "x"}}"#,
    )
    .await
    .expect(400);
    send("application/json", br#"{"metadata": {"name": "x"}, "data": ["a"]}"#).await.expect(400);
    let yaml = send("application/yaml", b"metadata: {name: why}\ndata: {a: '1'}\n").await;
    assert_eq!(yaml.expect(201)["data"]["a"], "1");
}

#[tokio::test]
async fn unknown_fields_are_ignored_warned_of_or_refused() {
    let server = Server::ready().await;
    let body = json!({"metadata": {"name": "one"}, "nope": 1});
    let strict = server.post(&format!("{MAPS}?fieldValidation=Strict"), &body).await;
    assert!(
        strict.message().contains("strict decoding error: unknown field \"nope\""),
        "{}",
        strict.text
    );
    strict.expect(400);
    let warned = server.post(MAPS, &body).await;
    assert_eq!(warned.warnings(), ["299 - \"unknown field \\\"nope\\\"\""]);
    warned.expect(201);
    let body = json!({"metadata": {"name": "two"}, "nope": 1});
    let ignored = server.post(&format!("{MAPS}?fieldValidation=Ignore"), &body).await;
    assert!(ignored.warnings().is_empty());
    ignored.expect(201);
    server.post(&format!("{MAPS}?fieldValidation=Maybe"), &body).await.expect(422);
}

#[tokio::test]
async fn metadata_is_checked_with_field_paths() {
    let server = Server::ready().await;
    let invalid = server
        .post(MAPS, &json!({"metadata": {"name": "Not Valid", "labels": {"a b": "c"}}}))
        .await
        .expect(422);
    assert_eq!(invalid["reason"], "Invalid");
    let fields: Vec<_> = invalid["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cause| &cause["field"])
        .collect();
    assert_eq!(fields, ["metadata.name", "metadata.labels"]);
    server.post(MAPS, &json!({"data": {}})).await.expect(422);
    let elsewhere =
        server.post(MAPS, &json!({"metadata": {"name": "x", "namespace": "other"}})).await;
    assert_eq!(
        elsewhere.message(),
        "the namespace of the provided object does not match the namespace sent on the request"
    );
    elsewhere.expect(400);
    let mut object = server.config_map("one", json!({})).await;
    object["metadata"]["name"] = "two".into();
    let renamed = server.put(&format!("{MAPS}/one"), &object).await;
    assert_eq!(
        renamed.message(),
        "the name of the object (two) does not match the name on the URL (one)"
    );
    object["metadata"]["name"] = "one".into();
    object["metadata"]["uid"] = "other".into();
    server.put(&format!("{MAPS}/one"), &object).await.expect(409);
    let version = json!({"metadata": {"name": "v", "resourceVersion": "1"}});
    server.post(MAPS, &version).await.expect(500);
}

#[tokio::test]
async fn immutable_fields_stay() {
    let server = Server::ready().await;
    let body = json!({"metadata": {"name": "fixed"}, "immutable": true, "data": {"a": "1"}});
    let mut object = server.post(MAPS, &body).await.expect(201);
    object["data"]["a"] = "2".into();
    let refused = server.put(&format!("{MAPS}/fixed"), &object).await.expect(422);
    assert_eq!(refused["details"]["causes"][0]["field"], "data");
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let server = Server::ready().await;
    let large = json!({"metadata": {"name": "x"}, "data": {"a": "x".repeat(4 << 20)}});
    server.post(MAPS, &large).await.expect(413);
}

#[tokio::test]
async fn unknown_places_are_not_found() {
    let server = Server::ready().await;
    for path in [
        "/api/v1/namespaces/default/nothings",
        "/api/v2",
        "/api//v1/namespaces",
        "/apis/apps/v3",
        "/apis/apps/v3/deployments",
        "/apis/apps/v1/nothings",
        "/version/nothing",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let answer = server.call(method, path, &[], b"{}").await;
            assert_eq!(answer.headers.get("x-content-type-options"), None, "{path}");
            let said = answer.expect(404)["message"].clone();
            assert_eq!(said, "the server could not find the requested resource", "{path}");
        }
    }
    for path in [
        "/nowhere",
        "/apis/nowhere",
        "/apis/nowhere/v1",
        "/apis/nowhere/v1/things",
        "//api/v1/pods",
        "/apis//v1/pods",
        "//",
        "/apis//",
        "/openapi",
        "/healthz/",
        "/metrics/nothing",
    ] {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let answer = server.call(method, path, &[], b"{}").await;
            assert_eq!(
                (answer.code.as_u16(), &*answer.text),
                (404, "404 page not found\n"),
                "{path}"
            );
            assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
            assert_eq!(answer.headers["x-content-type-options"], "nosniff");
            assert_eq!(answer.headers["cache-control"], "no-cache, private");
        }
    }
    server.get("/api/v1/configmaps/one").await.expect(404);
    server.get(&format!("{MAPS}/one/nothing")).await.expect(404);
    let missing = server
        .post("/api/v1/namespaces/none/configmaps", &json!({"metadata": {"name": "x"}}))
        .await;
    assert_eq!(missing.message(), "namespaces \"none\" not found");
    missing.expect(404);
    server.call("POST", &format!("{MAPS}/one"), &[], b"{}").await.expect(405);
}

#[tokio::test]
async fn bad_options_are_refused() {
    let server = Server::ready().await;
    for query in
        ["labelSelector=a%20b%20c", "fieldSelector=data.a%3D1", "continue=nonsense", "limit=x"]
    {
        server.get(&format!("{MAPS}?{query}")).await.expect(400);
    }
    for query in [
        "resourceVersionMatch=Exact",
        "resourceVersion=0&resourceVersionMatch=Exact",
        "sendInitialEvents=true",
        "watch=1&resourceVersionMatch=Exact",
    ] {
        server.get(&format!("{MAPS}?{query}")).await.expect(422);
    }
    server
        .post(&format!("{MAPS}?dryRun=Some"), &json!({"metadata": {"name": "x"}}))
        .await
        .expect(422);
    server.call("GET", MAPS, &[("accept", "text/html")], b"").await.expect(406);
    server
        .call(
            "GET",
            &format!("{MAPS}?includeObject=x"),
            &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")],
            b"",
        )
        .await
        .expect(400);
}

#[tokio::test]
async fn a_path_is_unknown_only_when_everything_has_its_path() {
    let server = Server::start();
    let check = server.api.api().start_check("poststarthook/crd-informer-synced");
    let paths = ["/apis/example.com/v1/things", "/apis/example.com/v1", "/apis/example.com", "/no"];
    for path in paths {
        let early = server.get(path).await.expect(503);
        let text = "the request has been made before all known HTTP paths have been installed, please try again";
        assert_eq!(
            (&early["message"], &early["reason"]),
            (&json!(text), &json!("ServiceUnavailable"))
        );
        assert_eq!(early["details"]["retryAfterSeconds"], 5);
    }
    server.get("/api/v1/nodes").await.expect(200);
    check.done();
    for path in paths {
        assert_eq!(server.get(path).await.code, 404, "{path}");
    }
}

#[tokio::test]
async fn what_is_a_route_of_its_own_says_which_methods_it_takes() {
    let server = Server::ready().await;
    for path in ["/api", "/api/", "/api/v1", "/apis/apps/v1", "/version"] {
        for method in ["POST", "DELETE", "HEAD"] {
            let answer = server.call(method, path, &[], b"{}").await;
            assert_eq!(answer.code.as_u16(), 405, "{method} {path}");
        }
    }
    for path in ["/", "/index.html", "/apis", "/apis/", "/apis/apps", "/healthz", "/metrics"] {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let answer = server.call(method, path, &[], b"{}").await;
            assert_eq!(answer.code.as_u16(), 200, "{method} {path}: {}", answer.text);
        }
    }
    let yaml = [("accept", "application/yaml")];
    let refused = server.call("GET", "/version", &yaml, b"").await;
    assert_eq!(refused.code.as_u16(), 406, "it is JSON only: {}", refused.text);
    let paths = server.call("GET", "/index.html", &yaml, b"").await;
    assert!(paths.text.starts_with("{\n  \"paths\": [\n"), "{}", paths.text);
    let version = server.get("/version").await.text;
    assert!(version.starts_with("{\n  \"major\": \"1\",\n  \"minor\": \"36\","), "{version}");
}

#[tokio::test]
async fn a_watch_of_nothing_is_refused_before_all_else() {
    let server = Server::ready().await;
    let nobody = [("authorization", "Bearer bad")];
    let answer = server.call("GET", "/api/v1/watch?a=1&b=2", &nobody, b"").await;
    assert_eq!(
        (answer.code.as_u16(), &*answer.text),
        (
            500,
            "Internal Server Error: \"/api/v1/watch?a=1&amp;b=2\": failed to create RequestInfo: unable to determine kind and namespace from url, /api/v1/watch?a=1&amp;b=2\n"
        )
    );
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
}

#[tokio::test]
async fn a_failure_has_the_order_of_its_type() {
    let server = Server::ready().await;
    assert_eq!(
        server.get(&format!("{MAPS}/none")).await.text,
        "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"configmaps \\\"none\\\" not found\",\"reason\":\"NotFound\",\"details\":{\"name\":\"none\",\"kind\":\"configmaps\"},\"code\":404}\n"
    );
}
