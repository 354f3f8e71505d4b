use crate::harness::{Server, names, version};
use serde_json::json;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn an_object_is_created_read_changed_and_deleted() {
    let server = Server::ready().await;
    let made = server.config_map("one", json!({"app": "web"})).await;
    assert_eq!(made["kind"], "ConfigMap");
    assert_eq!(made["metadata"]["namespace"], "default");
    assert!(made["metadata"]["uid"].as_str().unwrap().len() == 36);
    assert!(made["metadata"]["creationTimestamp"].is_string());
    assert_eq!(made["metadata"]["managedFields"][0]["operation"], "Update");

    let path = format!("{MAPS}/one");
    let read = server.get(&path).await.expect(200);
    assert_eq!(read, made);

    let mut changed = read.clone();
    changed["data"]["a"] = "2".into();
    let changed = server.put(&path, &changed).await.expect(200);
    assert_ne!(version(&changed), version(&made));
    assert_eq!(server.get(&path).await.expect(200)["data"]["a"], "2");

    let gone = server.delete(&path, &json!(null)).await.expect(200);
    assert_eq!(gone["status"], "Success");
    assert_eq!(gone["details"]["kind"], "configmaps");
    assert_eq!(gone["details"]["uid"], made["metadata"]["uid"]);
    let missing = server.get(&path).await;
    assert_eq!(missing.message(), "configmaps \"one\" not found");
    missing.expect(404);
}

#[tokio::test]
async fn a_stale_write_conflicts_and_an_unchanged_one_keeps_the_version() {
    let server = Server::ready().await;
    let first = server.config_map("one", json!({})).await;
    let path = format!("{MAPS}/one");
    let mut newer = first.clone();
    newer["data"]["a"] = "2".into();
    let newer = server.put(&path, &newer).await.expect(200);
    let mut stale = first.clone();
    stale["data"]["a"] = "3".into();
    let refused = server.put(&path, &stale).await;
    assert_eq!(
        refused.message(),
        "Operation cannot be fulfilled on configmaps \"one\": the object has been modified; please apply your changes to the latest version and try again"
    );
    refused.expect(409);
    let same = server.put(&path, &newer).await.expect(200);
    assert_eq!(version(&same), version(&newer));
}

#[tokio::test]
async fn names_are_generated_and_taken_names_are_refused() {
    let server = Server::ready().await;
    let body = json!({"metadata": {"generateName": "web-"}});
    let made = server.post(MAPS, &body).await.expect(201);
    let name = made["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    server.config_map("one", json!({})).await;
    let taken = server.post(MAPS, &json!({"metadata": {"name": "one"}})).await;
    assert_eq!(taken.message(), "configmaps \"one\" already exists");
    assert_eq!(taken.expect(409)["reason"], "AlreadyExists");
}

#[tokio::test]
async fn a_dry_run_answers_and_changes_nothing() {
    let server = Server::ready().await;
    let body = json!({"metadata": {"name": "one"}, "data": {"a": "1"}});
    let made = server.post(&format!("{MAPS}?dryRun=All"), &body).await.expect(201);
    assert!(made["metadata"]["uid"].is_string());
    assert!(made["metadata"].get("resourceVersion").is_none());
    server.get(&format!("{MAPS}/one")).await.expect(404);
    let kept = server.config_map("one", json!({})).await;
    let path = format!("{MAPS}/one?dryRun=All");
    let mut changed = kept.clone();
    changed["data"]["a"] = "9".into();
    assert_eq!(server.put(&path, &changed).await.expect(200)["data"]["a"], "9");
    server.delete(&path, &json!(null)).await.expect(200);
    assert_eq!(server.get(&format!("{MAPS}/one")).await.expect(200), kept);
    changed["metadata"]["uid"] = "other".into();
    for (path, key) in [
        (path, "Key: /configmaps/default/one, "),
        (format!("{MAPS}/one"), "Key: /registry/configmaps/default/one, "),
    ] {
        let refused = server.put(&path, &changed).await;
        assert!(refused.message().contains(key), "{}", refused.text);
        refused.expect(409);
    }
}

#[tokio::test]
async fn generation_and_status_are_kept_apart() {
    let server = Server::ready().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let body = json!({"metadata": {"name": "web"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}},
        "status": {"replicas": 7}});
    let made = server.post(path, &body).await.expect(201);
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(made["status"], json!({}));
    let path = format!("{path}/web");
    let mut status = made.clone();
    status["status"] = json!({"replicas": 2, "observedGeneration": 1});
    status["spec"]["replicas"] = 9.into();
    let status = server.put(&format!("{path}/status"), &status).await.expect(200);
    assert_eq!(status["status"]["replicas"], 2);
    assert_eq!(status["spec"]["replicas"], 2);
    assert_eq!(status["metadata"]["generation"], 1);
    let mut spec = status.clone();
    spec["spec"]["replicas"] = 3.into();
    spec["status"] = json!({});
    let spec = server.put(&path, &spec).await.expect(200);
    assert_eq!(spec["metadata"]["generation"], 2);
    assert_eq!(spec["status"]["replicas"], 2);
}

#[tokio::test]
async fn a_scale_is_a_view_that_can_be_written() {
    let server = Server::ready().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let body = json!({"metadata": {"name": "web"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    server.post(path, &body).await.expect(201);
    let path = format!("{path}/web/scale");
    let mut scale = server.get(&path).await.expect(200);
    assert_eq!(scale["kind"], "Scale");
    assert_eq!(scale["apiVersion"], "autoscaling/v1");
    assert_eq!(
        (&scale["spec"]["replicas"], &scale["status"]["selector"]),
        (&json!(2), &json!("a=b"))
    );
    scale["spec"]["replicas"] = 5.into();
    assert_eq!(server.put(&path, &scale).await.expect(200)["spec"]["replicas"], 5);
    let patched = server
        .patch(&path, "merge-patch+json", &json!({"spec": {"replicas": 6}}))
        .await
        .expect(200);
    assert_eq!(patched["spec"]["replicas"], 6);
    server.put(&path, &scale).await.expect(409);
    scale["spec"]["replicas"] = (-1).into();
    scale["metadata"]["resourceVersion"] = patched["metadata"]["resourceVersion"].clone();
    server.put(&path, &scale).await.expect(422);
    let labels = json!({"metadata": {"labels": {"a/b/c": "d"}}});
    let refused = server.patch(&path, "merge-patch+json", &labels).await.expect(422);
    assert_eq!(refused["details"]["kind"], "Scale");
    assert_eq!(refused["details"]["causes"][0]["field"], "metadata.labels");
    let labels = json!({"metadata": {"labels": {"a/b": "d"}}});
    server.patch(&path, "merge-patch+json", &labels).await.expect(200);
}

#[tokio::test]
async fn a_new_object_is_listed_at_once() {
    let server = Server::ready().await;
    assert_eq!(names(&server.get(MAPS).await.expect(200)), Vec::<&str>::new());
    for index in 0..20 {
        let name = format!("m{index:02}");
        server.config_map(&name, json!({})).await;
        let list = server.get(MAPS).await.expect(200);
        assert_eq!(names(&list).last(), Some(&name.as_str()));
        assert_eq!(list["kind"], "ConfigMapList");
    }
}

#[tokio::test]
async fn events_of_both_groups_are_the_same_objects() {
    let server = Server::ready().await;
    let body = json!({"metadata": {"name": "e1"}, "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
        "reason": "Why", "type": "Normal", "message": "text"});
    server.post("/api/v1/namespaces/default/events", &body).await.expect(201);
    let path = "/apis/events.k8s.io/v1/namespaces/default/events";
    let other = server.get(&format!("{path}/e1")).await.expect(200);
    assert_eq!(other["apiVersion"], "events.k8s.io/v1");
    assert_eq!(other["note"], "text");
    let list = server.get(path).await.expect(200);
    assert_eq!(list["items"][0]["regarding"]["name"], "p");
}

#[tokio::test]
async fn what_an_update_creates_may_say_a_version() {
    let server = Server::ready().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let lease = |name: &str, metadata: serde_json::Value| {
        let mut lease = json!({"metadata": metadata});
        lease["metadata"]["name"] = name.into();
        (format!("{leases}/{name}"), lease)
    };
    let (path, one) = lease("one", json!({"resourceVersion": "5"}));
    let made = server.put(&path, &one).await.expect(201);
    assert_ne!(made["metadata"]["resourceVersion"], "5");
    let (path, odd) = lease("two", json!({"resourceVersion": "x"}));
    let refused = server.put(&path, &odd).await;
    assert_eq!(refused.message(), "strconv.ParseUint: parsing \"x\": invalid syntax");
    refused.expect(500);
    let (path, other) = lease("three", json!({"uid": "5"}));
    let refused = server.put(&path, &other).await;
    assert_eq!(
        refused.message(),
        "Operation cannot be fulfilled on leases.coordination.k8s.io \"three\": StorageError: invalid object, Code: 4, Key: /registry/leases/default/three, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: 5, UID in object meta: "
    );
    refused.expect(409);
    let apply = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "resourceVersion": "5"}});
    let path = format!("{MAPS}/m?fieldManager=a");
    server.patch(&path, "apply-patch+yaml", &apply).await.expect(201);
}
