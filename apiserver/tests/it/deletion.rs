use crate::harness::{Server, brief, version};
use kubeplane_core::{GroupResource, Object, auth::UserInfo};
use serde_json::json;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_is_gone() {
    let server = Server::ready().await;
    let body =
        json!({"metadata": {"name": "held", "finalizers": ["example.com/a", "example.com/b"]}});
    server.post(MAPS, &body).await.expect(201);
    let path = format!("{MAPS}/held");
    let marked = server.delete(&path, &json!(null)).await.expect(200);
    assert_eq!(marked["kind"], "ConfigMap");
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
    let again = server.delete(&path, &json!(null)).await.expect(200);
    assert_eq!(again["metadata"]["resourceVersion"], marked["metadata"]["resourceVersion"]);
    let mut events =
        server.watch(&format!("{MAPS}?watch=1&resourceVersion={}", version(&marked))).await;
    let mut object = marked;
    object["metadata"]["finalizers"] = json!(["example.com/b"]);
    object = server.put(&path, &object).await.expect(200);
    let mut added = object.clone();
    added["metadata"]["finalizers"] = json!(["example.com/b", "example.com/c"]);
    server.put(&path, &added).await.expect(422);
    object["metadata"]["finalizers"] = json!([]);
    server.put(&path, &object).await.expect(200);
    server.get(&path).await.expect(404);
    assert_eq!(events.brief().await, brief("MODIFIED", "held"));
    assert_eq!(events.brief().await, brief("DELETED", "held"));
}

#[tokio::test]
async fn what_must_be_true_may_stand_in_the_query() {
    let server = Server::ready().await;
    let before = version(&server.get(MAPS).await.expect(200));
    let object = server.config_map("one", json!({})).await;
    let path = format!("{MAPS}/one");
    for (query, code) in
        [("uid=other", 409), ("resourceVersion=1", 409), ("propagationPolicy=", 422)]
    {
        server.delete(&format!("{path}?{query}"), &json!(null)).await.expect(code);
    }
    server.delete(&format!("{MAPS}?resourceVersion=0"), &json!(null)).await.expect(409);
    let none = server.delete(&format!("{MAPS}?resourceVersion={before}"), &json!(null)).await;
    assert_eq!(none.expect(200)["items"], json!([]), "of then, not of now");
    let query = format!("resourceVersion={}", version(&object));
    server.delete(&format!("{path}?{query}"), &json!(null)).await.expect(200);
    server.get(&path).await.expect(404);
}

#[tokio::test]
async fn propagation_sets_the_garbage_collectors_finalizers() {
    let server = Server::ready().await;
    for (name, policy, finalizer) in
        [("f", "Foreground", "foregroundDeletion"), ("o", "Orphan", "orphan")]
    {
        server.config_map(name, json!({})).await;
        let path = format!("{MAPS}/{name}");
        let marked = server.delete(&path, &json!({"propagationPolicy": policy})).await.expect(200);
        assert_eq!(marked["metadata"]["finalizers"], json!([finalizer]));
    }
    server.config_map("b", json!({})).await;
    server
        .delete(&format!("{MAPS}/b"), &json!({"propagationPolicy": "Background"}))
        .await
        .expect(200);
    server.get(&format!("{MAPS}/b")).await.expect(404);
    server.config_map("x", json!({})).await;
    let both = json!({"propagationPolicy": "Orphan", "orphanDependents": true});
    server.delete(&format!("{MAPS}/x"), &both).await.expect(422);
    server.delete(&format!("{MAPS}/x"), &json!({"propagationPolicy": "Never"})).await.expect(422);
}

#[tokio::test]
async fn pods_are_given_time_to_end() {
    let server = Server::ready().await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}});
    server.post(PODS, &pod).await.expect(201);
    let path = format!("{PODS}/p");
    let marked = server.delete(&path, &json!(null)).await.expect(200);
    assert_eq!(marked["kind"], "Pod");
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    let longer = server.delete(&path, &json!({"gracePeriodSeconds": 60})).await.expect(200);
    assert_eq!(longer["metadata"]["deletionGracePeriodSeconds"], 30);
    let shorter = server.delete(&path, &json!({"gracePeriodSeconds": 5})).await.expect(200);
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    server.delete(&path, &json!({"gracePeriodSeconds": 0})).await.expect(200);
    server.get(&path).await.expect(404);
}

#[tokio::test]
async fn who_watches_sees_a_pod_marked_before_it_is_gone() {
    let server = Server::ready().await;
    let pod = |name: &str, node: &str| {
        json!({"metadata": {"name": name},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}})
    };
    let first = server.post(PODS, &pod("waiting", "")).await.expect(201);
    server.post(PODS, &pod("forced", "n")).await.expect(201);
    let watch = format!("{PODS}?watch=1&resourceVersion={}", version(&first));
    let mut events = server.watch(&watch).await;
    assert_eq!(events.brief().await, brief("ADDED", "forced"));
    for (name, options) in [("waiting", json!(null)), ("forced", json!({"gracePeriodSeconds": 0}))]
    {
        // What is only tried is not written.
        let mut tried = options.clone();
        tried["dryRun"] = json!(["All"]);
        let dry = server.delete(&format!("{PODS}/{name}"), &tried).await.expect(200);
        assert_eq!(dry["metadata"]["deletionGracePeriodSeconds"], 0, "{name}");
        let gone = server.delete(&format!("{PODS}/{name}"), &options).await.expect(200);
        let marked = events.next().await.unwrap();
        assert_eq!(marked["type"], "MODIFIED", "{name}");
        assert_eq!(marked["object"]["metadata"]["deletionGracePeriodSeconds"], 0);
        assert!(marked["object"]["metadata"]["deletionTimestamp"].is_string());
        assert_eq!(marked["object"]["metadata"]["generation"], 2);
        let deleted = events.next().await.unwrap();
        assert_eq!(deleted["type"], "DELETED", "{name}");
        assert_eq!(deleted["object"], gone);
        assert_ne!(version(&marked["object"]), version(&gone));
    }
    // What does not end gracefully is not marked.
    server.config_map("one", json!({})).await;
    let mut events = server.watch(&format!("{MAPS}?watch=1&resourceVersion=0")).await;
    assert_eq!(events.brief().await, brief("ADDED", "one"));
    server.delete(&format!("{MAPS}/one"), &json!(null)).await.expect(200);
    assert_eq!(events.brief().await, brief("DELETED", "one"));
}

#[tokio::test]
async fn preconditions_must_hold() {
    let server = Server::ready().await;
    let object = server.config_map("one", json!({})).await;
    let path = format!("{MAPS}/one");
    let wrong = server.delete(&path, &json!({"preconditions": {"uid": "other"}})).await;
    assert!(
        wrong.message().contains("the UID in the precondition (other) does not match"),
        "{}",
        wrong.text
    );
    wrong.expect(409);
    server.delete(&path, &json!({"preconditions": {"resourceVersion": "1"}})).await.expect(409);
    let right = json!({"preconditions": {"uid": object["metadata"]["uid"], "resourceVersion": version(&object)}});
    server.delete(&path, &right).await.expect(200);
}

#[tokio::test]
async fn a_namespace_terminates_and_takes_nothing_new() {
    let server = Server::ready().await;
    server.post("/api/v1/namespaces", &json!({"metadata": {"name": "team"}})).await.expect(201);
    let maps = "/api/v1/namespaces/team/configmaps";
    server.post(maps, &json!({"metadata": {"name": "one"}})).await.expect(201);
    let marked = server.delete("/api/v1/namespaces/team", &json!(null)).await.expect(200);
    assert_eq!(marked["status"]["phase"], "Terminating");
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    let refused = server.post(maps, &json!({"metadata": {"name": "two"}})).await;
    assert_eq!(
        refused.message(),
        "configmaps \"two\" is forbidden: unable to create new content in namespace team because it is being terminated"
    );
    assert_eq!(refused.expect(403)["details"]["causes"][0]["reason"], "NamespaceTerminating");
    server.delete(&format!("{maps}/one"), &json!(null)).await.expect(200);
    let namespaces = GroupResource::new("", "namespaces");
    let api = server.api.api();
    api.update_with(&namespaces, "", "team", |namespace| {
        namespace.remove(&["spec", "finalizers"]);
        Ok(())
    })
    .await
    .unwrap();
    server.get("/api/v1/namespaces/team").await.expect(404);
    let immortal = server.delete("/api/v1/namespaces/default", &json!(null)).await;
    assert_eq!(
        immortal.message(),
        "namespaces \"default\" is forbidden: this namespace may not be deleted"
    );
}

#[tokio::test]
async fn the_inside_creates_changes_and_deletes() {
    let server = Server::ready().await;
    let (api, maps) = (server.api.api(), GroupResource::new("", "configmaps"));
    let object = Object::from_value(
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "in"}}),
    )
    .unwrap();
    let made = api.create(&maps, "default", object, &UserInfo::default()).await.unwrap();
    assert!(!made.resource_version().is_empty());
    let writers = (0..20).map(|index| {
        let (api, maps) = (api.clone(), maps.clone());
        async move {
            let change = |object: &mut Object| {
                object.set(&["data", &format!("k{index}")], "v");
                Ok(())
            };
            api.update_with(&maps, "default", "in", change).await.unwrap();
        }
    });
    futures::future::join_all(writers).await;
    let read = api.get(&maps, "default", "in").await.unwrap();
    assert_eq!(read.at(&["data"]).unwrap().as_object().unwrap().len(), 20);
    api.delete(&maps, "default", "in", Default::default()).await.unwrap();
    assert!(api.get(&maps, "default", "in").await.is_err());
}

#[tokio::test]
async fn options_that_are_no_object_are_refused_in_the_words_of_the_original() {
    let server = Server::ready().await;
    server.config_map("one", json!({})).await;
    for (body, what) in [(json!([]), "array"), (json!("x"), "string")] {
        let refused = server.delete(&format!("{MAPS}/one"), &body).await;
        assert_eq!(
            refused.message(),
            format!(
                "couldn't get version/kind; json parse error: json: cannot unmarshal {what} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
            )
        );
        refused.expect(400);
    }
}
