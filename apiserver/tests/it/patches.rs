use crate::harness::{Server, version};
use serde_json::json;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn the_three_patches_change_what_they_say() {
    let server = Server::ready().await;
    server.config_map("one", json!({"app": "web"})).await;
    let path = format!("{MAPS}/one");
    let merged = server
        .patch(&path, "merge-patch+json", &json!({"data": {"b": "2", "a": null}}))
        .await
        .expect(200);
    assert_eq!(merged["data"], json!({"b": "2"}));
    let ops = json!([{"op": "add", "path": "/data/c", "value": "3"}, {"op": "test", "path": "/data/b", "value": "2"}]);
    let json_patched = server.patch(&path, "json-patch+json", &ops).await.expect(200);
    assert_eq!(json_patched["data"], json!({"b": "2", "c": "3"}));
    let strategic = json!({"metadata": {"labels": {"tier": "front"}}});
    let strategic = server.patch(&path, "strategic-merge-patch+json", &strategic).await.expect(200);
    assert_eq!(strategic["metadata"]["labels"], json!({"app": "web", "tier": "front"}));
    let same =
        server.patch(&path, "merge-patch+json", &json!({"data": {"b": "2"}})).await.expect(200);
    assert_eq!(version(&same), version(&strategic));
}

#[tokio::test]
async fn strategic_merge_knows_the_keys_of_lists() {
    let server = Server::ready().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}});
    server.post(pods, &pod).await.expect(201);
    let patch = json!({"spec": {"containers": [{"name": "b", "image": "2"}]}});
    let patched =
        server.patch(&format!("{pods}/p"), "strategic-merge-patch+json", &patch).await.expect(200);
    let images: Vec<_> = patched["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["image"].clone())
        .collect();
    assert_eq!(images, ["1", "2"]);
}

#[tokio::test]
async fn apply_creates_owns_and_gives_up_fields() {
    let server = Server::ready().await;
    let path = format!("{MAPS}/one?fieldManager=me");
    let config = |data: serde_json::Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": data});
    let made = server
        .patch(&path, "apply-patch+yaml", &config(json!({"a": "1", "b": "1"})))
        .await
        .expect(201);
    assert_eq!(made["metadata"]["managedFields"][0]["operation"], "Apply");
    let fewer =
        server.patch(&path, "apply-patch+yaml", &config(json!({"a": "1"}))).await.expect(200);
    assert_eq!(fewer["data"], json!({"a": "1"}));
    let again =
        server.patch(&path, "apply-patch+yaml", &config(json!({"a": "1"}))).await.expect(200);
    assert_eq!(version(&again), version(&fewer));
    let other = format!("{MAPS}/one?fieldManager=you");
    let conflict =
        server.patch(&other, "apply-patch+yaml", &config(json!({"a": "2"}))).await.expect(409);
    assert_eq!(conflict["details"]["causes"][0]["reason"], "FieldManagerConflict");
    let forced = server
        .patch(&format!("{other}&force=true"), "apply-patch+yaml", &config(json!({"a": "2"})))
        .await;
    assert_eq!(forced.expect(200)["data"]["a"], "2");
    server.patch(&format!("{MAPS}/one"), "apply-patch+yaml", &config(json!({}))).await.expect(422);
}

#[tokio::test]
async fn who_owns_a_field_is_asked_in_the_version_of_each_manager() {
    let server = Server::ready().await;
    let path = |version: &str, manager: &str| {
        format!(
            "/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers/h?fieldManager={manager}"
        )
    };
    let config = |version: &str, mut spec: serde_json::Value| {
        spec["scaleTargetRef"] =
            json!({"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"});
        spec["maxReplicas"] = 5.into();
        json!({"apiVersion": format!("autoscaling/{version}"), "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "h"}, "spec": spec})
    };
    let metrics = |percent: u32| {
        json!({"metrics": [{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": percent}}}]})
    };
    let owned = |object: &serde_json::Value, manager: &str| {
        let list = object["metadata"]["managedFields"].as_array().unwrap();
        let own = list.iter().find(|entry| entry["manager"] == manager).unwrap();
        let spec = own["fieldsV1"]["f:spec"].as_object().unwrap();
        let names: Vec<_> =
            spec.keys().map(|key| key.trim_start_matches("f:").to_owned()).collect();
        (own["apiVersion"].as_str().unwrap().to_owned(), names)
    };
    let first = config("v1", json!({"targetCPUUtilizationPercentage": 50}));
    server.patch(&path("v1", "one"), "apply-patch+yaml", &first).await.expect(201);
    let other = config("v2", metrics(70));
    let refused = server.patch(&path("v2", "two"), "apply-patch+yaml", &other).await.expect(409);
    let causes = refused["details"]["causes"].as_array().unwrap();
    assert_eq!(causes.len(), 1, "{refused}");
    assert_eq!(causes[0]["field"], ".spec.targetCPUUtilizationPercentage");
    let same = config("v2", metrics(50));
    let both = server.patch(&path("v2", "two"), "apply-patch+yaml", &same).await.expect(200);
    let (version, fields) = owned(&both, "one");
    assert_eq!(version, "autoscaling/v1");
    assert_eq!(fields, ["maxReplicas", "scaleTargetRef", "targetCPUUtilizationPercentage"]);
    assert_eq!(owned(&both, "two").0, "autoscaling/v2");
    // A change in one version is one in the other, of what it touches there.
    let patch = json!({"spec": metrics(70)});
    let changed = server.patch(&path("v2", "three"), "merge-patch+json", &patch).await.expect(200);
    assert_eq!(owned(&changed, "one").1, ["maxReplicas", "scaleTargetRef"]);
    assert_eq!(owned(&changed, "two").1, ["maxReplicas", "scaleTargetRef"]);
    assert_eq!(owned(&changed, "three"), ("autoscaling/v2".to_owned(), vec!["metrics".to_owned()]));
}

#[tokio::test]
async fn what_is_applied_must_be_of_the_kind() {
    let server = Server::ready().await;
    let path = "/apis/apps/v1/namespaces/default/deployments/d?fieldManager=me";
    let mut config = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "d", "creationTimestamp": "x"}, "spec": {}});
    let why = "unable to convert unstructured object to apps/v1, Kind=Deployment: parsing time \"x\" as \
               \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\"";
    for (namespace, sent) in [("", None), ("default", Some("default"))] {
        config["metadata"]["namespace"] = sent.into();
        let refused = server.patch(path, "apply-patch+yaml", &config).await;
        assert_eq!(
            refused.message(),
            format!(
                "failed to convert new object ({namespace}/d; apps/v1, Kind=Deployment) to proper version: {why}"
            )
        );
        refused.expect(500);
    }
}

#[tokio::test]
async fn concurrent_patches_all_land() {
    let server = Server::ready().await;
    server.config_map("one", json!({})).await;
    let path = format!("{MAPS}/one");
    let patches = (0..20).map(|index| {
        let (server, path) = (&server, &path);
        async move {
            let patch = json!({"data": {(format!("k{index}")): "v"}});
            server.patch(path, "merge-patch+json", &patch).await.expect(200);
        }
    });
    futures::future::join_all(patches).await;
    let read = server.get(&path).await.expect(200);
    assert_eq!(read["data"].as_object().unwrap().len(), 21);
}

#[tokio::test]
async fn bad_patches_are_refused() {
    let server = Server::ready().await;
    let object = server.config_map("one", json!({})).await;
    let path = format!("{MAPS}/one");
    server.patch(&path, "cbor", &json!({})).await.expect(415);
    let answer = server
        .call("PATCH", &path, &[("content-type", "application/merge-patch+json")], b"{")
        .await;
    answer.expect(400);
    let ops = json!([{"op": "test", "path": "/data/a", "value": "no"}]);
    server.patch(&path, "json-patch+json", &ops).await.expect(422);
    let stale = json!({"metadata": {"resourceVersion": "1"}, "data": {"x": "y"}});
    server.patch(&path, "merge-patch+json", &stale).await.expect(409);
    server
        .patch(&path, "merge-patch+json", &json!({"metadata": {"name": "two"}}))
        .await
        .expect(400);
    server.patch(&path, "merge-patch+json", &json!({"data": 5})).await.expect(422);
    let unknown = json!({"nope": 1});
    let strict =
        server.patch(&format!("{path}?fieldValidation=Strict"), "merge-patch+json", &unknown).await;
    assert!(strict.message().contains("unknown field \"nope\""), "{}", strict.text);
    strict.expect(422);
    let warned = server.patch(&path, "merge-patch+json", &unknown).await;
    assert_eq!(warned.warnings(), ["299 - \"unknown field \\\"nope\\\"\""]);
    assert_eq!(version(&warned.expect(200)), version(&object));
    server.patch(&format!("{MAPS}/none"), "merge-patch+json", &json!({})).await.expect(404);
    server.patch(&format!("{path}?force=true"), "merge-patch+json", &json!({})).await.expect(422);
}
